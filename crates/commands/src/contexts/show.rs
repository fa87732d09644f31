//! `context show`.

use crate::cli::{Args, Command, Parsed};
use crate::context::Context;
use crate::failure::Outcome;

/// Table of `context show`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["context show"],
    usage: "",
    about: "Print the name of the current context",
    flags: &[],
    args: Args::None,
    interspersed: true,
    run,
};

fn run(context: &Context, _: &Parsed) -> Outcome {
    crate::out::line(&context.context_name()?)
}
