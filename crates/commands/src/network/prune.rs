//! `network prune`.

use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::Outcome;
use crate::prune::{self, NETWORKS};

/// Table of `network prune`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["network prune"],
    usage: "[OPTIONS]",
    about: "Remove all unused networks",
    flags: &[
        flag("filter", '\0', Kind::FILTER, "Provide filter values (e.g. \"until=<timestamp>\")"),
        flag("force", 'f', Kind::Bool(false), "Do not prompt for confirmation"),
    ],
    args: Args::None,
    interspersed: true,
    run,
};

const WARNING: &str = "WARNING! This will remove all custom networks not used by at least one container.\nAre you sure you want to continue?";

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    match prune::plainly(context, parsed, &NETWORKS, WARNING)? {
        Some((gone, _)) => crate::out::text(&gone),
        None => Ok(()),
    }
}
