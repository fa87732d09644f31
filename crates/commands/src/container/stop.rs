//! `stop`.

use client::Request;

use super::route;
use crate::cli::{Args, Command, Flag, Kind, Parsed, flag, hidden};
use crate::context::Context;
use crate::each;
use crate::failure::Outcome;

//@COMMAND {"cmd":"docker stop"}

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
