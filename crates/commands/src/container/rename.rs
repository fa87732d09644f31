//! `rename`.

use client::Request;

use super::route;
use crate::cli::{Args, Command, Parsed};
use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Table of `rename`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["container rename", "rename"],
    usage: "CONTAINER NEW_NAME",
    about: "Rename a container",
    flags: &[],
    args: Args::Exactly(2),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let (old, new) = (parsed.args[0].trim(), parsed.args[1].trim());
    if old.is_empty() || new.is_empty() {
        return Err(Failure::new("Error: Neither old nor new names may be empty"));
    }
    let result = context.client()?.send(Request::post(route(old, "/rename")).query("name", new));
    match result {
        Ok(response) => Ok(response.discard()?),
        Err(error) => {
            crate::out::warn(&error.to_string());
            Err(Failure::new(format!("Error: failed to rename container named {old}")))
        }
    }
}
