//! `context rm`.

use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Table of `context rm`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["context rm", "context remove"],
    usage: "CONTEXT [CONTEXT...]",
    about: "Remove one or more contexts",
    flags: &[flag("force", 'f', Kind::Bool(false), "Force the removal of a context in use")],
    args: Args::AtLeast(1),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let force = parsed.bool("force");
    let store = context.contexts()?;
    let current = context.context_name()?;
    crate::each::name(&parsed.args, |name| {
        let quoted = crate::human::quote(name);
        if name == super::DEFAULT {
            return Err(Failure::new("context \"default\" cannot be removed"));
        }
        if !store.exists(name) && !force {
            return Err(Failure::new(format!("context {quoted} does not exist")));
        }
        if name == current {
            if !force {
                return Err(Failure::new(format!("context {quoted} is in use, set -f flag to force remove")));
            }
            context.config().choose_context(None)?;
        }
        store.remove(name)
    })
}
