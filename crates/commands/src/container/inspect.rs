//! `container inspect`.

use crate::cli::{Args, Command, Kind, Parsed, document_format, flag, hidden};
use crate::context::Context;
use crate::failure::Outcome;
use crate::inspect::{self, Kind as Object};

/// Table of `container inspect`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["container inspect"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Display detailed information on one or more containers",
    flags: &[
        document_format('f'),
        flag("size", 's', Kind::Bool(false), "Display total file sizes"),
        hidden("as", Kind::Str("")),
    ],
    args: Args::AtLeast(1),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    if inspect::show_as(context, parsed)? {
        return Ok(());
    }
    inspect::show(parsed, |name| inspect::fetch(context, parsed, Object::Container, name))
}
