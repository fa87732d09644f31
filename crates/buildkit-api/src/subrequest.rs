//! Answers about a Dockerfile in place of a build: `frontend.lint`, `frontend.outline`, `frontend.targets`, and which of them there are.
//!
//! Source: <https://github.com/moby/buildkit/tree/master/frontend/subrequests>

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use build::outline::{Lent, Outline, Target};
use dockerfile::Lines;
use serde_json::{Map, Value, json};

/// Answers by key, as clients read them.
type Answers = BTreeMap<String, Vec<u8>>;

/// A line of a table.
type Row = Vec<String>;

/// What subrequests there are.
pub fn describe() -> Answers {
    let request = |name: &str, description: &str, options: Value| {
        let mut request = json!({
            "Name": name,
            "Version": "1.0.0",
            "Type": "rpc",
            "Description": description,
            "Opts": options,
            "Metadata": [{ "Name": "result.json" }, { "Name": "result.txt" }],
        });
        if request["Opts"].is_null() {
            request.as_object_mut().map(|request| request.remove("Opts"));
        }
        request
    };
    let target = json!([{ "Name": "target", "Description": "Target build stage" }]);
    let requests = [
        request("frontend.outline", "List all parameters current build target supports", target),
        request("frontend.targets", "List all targets current build supports", Value::Null),
        request("frontend.lint", "Lint a Dockerfile", Value::Null),
        request("frontend.subrequests.describe", "List available subrequest types", Value::Null),
    ];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut rows = vec![row(["NAME", "VERSION", "DESCRIPTION"])];
    rows.extend(requests.iter().map(|request| {
        let name = text(&request["Name"]).trim_start_matches("frontend.").to_owned();
        vec![name, text(&request["Version"]), text(&request["Description"])]
    }));
    answers(&json!(requests), table(&rows, 1))
}

fn answers(document: &Value, text: String) -> Answers {
    BTreeMap::from([
        ("result.json".into(), format!("{document:#}").into_bytes()),
        ("result.txt".into(), text.into_bytes()),
        ("version".into(), b"1.0.0".to_vec()),
    ])
}

/// `frontend.lint`: what the rules have found, or why the Dockerfile is none
/// (<https://github.com/moby/buildkit/blob/master/frontend/subrequests/lint/lint.go>).
pub fn lint(name: &str, text: &str, checked: &build::Checked) -> Answers {
    let place =
        |lines: Lines| json!({ "ranges": [{ "start": { "line": lines.first }, "end": { "line": lines.last } }] });
    let found: Vec<_> = checked
        .warnings
        .iter()
        .map(|warning| {
            json!({
                "ruleName": warning.rule.name,
                "description": warning.rule.description,
                "url": warning.rule.url(),
                "detail": warning.detail,
                "location": place(warning.lines),
            })
        })
        .collect();
    let mut document = json!({
        "warnings": found,
        "sources": [{ "filename": name, "language": "Dockerfile", "data": STANDARD.encode(text) }],
    });
    let mut plain = String::new();
    for warning in &checked.warnings {
        plain.push_str(&format!("\nWARNING: {} - {}\n{}\n", warning.rule.name, warning.rule.url(), warning.detail));
        plain.push_str(&dockerfile::error::excerpt(name, text, warning.lines, None));
    }
    if let Some(failure) = &checked.failure {
        let lines = failure.lines().unwrap_or_default();
        document["buildError"] = json!({ "message": failure.to_string(), "location": place(lines) });
    }
    let code = if checked.warnings.is_empty() && checked.failure.is_none() { "0" } else { "1" };
    BTreeMap::from([
        ("result.json".into(), document.to_string().into_bytes()),
        ("result.txt".into(), plain.into_bytes()),
        ("result.statuscode".into(), code.as_bytes().to_vec()),
        ("version".into(), b"1.0.0".to_vec()),
    ])
}

/// `frontend.targets`
pub fn targets(source: &str, targets: &[Target]) -> Answers {
    let document: Vec<Value> = targets
        .iter()
        .map(|target| {
            object(&[
                ("name", json!(target.name)),
                ("default", json!(target.default)),
                ("description", json!(target.description)),
                ("base", json!(target.base)),
                ("platform", json!(target.platform)),
                ("location", location(target.lines)),
            ])
        })
        .collect();
    let mut rows = vec![row(["TARGET", "DESCRIPTION"])];
    rows.extend(targets.iter().map(|target| {
        let name = match (target.name.as_str(), target.default) {
            ("", true) => "(default)".to_owned(),
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        };
        vec![name, target.description.clone()]
    }));
    answers(&json!({ "targets": document, "sources": [STANDARD.encode(source)] }), table(&rows, 1))
}

/// `frontend.outline`
pub fn outline(source: &str, outline: &Outline) -> Answers {
    let arguments: Vec<Value> = outline
        .arguments
        .iter()
        .map(|argument| {
            let mut found = object(&[
                ("description", json!(argument.description)),
                ("value", json!(argument.value)),
                ("location", location(argument.lines)),
            ]);
            found["name"] = json!(argument.name);
            found
        })
        .collect();
    let lent = |list: &[Lent]| -> Vec<Value> {
        let one = |lent: &Lent| {
            let mut found = object(&[("required", json!(lent.required)), ("location", location(lent.lines))]);
            found["name"] = json!(lent.id);
            found
        };
        list.iter().map(one).collect()
    };
    let document = object(&[
        ("name", json!(outline.name)),
        ("description", json!(outline.description)),
        ("args", json!(arguments)),
        ("secrets", json!(lent(&outline.secrets))),
        ("ssh", json!(lent(&outline.agents))),
        ("sources", json!([STANDARD.encode(source)])),
    ]);
    let mut text = String::new();
    let mut add = |rows: &[Row], gap: usize| {
        text.push_str(&table(rows, gap));
        text.push('\n');
    };
    if !outline.name.is_empty() || !outline.description.is_empty() {
        let name = if outline.name.is_empty() { "(default)" } else { &outline.name };
        let mut rows = vec![row(["TARGET:", name])];
        if !outline.description.is_empty() {
            rows.push(row(["DESCRIPTION:", &outline.description]));
        }
        add(&rows, 1);
    }
    if !outline.arguments.is_empty() {
        let mut rows = vec![row(["BUILD ARG", "VALUE", "DESCRIPTION"])];
        rows.extend(outline.arguments.iter().map(|found| row([&found.name, &found.value, &found.description])));
        add(&rows, 3);
    }
    for (title, list) in [("SECRET", &outline.secrets), ("SSH", &outline.agents)] {
        if !list.is_empty() {
            let mut rows = vec![row([title, "REQUIRED"])];
            rows.extend(list.iter().map(|lent| row([&lent.id, if lent.required { "true" } else { "" }])));
            add(&rows, 3);
        }
    }
    answers(&document, text)
}

fn row<const N: usize>(cells: [&str; N]) -> Row {
    cells.map(str::to_owned).to_vec()
}

/// Without what is empty, as BuildKit's documents are.
fn object(fields: &[(&str, Value)]) -> Value {
    let empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    let fields = fields.iter().filter(|(_, value)| !empty(value));
    Value::Object(fields.map(|(key, value)| ((*key).to_owned(), value.clone())).collect::<Map<_, _>>())
}

/// `pb.Location`: a range for each line.
pub fn location(lines: Lines) -> Value {
    json!({ "ranges": ranges(lines) })
}

/// The lines of an instruction, each a range of its own.
pub fn ranges(lines: Lines) -> Vec<Value> {
    let range = |line: usize| json!({ "start": { "line": line }, "end": { "line": line } });
    (lines.first..=lines.last.max(lines.first)).map(range).collect()
}

/// Columns as wide as their widest cell and a gap; the last one has none.
fn table(rows: &[Row], gap: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0) + gap).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                text.extend(std::iter::repeat_n(' ', widths[column] - cell.chars().count()));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_documents() {
        let file = dockerfile::parse("# a first\nFROM x AS a\nFROM a\n").unwrap();
        let found = targets("", &build::outline::targets(&file));
        let text = String::from_utf8(found["result.txt"].clone()).unwrap();
        assert_eq!(text, "TARGET    DESCRIPTION\na         first\n(default) \n");
        let document: Value = serde_json::from_slice(&found["result.json"]).unwrap();
        assert_eq!(document["targets"][0]["location"], json!({"ranges": [{"start": {"line": 2}, "end": {"line": 2}}]}));
        assert!(document["targets"][0].get("default").is_none());
        let lines = Lines { first: 3, last: 4 };
        let lent = Lent { id: "token".into(), required: true, lines };
        let outlined = outline("", &Outline { secrets: vec![lent], ..Outline::default() });
        let text = String::from_utf8(outlined["result.txt"].clone()).unwrap();
        assert_eq!(text, "SECRET   REQUIRED\ntoken    true\n\n");
        assert_eq!(ranges(lines).len(), 2);
    }
}
