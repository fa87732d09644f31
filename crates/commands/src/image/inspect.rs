//! `image inspect`.

use crate::cli::{Args, Command, Kind, Parsed, document_format, flag};
use crate::context::Context;
use crate::failure::Outcome;
use crate::inspect::{self, Kind as Object};

/// Table of `image inspect`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["image inspect"],
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Display detailed information on one or more images",
    flags: &[
        document_format('f'),
        flag(
            "platform",
            '\0',
            Kind::Str(""),
            "Inspect a specific platform of the multi-platform image.\nIf the image or the server is not multi-platform capable, the command will error out if the platform does not match.\n'os[/arch[/variant]]': Explicit platform (eg. linux/amd64)",
        ),
    ],
    args: Args::AtLeast(1),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    inspect::show(parsed, |name| inspect::fetch(context, parsed, Object::Image, name))
}
