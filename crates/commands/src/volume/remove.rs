//! `volume rm`.

use client::{Request, path_escape};

use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::each;
use crate::failure::Outcome;

/// Table of `volume remove`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["volume rm", "volume remove"],
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    about: "Remove one or more volumes. You cannot remove a volume that is in use by a container.",
    flags: &[flag("force", 'f', Kind::Bool(false), "Force the removal of one or more volumes")],
    args: Args::AtLeast(1),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let client = context.client()?;
    each::name(&parsed.args, |name| {
        let request =
            Request::delete(format!("/volumes/{}", path_escape(name))).query_if("force", parsed.bool("force"));
        Ok(client.send(request)?.discard()?)
    })
}
