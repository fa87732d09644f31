//! `manifest create`.

use super::{look, parse, shelf};
use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Table of `manifest create`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["manifest create"],
    usage: "MANIFEST_LIST MANIFEST [MANIFEST...]",
    about: "Create a local manifest list for annotating and pushing to a registry",
    flags: &[
        flag("amend", 'a', Kind::Bool(false), "Amend an existing manifest list"),
        flag("insecure", '\0', Kind::Bool(false), "Allow communication with an insecure registry"),
    ],
    args: Args::AtLeast(2),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let list = parse(&parsed.args[0])?;
    let known = shelf::list(context, &list)?;
    if known.is_some() && !parsed.bool("amend") {
        return Err(Failure::new("refusing to amend an existing manifest list with no --amend flag"));
    }
    // All are looked at before the first is kept.
    let mut manifests = Vec::new();
    for name in &parsed.args[1..] {
        let reference = parse(name)?;
        manifests.push(shelf::Kept::of(&reference, look(context, &reference, parsed.bool("insecure"))?)?);
    }
    for manifest in &manifests {
        shelf::keep(context, &list, manifest)?;
    }
    crate::out::line(&format!("Created manifest list {list}"))
}
