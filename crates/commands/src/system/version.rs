//! `version`.

use client::Request;
use serde_json::{Map, Value, json};

use crate::cli::{Args, Command, Parsed, document_format};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::format::columns::align;
use crate::template::Template;

/// Table of `version`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["version"],
    usage: "[OPTIONS]",
    about: "Show the Docker version information",
    flags: &[document_format('f')],
    args: Args::None,
    interspersed: true,
    run,
};

/// Our side, with Docker's names of the fields.
pub(crate) fn client_part() -> Map<String, Value> {
    let mut map = Map::new();
    for (key, value) in [
        ("Version", env!("CARGO_PKG_VERSION")),
        ("DefaultAPIVersion", client::API_VERSION),
        ("Os", std::env::consts::OS),
        ("Arch", arch()),
        ("Context", "default"),
    ] {
        map.insert(key.to_owned(), value.into());
    }
    map
}

/// Go's name of the architecture we were built for.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let format = parsed.str("format");
    if !matches!(format, "" | "json") {
        Template::parse(format).map_err(|why| Failure::code(64, format!("template parsing error: {why}")))?;
    }
    let client = context.client()?;
    let server: Result<Value, Failure> =
        client.send(Request::get("/version")).and_then(client::Response::json).map_err(Failure::from);
    let mut ours = client_part();
    ours.insert("ApiVersion".to_owned(), client.version().into());
    let (server, problem) = match server {
        Ok(server) => (server, None),
        Err(failure) => (Value::Null, Some(failure)),
    };
    if format.is_empty() {
        crate::out::text(&align(&page(&ours, &server), 20, 1))?;
    } else {
        let document = json!({ "Client": ours, "Server": server });
        crate::out::line(&super::through_template(format, &document)?)?;
    }
    problem.map_or(Ok(()), Err)
}

fn page(ours: &Map<String, Value>, server: &Value) -> String {
    let text = |value: Option<&Value>| match value {
        Some(Value::String(s)) => s.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    let mine = |key: &str| text(ours.get(key));
    let mut out = format!("Client:\n Version:\t{}\n API version:\t{}", mine("Version"), mine("ApiVersion"));
    if mine("ApiVersion") != mine("DefaultAPIVersion") {
        out.push_str(&format!(" (downgraded from {})", mine("DefaultAPIVersion")));
    }
    out.push_str(&format!("\n OS/Arch:\t{}/{}\n Context:\t{}\n", mine("Os"), mine("Arch"), mine("Context")));
    if server.is_null() {
        return out;
    }
    let platform = text(server.get("Platform").and_then(|p| p.get("Name")));
    out.push_str("\nServer:");
    if !platform.is_empty() {
        out.push(' ');
        out.push_str(&platform);
    }
    out.push('\n');
    let mut components: Vec<Value> = server.get("Components").and_then(Value::as_array).cloned().unwrap_or_default();
    if !components.iter().any(|c| c["Name"] == "Engine") {
        components.push(json!({ "Name": "Engine", "Version": server["Version"], "Details": server }));
    }
    for component in components {
        let details = &component["Details"];
        out.push_str(&format!(" {}:\n", text(component.get("Name"))));
        if component["Name"] == "Engine" {
            let detail = |key: &str| text(details.get(key));
            out.push_str(&format!("  Version:\t{}\n", text(server.get("Version"))));
            out.push_str(&format!(
                "  API version:\t{} (minimum version {})\n",
                detail("ApiVersion"),
                detail("MinAPIVersion")
            ));
            for (title, key) in [("Go version", "GoVersion"), ("Git commit", "GitCommit"), ("Built", "BuildTime")] {
                let value = detail(key);
                if !value.is_empty() {
                    out.push_str(&format!("  {title}:\t{}\n", if key == "BuildTime" { built(&value) } else { value }));
                }
            }
            out.push_str(&format!("  OS/Arch:\t{}/{}\n", detail("Os"), detail("Arch")));
            let experimental = detail("Experimental");
            out.push_str(&format!(
                "  Experimental:\t{}\n",
                if experimental.is_empty() { "false" } else { &experimental }
            ));
        } else {
            out.push_str(&format!("  Version:\t{}\n", text(component.get("Version"))));
            for (key, value) in details.as_object().into_iter().flatten() {
                out.push_str(&format!("  {key}:\t{}\n", text(Some(value))));
            }
        }
    }
    out
}

/// RFC 3339 as `Mon Jan  2 15:04:05 2006`.
fn built(text: &str) -> String {
    match text.parse::<jiff::Timestamp>() {
        Ok(stamp) => stamp.to_zoned(jiff::tz::TimeZone::UTC).strftime("%a %b %e %H:%M:%S %Y").to_string(),
        Err(_) => text.to_owned(),
    }
}
