//! `manifest rm`.

use super::{parse, shelf};
use crate::cli::{Args, Command, Parsed};
use crate::context::Context;
use crate::failure::Outcome;

/// Table of `manifest rm`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["manifest rm"],
    usage: "MANIFEST_LIST [MANIFEST_LIST...]",
    about: "Delete one or more manifest lists from local storage",
    flags: &[],
    args: Args::AtLeast(1),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let mut errors = Vec::new();
    for name in &parsed.args {
        let list = match parse(name) {
            Ok(list) => list,
            Err(failure) => {
                errors.push(failure.text);
                continue;
            }
        };
        match shelf::forget(context, &list) {
            Ok(true) => {}
            Ok(false) => errors.push(format!("No such manifest: {list}")),
            Err(failure) => errors.push(failure.text),
        }
    }
    crate::each::join(errors)
}
