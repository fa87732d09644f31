//! `volume update`: labels of a volume. Docker has the command for cluster volumes alone.

use client::{Request, path_escape};
use serde_json::json;

use crate::cli::{Args, Command, Kind, Parsed, check, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::options::kvfile;

/// Table of `volume update`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["volume update"],
    usage: "[OPTIONS] VOLUME",
    about: "Change the labels of a volume",
    flags: &[
        flag(
            "availability",
            '\0',
            Kind::Str("active"),
            "Cluster Volume availability (\"active\", \"pause\", \"drain\") (default \"active\")",
        ),
        flag("label-add", '\0', Kind::Many("list", check::label), "Add or change a label"),
        flag("label-rm", '\0', Kind::LIST, "Remove a label by its key"),
    ],
    args: Args::Exactly(1),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let name = parsed.args[0].as_str();
    if parsed.changed("availability") {
        return Err(Failure::new(format!(
            "{}: 'volume update --availability' is not supported yet: cluster volumes",
            context.program
        )));
    }
    if !parsed.changed("label-add") && !parsed.changed("label-rm") {
        return Err(Failure::new("nothing to update: name labels with --label-add or --label-rm"));
    }
    let body = json!({ "LabelAdd": kvfile::to_map(parsed.list("label-add")), "LabelRm": parsed.list("label-rm") });
    let request = Request::post(format!("/hoist/volumes/{}/update", path_escape(name))).unversioned();
    context.client()?.send(request.json(&body))?.discard()?;
    crate::out::line(name)
}
