//! `restart`.

use client::Request;

use super::route;
use super::stop::timeout;
use crate::cli::{Args, Command, Kind, Parsed, flag, hidden};
use crate::context::Context;
use crate::each;
use crate::failure::Outcome;

/// Table of `restart`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["container restart", "restart"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Restart one or more containers",
    flags: &[
        flag("signal", 's', Kind::Str(""), "Signal to send to the container"),
        flag("timeout", 't', Kind::Int(0), "Seconds to wait before killing the container"),
        hidden("time", Kind::Int(0)),
    ],
    args: Args::AtLeast(1),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let client = context.client()?;
    let timeout = timeout(parsed);
    each::name(&parsed.args, |name| {
        let request = Request::post(route(name, "/restart"))
            .query_some("signal", parsed.text("signal"))
            .query_some("t", timeout.as_deref());
        Ok(client.send(request)?.discard()?)
    })
}
