//! `volume create`.

use client::Request;
use serde::Deserialize;
use serde_json::json;

use crate::cli::{Args, Command, Kind, Parsed, check, flag, hidden};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::options::kvfile;

/// Table of `volume create`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["volume create"],
    usage: "[OPTIONS] [VOLUME]",
    about: "Create a volume",
    flags: &[
        flag(
            "availability",
            '\0',
            Kind::Str("active"),
            "Cluster Volume availability (\"active\", \"pause\", \"drain\") (default \"active\")",
        ),
        flag("driver", 'd', Kind::Str("local"), "Specify volume driver name (default \"local\")"),
        flag("group", '\0', Kind::Str(""), "Cluster Volume group (cluster volumes)"),
        flag("label", '\0', Kind::Many("list", check::label), "Set metadata for a volume"),
        flag("limit-bytes", '\0', Kind::BYTES, "Minimum size of the Cluster Volume in bytes"),
        flag("opt", 'o', Kind::MAP, "Set driver specific options (default map[])"),
        flag("required-bytes", '\0', Kind::BYTES, "Maximum size of the Cluster Volume in bytes"),
        flag(
            "scope",
            '\0',
            Kind::Str("single"),
            "Cluster Volume access scope (\"single\", \"multi\") (default \"single\")",
        ),
        flag("secret", '\0', Kind::MAP, "Cluster Volume secrets (default map[])"),
        flag(
            "sharing",
            '\0',
            Kind::Str("none"),
            "Cluster Volume access sharing (\"none\", \"readonly\", \"onewriter\", \"all\") (default \"none\")",
        ),
        flag("topology-preferred", '\0', Kind::LIST, "A topology that the Cluster Volume would be preferred in"),
        flag("topology-required", '\0', Kind::LIST, "A topology that the Cluster Volume must be accessible from"),
        flag("type", '\0', Kind::Str("block"), "Cluster Volume access type (\"mount\", \"block\") (default \"block\")"),
        hidden("name", Kind::Str("")),
    ],
    args: Args::AtMost(1),
    interspersed: true,
    run,
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    name: String,
}

const CLUSTER: [&str; 10] = [
    "availability",
    "group",
    "limit-bytes",
    "required-bytes",
    "scope",
    "secret",
    "sharing",
    "topology-preferred",
    "topology-required",
    "type",
];

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let argument = parsed.args.first().map(String::as_str);
    let name = match (argument, parsed.str("name")) {
        (Some(_), flag) if !flag.is_empty() => {
            return Err(Failure::new(
                "conflicting options: cannot specify a volume-name through both --name and as a positional arg",
            ));
        }
        (Some(name), _) => name,
        (None, flag) => flag,
    };
    if let Some(flag) = CLUSTER.iter().find(|flag| parsed.changed(flag)) {
        return Err(Failure::new(format!(
            "{}: 'volume create --{flag}' is not supported yet: cluster volumes",
            context.program
        )));
    }
    let mut body = json!({ "Driver": parsed.str("driver") });
    if !name.is_empty() {
        body["Name"] = json!(name);
    }
    for (key, flag) in [("DriverOpts", "opt"), ("Labels", "label")] {
        if parsed.changed(flag) {
            body[key] = kvfile::to_map(parsed.list(flag)).into();
        }
    }
    let created: Created = context.client()?.send(Request::post("/volumes/create").json(&body))?.json()?;
    crate::out::line(&created.name)
}
