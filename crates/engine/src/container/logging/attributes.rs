//! What goes along with every entry: labels, environment variables, and the tag.

use std::collections::BTreeMap;

use super::super::Record;
use crate::{Error, Result};

/// All attributes of one container together, in bytes of JSON: every entry of the log has them.
const LIMIT: usize = 16 * 1024;

/// The options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub labels: Vec<String>,
    pub labels_regex: String,
    pub env: Vec<String>,
    pub env_regex: String,
    /// A template; empty for none.
    pub tag: String,
}

/// Values of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub extra: BTreeMap<String, String>,
    pub tag: String,
}

/// `a,b,c`.
pub(super) fn list(value: &str) -> Vec<String> {
    value.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

impl Wanted {
    /// Whether everything in it can be understood.
    pub fn check(&self) -> Result<()> {
        regex(&self.labels_regex)?;
        regex(&self.env_regex)?;
        expand(&self.tag, &|name| FIELDS.contains(&name).then(String::new)).map(drop)
    }
}

/// What a tag can have, of Docker's log information.
const FIELDS: [&str; 7] = ["ID", "FullID", "Name", "ImageID", "ImageFullID", "ImageName", "DaemonName"];

fn regex(text: &str) -> Result<Option<regex_lite::Regex>> {
    if text.is_empty() {
        return Ok(None);
    }
    regex_lite::Regex::new(text).map(Some).map_err(|error| Error::invalid(format!("error parsing regexp: {error}")))
}

/// `{{.Field}}` and text around it; nothing else of Go's templates.
fn expand(template: &str, field: &dyn Fn(&str) -> Option<String>) -> Result<String> {
    let unsupported = || Error::invalid(format!("hoist does not support the log tag {template:?}"));
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let (name, after) = after.split_once("}}").ok_or_else(unsupported)?;
        let name = name.trim().strip_prefix('.').ok_or_else(unsupported)?;
        out.push_str(&field(name).ok_or_else(unsupported)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// The values for a container.
pub(crate) fn resolve(record: &Record, wanted: &Wanted) -> Result<Attributes> {
    let mut extra = BTreeMap::new();
    let labels_regex = regex(&wanted.labels_regex)?;
    for (name, value) in &record.config.labels {
        if wanted.labels.contains(name) || labels_regex.as_ref().is_some_and(|regex| regex.is_match(name)) {
            extra.insert(name.clone(), value.clone());
        }
    }
    let env_regex = regex(&wanted.env_regex)?;
    for (name, value) in record.config.env.iter().filter_map(|variable| variable.split_once('=')) {
        if wanted.env.iter().any(|other| other == name) || env_regex.as_ref().is_some_and(|regex| regex.is_match(name))
        {
            extra.insert(name.to_owned(), value.to_owned());
        }
    }
    let image = record.image.to_string();
    let short = |id: &str| id.trim_start_matches("sha256:").chars().take(12).collect::<String>();
    let tag = expand(&wanted.tag, &|name| {
        Some(match name {
            "ID" => record.id.short().to_owned(),
            "FullID" => record.id.as_str().to_owned(),
            "Name" => record.name.clone(),
            "ImageID" => short(&image),
            "ImageFullID" => image.clone(),
            "ImageName" => record.config.image.clone(),
            "DaemonName" => "hoist".to_owned(),
            _ => return None,
        })
    })?;
    Ok(Attributes { extra, tag })
}

impl Attributes {
    /// As they stand in every stored entry: a JSON object, or nothing. `tag`: with the tag.
    pub fn json(&self, tag: bool) -> Result<String> {
        let mut all = self.extra.clone();
        if tag && !self.tag.is_empty() {
            all.insert("tag".to_owned(), self.tag.clone());
        }
        if all.is_empty() {
            return Ok(String::new());
        }
        let text = serde_json::to_string(&all).map_err(|error| Error::system("write the log's attributes", error))?;
        if text.len() > LIMIT {
            return Err(Error::invalid(format!("the attributes of log entries are longer than {LIMIT} bytes")));
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        let field = |name: &str| FIELDS.contains(&name).then(|| format!("<{name}>"));
        for (template, expected) in [
            ("", Some("")),
            ("plain", Some("plain")),
            ("{{.Name}}/{{ .ID }}", Some("<Name>/<ID>")),
            ("{{.Name", None),
            ("{{Name}}", None),
            ("{{.Other}}", None),
            ("{{.Name | upper}}", None),
        ] {
            assert_eq!(expand(template, &field).ok().as_deref(), expected, "{template}");
        }
        assert_eq!(list("a,,b"), ["a", "b"]);
    }

    #[test]
    fn stored_form() {
        let mut attributes = Attributes { tag: "t".to_owned(), ..Attributes::default() };
        assert_eq!(attributes.json(false).unwrap(), "");
        assert_eq!(attributes.json(true).unwrap(), r#"{"tag":"t"}"#);
        attributes.extra.insert("a".to_owned(), "b\n".to_owned());
        assert_eq!(attributes.json(true).unwrap(), r#"{"a":"b\n","tag":"t"}"#);
        attributes.extra.insert("big".to_owned(), "x".repeat(LIMIT));
        assert!(attributes.json(true).is_err());
    }
}
