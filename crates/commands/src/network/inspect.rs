//! `network inspect`.

use crate::cli::{Args, Command, Kind, Parsed, document_format, flag};
use crate::context::Context;
use crate::failure::Outcome;
use crate::inspect::{self, Kind as Object};

/// Table of `network inspect`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["network inspect"],
    usage: "[OPTIONS] NETWORK [NETWORK...]",
    about: "Display detailed information on one or more networks",
    flags: &[document_format('f'), flag("verbose", 'v', Kind::Bool(false), "Verbose output for diagnostics")],
    args: Args::AtLeast(1),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    inspect::show(parsed, |name| inspect::fetch(context, parsed, Object::Network, name))
}
