//! `restart`.

use client::Request;

use super::route;
use super::stop::timeout;
use crate::cli::{Args, Command, Flag, Kind, Parsed, flag, hidden};
use crate::context::Context;
use crate::each;
use crate::failure::Outcome;

//@COMMAND {"cmd":"docker restart"}

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
