//! `volume create`.

use client::Request;
use serde::Deserialize;
use serde_json::json;

use crate::cli::{Args, Command, Flag, Kind, Parsed, check, flag, hidden};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::options::kvfile;

//@COMMAND {"cmd":"docker volume create"}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    name: String,
}

const CLUSTER: [&str; 10] = [
    "availability", "group", "limit-bytes", "required-bytes", "scope", "secret", "sharing", "topology-preferred",
    "topology-required", "type",
];

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let argument = parsed.args.first().map(String::as_str);
    let name = match (argument, parsed.str("name")) {
        (Some(_), flag) if !flag.is_empty() => {
            return Err(Failure::new("conflicting options: cannot specify a volume-name through both --name and as a positional arg"));
        }
        (Some(name), _) => name,
        (None, flag) => flag,
    };
    if let Some(flag) = CLUSTER.iter().find(|flag| parsed.changed(flag)) {
        return Err(Failure::new(format!("{}: 'volume create --{flag}' is not supported yet: cluster volumes", context.program)));
    }
    let body = json!({
        "Name": name,
        "Driver": parsed.str("driver"),
        "DriverOpts": kvfile::to_map(parsed.list("opt")),
        "Labels": kvfile::to_map(parsed.list("label")),
    });
    let created: Created = context.client()?.send(Request::post("/volumes/create").json(&body))?.json()?;
    crate::out::line(&created.name)
}
