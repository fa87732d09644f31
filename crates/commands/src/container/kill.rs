//! `kill`.

use client::Request;

use super::route;
use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::each;
use crate::failure::Outcome;

/// Table of `kill`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["container kill", "kill"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Kill one or more running containers",
    flags: &[flag("signal", 's', Kind::Str(""), "Signal to send to the container")],
    args: Args::AtLeast(1),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let client = context.client()?;
    each::name(&parsed.args, |name| {
        let request = Request::post(route(name, "/kill")).query_some("signal", parsed.text("signal"));
        Ok(client.send(request)?.discard()?)
    })
}
