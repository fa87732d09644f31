//! `container prune`.

use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::Outcome;
use crate::prune::{self, CONTAINERS, total};

/// Table of `container prune`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["container prune"],
    usage: "[OPTIONS]",
    about: "Remove all stopped containers",
    flags: &[
        flag("filter", '\0', Kind::FILTER, "Provide filter values (e.g. \"until=<timestamp>\")"),
        flag("force", 'f', Kind::Bool(false), "Do not prompt for confirmation"),
    ],
    args: Args::None,
    interspersed: true,
    run,
};

const WARNING: &str = "WARNING! This will remove all stopped containers.\nAre you sure you want to continue?";

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    match prune::plainly(context, parsed, &CONTAINERS, WARNING)? {
        Some((gone, freed)) => crate::out::text(&(gone + &total(freed))),
        None => Ok(()),
    }
}
