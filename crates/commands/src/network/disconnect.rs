//! `network disconnect`.

use client::{Request, path_escape};
use serde_json::json;

use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::Outcome;

/// Table of `network disconnect`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["network disconnect"],
    usage: "[OPTIONS] NETWORK CONTAINER",
    about: "Disconnect a container from a network",
    flags: &[flag("force", 'f', Kind::Bool(false), "Force the container to disconnect from a network")],
    args: Args::Exactly(2),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let body = json!({ "Container": parsed.args[1], "Force": parsed.bool("force") });
    let path = format!("/networks/{}/disconnect", path_escape(&parsed.args[0]));
    Ok(context.client()?.send(Request::post(path).json(&body))?.discard()?)
}
