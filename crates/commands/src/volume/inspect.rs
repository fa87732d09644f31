//! `volume inspect`.

use crate::cli::{Args, Command, Parsed, document_format};
use crate::context::Context;
use crate::failure::Outcome;
use crate::inspect::{self, Kind as Object};

/// Table of `volume inspect`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["volume inspect"],
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    about: "Display detailed information on one or more volumes",
    flags: &[document_format('f')],
    args: Args::AtLeast(1),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    inspect::show(parsed, |name| inspect::fetch(context, parsed, Object::Volume, name))
}
