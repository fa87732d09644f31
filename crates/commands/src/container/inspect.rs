//! `container inspect`.

use crate::cli::{Args, Command, Kind, Parsed, flag, hidden};
use crate::context::Context;
use crate::failure::Outcome;
use crate::inspect::{self, Kind as Object};

/// Table of `container inspect`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["container inspect"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Display detailed information on one or more containers",
    flags: &[
        flag(
            "format",
            'f',
            Kind::Str(""),
            "Format output using a custom template:\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates",
        ),
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
