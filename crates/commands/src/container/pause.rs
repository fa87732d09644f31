//! `pause`.

use client::Request;

use super::route;
use crate::cli::{Args, Command, Parsed};
use crate::context::Context;
use crate::each;
use crate::failure::Outcome;

//@COMMAND {"cmd":"docker pause"}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let client = context.client()?;
    each::name(&parsed.args, |name| Ok(client.send(Request::post(route(name, "/pause")))?.discard()?))
}
