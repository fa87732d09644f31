//! `events`.

use std::collections::BTreeMap;

use client::Request;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cli::{Args, Command, Kind, Parsed, document_format, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::human::{parse_timestamp, quote};
use crate::options::filters;
use crate::template::{Mode, Template, Value};

/// Table of `events`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["system events", "events"],
    usage: "[OPTIONS]",
    about: "Get real time events from the server",
    flags: &[
        flag("filter", 'f', Kind::FILTER, "Filter output based on conditions provided"),
        document_format('\0'),
        flag("since", '\0', Kind::Str(""), "Show all events created since timestamp"),
        flag("until", '\0', Kind::Str(""), "Stream events until this timestamp"),
    ],
    args: Args::None,
    interspersed: true,
    run,
};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Event {
    r#type: String,
    action: String,
    actor: Actor,
    #[serde(rename = "time")]
    time: i64,
    #[serde(rename = "timeNano")]
    time_nano: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Attributes")]
    attributes: Option<BTreeMap<String, String>>,
}

fn time(parsed: &Parsed, name: &'static str) -> Outcome<Option<String>> {
    parsed
        .text(name)
        .map(parse_timestamp)
        .transpose()
        .map_err(|bad| Failure::new(format!("failed to parse value as time or duration: {}", quote(&bad))))
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let template = match parsed.str("format") {
        "" => None,
        "json" => Some("{{json .}}"),
        text => Some(text),
    };
    let template = template
        .map(Template::parse)
        .transpose()
        .map_err(|why| Failure::code(64, format!("Error parsing format: {why}")))?;
    let request = Request::get("/events")
        .query_some("since", time(parsed, "since")?)
        .query_some("until", time(parsed, "until")?)
        .query_some("filters", filters::encode(parsed.list("filter")));
    let response = context.client()?.send(request)?;
    let reader = std::io::BufReader::new(response);
    for document in serde_json::Deserializer::from_reader(reader).into_iter::<Box<RawValue>>() {
        let document = match document {
            Ok(document) => document,
            Err(e) if e.is_io() || e.is_eof() => return Err(Failure::new("unexpected EOF")),
            Err(e) => return Err(Failure::new(e.to_string())),
        };
        let line = match &template {
            Some(template) => {
                let data = Value::from_json(document.get().as_bytes()).map_err(|e| Failure::new(e.to_string()))?;
                template.run(data.with_structs(), Mode::Document).map_err(Failure::new)?
            }
            None => shown(&serde_json::from_str(document.get()).map_err(|e| Failure::new(e.to_string()))?),
        };
        crate::out::line(&line)?;
    }
    Ok(())
}

fn shown(event: &Event) -> String {
    let mut out = String::new();
    let nanos = if event.time_nano != 0 { i128::from(event.time_nano) } else { i128::from(event.time) * 1_000_000_000 };
    if let (true, Ok(stamp)) = (nanos != 0, jiff::Timestamp::from_nanosecond(nanos)) {
        let zoned = stamp.to_zoned(jiff::tz::TimeZone::system());
        let text = zoned.strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string();
        out.push_str(&text.strip_suffix("+00:00").map(|t| format!("{t}Z")).unwrap_or(text));
        out.push(' ');
    }
    out.push_str(&format!("{} {} {}", event.r#type, event.action, event.actor.id));
    let pairs: Vec<String> =
        event.actor.attributes.iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
    if !pairs.is_empty() {
        out.push_str(&format!(" ({})", pairs.join(", ")));
    }
    out
}
