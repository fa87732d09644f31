//! `pause`.

use client::Request;

use super::route;
use crate::cli::{Args, Command, Parsed};
use crate::context::Context;
use crate::each;
use crate::failure::Outcome;

/// Table of `pause`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["container pause", "pause"],
    usage: "CONTAINER [CONTAINER...]",
    about: "Pause all processes within one or more containers",
    flags: &[],
    args: Args::AtLeast(1),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let client = context.client()?;
    each::name(&parsed.args, |name| Ok(client.send(Request::post(route(name, "/pause")))?.discard()?))
}
