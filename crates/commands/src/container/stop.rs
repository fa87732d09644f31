//! `stop`.

use client::Request;

use super::route;
use crate::cli::{Args, Command, Kind, Parsed, flag, hidden};
use crate::context::Context;
use crate::each;
use crate::failure::Outcome;

/// Table of `stop`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["container stop", "stop"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Stop one or more running containers",
    flags: &[
        flag("signal", 's', Kind::Str(""), "Signal to send to the container"),
        flag("timeout", 't', Kind::Int(0), "Seconds to wait before killing the container"),
        hidden("time", Kind::Int(0)),
    ],
    args: Args::AtLeast(1),
    interspersed: true,
    run,
};

/// Seconds of `-t` (or of its old long name), if given.
pub(crate) fn timeout(parsed: &Parsed) -> Option<String> {
    parsed.changed("timeout").then(|| parsed.int("timeout").to_string())
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let client = context.client()?;
    let timeout = timeout(parsed);
    each::name(&parsed.args, |name| {
        let request = Request::post(route(name, "/stop"))
            .query_some("signal", parsed.text("signal"))
            .query_some("t", timeout.as_deref());
        Ok(client.send(request)?.discard()?)
    })
}
