//! `context ls`.

use std::rc::Rc;

use crate::cli::{Args, Command, Kind, Parsed, flag, table_format};
use crate::context::Context;
use crate::failure::Outcome;
use crate::format::{self, Listing, list};
use crate::template::{Row, Value};

/// Table of `context ls`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["context ls", "context list"],
    usage: "[OPTIONS]",
    about: "List contexts",
    flags: &[table_format('\0'), flag("quiet", 'q', Kind::Bool(false), "Only show context names")],
    args: Args::None,
    interspersed: true,
    run,
};

const LISTING: Listing = Listing {
    headers: &[
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("DockerEndpoint", "DOCKER ENDPOINT"),
        ("Error", "ERROR"),
    ],
};

/// Widest error in a table.
const WIDEST: usize = 45;

struct Line {
    name: String,
    description: String,
    endpoint: String,
    error: String,
    current: bool,
    table: bool,
}

impl Row for Line {
    fn column(&self, name: &str) -> Option<Value> {
        Some(Value::text(match name {
            "Name" if self.table && self.current => format!("{} *", self.name),
            "Name" => self.name.clone(),
            "Description" => self.description.clone(),
            "DockerEndpoint" => self.endpoint.clone(),
            "Error" if self.table && self.error.chars().count() > WIDEST => {
                format!("{}…", self.error.chars().take(WIDEST - 1).collect::<String>())
            }
            "Error" => self.error.clone(),
            "Current" => return Some(Value::Bool(self.current)),
            _ => return None,
        }))
    }

    fn columns(&self) -> &[&'static str] {
        &["Current", "Description", "DockerEndpoint", "Error", "Name"]
    }

    fn type_name(&self) -> &'static str {
        "*formatter.clientContextContext"
    }
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let quiet = parsed.bool("quiet");
    let text = match list::choose(parsed.str("format"), "", quiet) {
        "table" if quiet => "{{.Name}}",
        "table" => "table {{.Name}}\\t{{.Description}}\\t{{.DockerEndpoint}}\\t{{.Error}}",
        custom => custom,
    };
    let table = text.starts_with("table");
    let current = context.context_name()?;
    let (default, _) = context.described(super::DEFAULT)?;
    let line = |name: &str, description: &str, endpoint: String| Line {
        name: name.to_owned(),
        description: description.to_owned(),
        endpoint,
        error: String::new(),
        current: name == current,
        table,
    };
    let mut lines: Vec<Line> = context
        .contexts()?
        .list()?
        .iter()
        .map(|meta| line(&meta.name, meta.description(), meta.endpoint().host))
        .collect();
    lines.push(line(super::DEFAULT, default.description(), default.endpoint().host));
    if !lines.iter().any(|l| l.current)
        && let Err(failure) = context.contexts()?.load(&current)
    {
        lines.push(Line { error: failure.text, ..line(&current, "", String::new()) });
    }
    lines.sort_by(|a, b| a.name.cmp(&b.name));
    format::write(&LISTING, text, lines.into_iter().map(|l| Rc::new(l) as Rc<dyn Row>))?;
    if let Some(variable) = context.host_variable().filter(|_| !quiet) {
        crate::out::warn(&format!(
            "Warning: {variable} environment variable overrides the active context. To use a context, either set the global --context flag, or unset {variable} environment variable."
        ));
    }
    Ok(())
}
