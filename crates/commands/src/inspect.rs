//! `inspect` of every kind of object: the documents as they came, or through a template.

use client::{Request, path_escape};

use crate::cli::{Args, Command, Kind as FlagKind, Parsed, document_format, flag, hidden};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::template::{Mode, Template, Value};

/// What can be inspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Container,
    Image,
    Network,
    Volume,
}

const TYPES: &str = "config\", \"container\", \"image\", \"network\", \"node\", \"plugin\", \"secret\", \"service\", \"task\", \"volume";

mod table {
    use super::*;
    use FlagKind as Kind;
    /// Table of `inspect`.
    pub(crate) const COMMAND: Command = Command {
        spellings: &["inspect"],
        usage: "[OPTIONS] NAME|ID [NAME|ID...]",
        about: "Return low-level information on Docker objects",
        flags: &[
            document_format('f'),
            flag("size", 's', Kind::Bool(false), "Display total file sizes if the type is container"),
            hidden("as", Kind::Str("")),
            flag("type", '\0', Kind::Str(""), "Only inspect objects of the given type"),
        ],
        args: Args::AtLeast(1),
        interspersed: true,
        run,
    };
}
pub(crate) use table::COMMAND;

/// Fetches one object's document.
pub(crate) fn fetch(context: &Context, parsed: &Parsed, kind: Kind, name: &str) -> Outcome<Vec<u8>> {
    fetch_raw(context, parsed, kind, name)?.map_err(Failure::from)
}

fn fetch_raw(context: &Context, parsed: &Parsed, kind: Kind, name: &str) -> Outcome<Result<Vec<u8>, client::Error>> {
    let escaped = path_escape(name);
    let mut request = match kind {
        Kind::Container => Request::get(format!("/containers/{escaped}/json")).query_if("size", parsed.bool("size")),
        Kind::Image => Request::get(format!("/images/{escaped}/json")),
        Kind::Network => Request::get(format!("/networks/{escaped}")),
        Kind::Volume => Request::get(format!("/volumes/{escaped}")),
    };
    if kind == Kind::Network && parsed.bool("verbose") {
        request = request.query("verbose", "true");
    }
    if let (Kind::Image, Some(platform)) = (kind, parsed.text("platform")) {
        request = request.query("platform", crate::image::platform_json(platform)?);
    }
    Ok(context.client()?.send(request).and_then(|r| r.bytes(256 << 20)))
}

/// `--as run`: the command line that would make the container again. False: it was not asked for.
pub(crate) fn show_as(context: &Context, parsed: &Parsed) -> Outcome<bool> {
    match parsed.str("as") {
        "" => return Ok(false),
        "run" => {}
        other => return Err(Failure::new(format!("--as: {other} is not supported, only run"))),
    }
    let read = |bytes: &[u8]| {
        serde_json::from_slice::<serde_json::Value>(bytes)
            .map_err(|error| Failure::new(format!("the daemon's answer cannot be read: {error}")))
    };
    for name in &parsed.args {
        let document = read(&fetch(context, parsed, Kind::Container, name)?)?;
        let image = document["Image"].as_str().unwrap_or_default();
        // An image that was removed cannot be left out: then everything is written.
        let image = match context.client()?.send(Request::get(format!("/images/{}/json", path_escape(image)))) {
            Ok(answer) => read(&answer.bytes(64 << 20)?)?,
            Err(error) if error.is_not_found() => serde_json::Value::Null,
            Err(error) => return Err(error.into()),
        };
        let words = crate::container::as_run::words(&document, &image).map_err(Failure::new)?;
        crate::out::text(&format!("{}\n", crate::container::as_run::line(context.program, &words)))?;
    }
    Ok(true)
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    if show_as(context, parsed)? {
        return Ok(());
    }
    let chosen = parsed.str("type");
    if parsed.changed("type") && chosen.is_empty() {
        return Err(Failure::new(format!("type is empty: must be one of \"{TYPES}\"")));
    }
    let kinds: &[Kind] = match chosen {
        "" => &[Kind::Container, Kind::Image, Kind::Network, Kind::Volume],
        "container" => &[Kind::Container],
        "image" => &[Kind::Image],
        "network" => &[Kind::Network],
        "volume" => &[Kind::Volume],
        "config" | "node" | "plugin" | "secret" | "service" | "task" => {
            return Err(Failure::new(format!("{}: 'inspect --type {chosen}' is not supported yet", context.program)));
        }
        other => {
            let quoted = crate::human::quote(other);
            return Err(Failure::new(format!("unknown type: {quoted}: must be one of \"{TYPES}\"")));
        }
    };
    show(parsed, |name| {
        for kind in kinds {
            match fetch_raw(context, parsed, *kind, name)? {
                Ok(body) => {
                    if parsed.bool("size") && *kind != Kind::Container {
                        let word = match kind {
                            Kind::Image => "image",
                            Kind::Network => "network",
                            _ => "volume",
                        };
                        crate::out::warn(&format!("WARNING: --size ignored for {word}"));
                    }
                    return Ok(body);
                }
                Err(error) => {
                    let text = error.to_string();
                    let skip = error.is_not_found()
                        || text.contains("not supported")
                        || text.contains("invalid reference format");
                    if !(chosen.is_empty() && skip) {
                        return Err(error.into());
                    }
                }
            }
        }
        Err(Failure::new(format!("Error: No such object: {name}")))
    })
}

/// Writes the documents of all arguments; objects that cannot be had are told at the end.
pub(crate) fn show(parsed: &Parsed, fetch: impl Fn(&str) -> Outcome<Vec<u8>>) -> Outcome {
    show_named(parsed, &parsed.args, fetch)
}

/// As [`show`], of names that need not be arguments.
pub(crate) fn show_named(parsed: &Parsed, names: &[String], fetch: impl Fn(&str) -> Outcome<Vec<u8>>) -> Outcome {
    let format = parsed.str("format");
    let template = match format {
        "" | "json" => None,
        text => Some(Template::parse(text).map_err(|why| Failure::code(64, format!("template parsing error: {why}")))?),
    };
    let mut errors = Vec::new();
    let mut documents: Vec<Vec<u8>> = Vec::new();
    let mut text = String::new();
    for name in names {
        let body = match fetch(name) {
            Ok(body) => body,
            Err(failure) => {
                errors.push(failure.text);
                continue;
            }
        };
        let Some(template) = &template else {
            documents.push(body);
            continue;
        };
        match apply(template, &body) {
            Ok(line) => {
                text.push_str(&line);
                text.push('\n');
            }
            Err(why) => errors.push(why),
        }
    }
    if template.is_some() {
        crate::out::text(if text.is_empty() { "\n" } else { &text })?;
    } else if documents.is_empty() {
        crate::out::text("[]\n")?;
    } else {
        let joined = [b"[".as_slice(), &documents.join(&b","[..]), b"]"].concat();
        crate::out::bytes(&indent(&joined, if format == "json" { None } else { Some("    ") }))?;
        crate::out::text("\n")?;
    }
    crate::each::join(errors)
}

fn apply(template: &Template, body: &[u8]) -> Result<String, String> {
    let data = Value::from_json(body).map_err(|e| format!("unable to read inspect data: {e}"))?;
    template.run(data.with_structs(), Mode::Document).map_err(|why| format!("template parsing error: {why}"))
}

/// Lays a JSON document out anew without touching its values; `None` makes it compact.
pub(crate) fn indent(json: &[u8], step: Option<&str>) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let mut depth = 0usize;
    let (mut inside, mut escaped, mut fresh) = (false, false, false);
    let newline = |out: &mut Vec<u8>, depth: usize| {
        if let Some(step) = step {
            out.push(b'\n');
            for _ in 0..depth.min(512) {
                out.extend_from_slice(step.as_bytes());
            }
        }
    };
    for byte in json {
        if inside {
            out.push(*byte);
            inside = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        if byte.is_ascii_whitespace() {
            continue;
        }
        let closing = matches!(byte, b']' | b'}');
        if fresh && !closing {
            newline(&mut out, depth);
        }
        match byte {
            b'{' | b'[' => {
                depth += 1;
                out.push(*byte);
                fresh = true;
                continue;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if !fresh {
                    newline(&mut out, depth);
                }
                out.push(*byte);
            }
            b',' => {
                out.push(b',');
                newline(&mut out, depth);
            }
            b':' => {
                out.push(b':');
                if step.is_some() {
                    out.push(b' ');
                }
            }
            b'"' => {
                inside = true;
                out.push(b'"');
            }
            other => out.push(*other),
        }
        fresh = false;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::indent;

    #[test]
    fn layout() {
        let json = br#"[{"a":{},"b":[1,"x, {\"y"],"c":[]}]"#;
        let text = String::from_utf8(indent(json, Some("  "))).expect("utf8");
        assert_eq!(
            text,
            "[\n  {\n    \"a\": {},\n    \"b\": [\n      1,\n      \"x, {\\\"y\"\n    ],\n    \"c\": []\n  }\n]"
        );
        assert_eq!(indent(b"{ \"a\" : 1 }", None), b"{\"a\":1}");
    }
}
