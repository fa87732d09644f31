//! `diff`.

use client::Request;
use serde::Deserialize;

use super::route;
use crate::cli::{Args, Command, Parsed};
use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Table of `diff`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["container diff", "diff"],
    usage: "CONTAINER",
    about: "Inspect changes to files or directories on a container's filesystem",
    flags: &[],
    args: Args::Exactly(1),
    interspersed: true,
    run,
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Change {
    kind: u8,
    path: String,
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    if parsed.args[0].is_empty() {
        return Err(Failure::new("Container name cannot be empty"));
    }
    let changes: Option<Vec<Change>> =
        context.client()?.send(Request::get(route(&parsed.args[0], "/changes")))?.json()?;
    let mut text = String::new();
    for change in changes.unwrap_or_default() {
        let letter = ["C", "A", "D"].get(usize::from(change.kind)).copied().unwrap_or("");
        text.push_str(&format!("{letter} {}\n", change.path));
    }
    crate::out::text(&text)
}
