//! `context use`.

use crate::cli::{Args, Command, Parsed};
use crate::context::Context;
use crate::failure::Outcome;

/// Table of `context use`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["context use"],
    usage: "CONTEXT",
    about: "Set the current docker context",
    flags: &[],
    args: Args::Exactly(1),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let name = parsed.args[0].as_str();
    if name != super::DEFAULT {
        super::check_name(name)?;
        context.contexts()?.load(name)?;
    }
    context.config().choose_context(Some(name).filter(|name| *name != super::DEFAULT))?;
    crate::out::line(name)?;
    crate::out::warn(&format!("Current context is now {}", crate::human::quote(name)));
    if let Some(variable) = context.host_variable().filter(|_| name != super::DEFAULT) {
        crate::out::warn(&format!(
            "Warning: {variable} environment variable overrides the active context. To use {}, either set the global --context flag, or unset {variable} environment variable.",
            crate::human::quote(name)
        ));
    }
    Ok(())
}
