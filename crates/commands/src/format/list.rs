//! Rows through a `--format` value.

use std::rc::Rc;

use super::columns::align;
use crate::failure::{Failure, Outcome};
use crate::template::{Mode, Row, Template, Value};

/// Titles of a list's columns.
pub(crate) struct Listing {
    pub(crate) headers: &'static [(&'static str, &'static str)],
}

struct Header(&'static [(&'static str, &'static str)]);

impl Row for Header {
    fn column(&self, name: &str) -> Option<Value> {
        Some(self.0.iter().find(|(n, _)| *n == name).map_or(Value::Missing, |(_, title)| Value::text(title)))
    }
    fn call(&self, name: &str, argument: &str) -> Option<Value> {
        let last = argument.rsplit('.').next().unwrap_or(argument);
        (name == "Label").then(|| Value::text(last.replace(['-', '_'], " ")))
    }
    fn columns(&self) -> &[&'static str] {
        &[]
    }
    fn type_name(&self) -> &'static str {
        "map[string]string"
    }
}

/// The template behind a format: without `table`, with escapes replaced.
fn template_text(format: &str) -> String {
    match format {
        "table" => return String::new(),
        "json" => return "{{json .}}".to_owned(),
        _ => {}
    }
    let body = format.strip_prefix("table").unwrap_or(format);
    body.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n")
}

/// Parses a format; the error is the one users see.
pub(crate) fn parse(format: &str) -> Outcome<Template> {
    Template::parse(&template_text(format)).map_err(|why| Failure::new(format!("template parsing error: {why}")))
}

/// Writes rows in a format, with a header when it is a table.
pub(crate) fn write(listing: &Listing, format: &str, rows: impl IntoIterator<Item = Rc<dyn Row>>) -> Outcome {
    crate::out::text(&render(listing, format, rows)?)
}

/// As [`write`], returned.
pub(crate) fn render(listing: &Listing, format: &str, rows: impl IntoIterator<Item = Rc<dyn Row>>) -> Outcome<String> {
    let template = parse(format)?;
    let mut body = String::new();
    for row in rows {
        let line = template
            .run(Value::Row(row), Mode::Rows)
            .map_err(|why| Failure::new(format!("template parsing error: {why}")))?;
        body.push_str(&line);
        body.push('\n');
    }
    if !format.starts_with("table") {
        return Ok(body);
    }
    // Docker ignores what goes wrong in a header.
    let header = template.run(Value::Row(Rc::new(Header(listing.headers))), Mode::Header).unwrap_or_default();
    Ok(align(&format!("{header}\n{body}"), 10, 3))
}

/// The format to use: the flag's, the configured one, or `table`.
pub(crate) fn choose<'a>(flag: &'a str, configured: &'a str, quiet: bool) -> &'a str {
    match (flag, configured) {
        ("", "") => "table",
        ("", _) if quiet => "table",
        ("", configured) => configured,
        (flag, _) => flag,
    }
}
