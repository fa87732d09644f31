//! `kill`.

use client::Request;

use super::route;
use crate::cli::{Args, Command, Flag, Kind, Parsed, flag};
use crate::context::Context;
use crate::each;
use crate::failure::Outcome;

//@COMMAND {"cmd":"docker kill"}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let client = context.client()?;
    each::name(&parsed.args, |name| {
        let request = Request::post(route(name, "/kill")).query_some("signal", parsed.text("signal"));
        Ok(client.send(request)?.discard()?)
    })
}
