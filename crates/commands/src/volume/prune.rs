//! `volume prune`.

use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::options::filters;
use crate::prune::{VOLUMES, total, wanted};
use crate::terminal::prompt;

/// Table of `volume prune`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["volume prune"],
    usage: "[OPTIONS]",
    about: "Remove unused local volumes",
    flags: &[
        flag("all", 'a', Kind::Bool(false), "Remove all unused volumes, not just anonymous ones"),
        flag("filter", '\0', Kind::FILTER, "Provide filter values (e.g. \"label=<label>\")"),
        flag("force", 'f', Kind::Bool(false), "Do not prompt for confirmation"),
    ],
    args: Args::None,
    interspersed: true,
    run,
};

const ANONYMOUS: &str = "WARNING! This will remove anonymous local volumes not used by at least one container.\nAre you sure you want to continue?";
const ALL: &str = "WARNING! This will remove all local volumes not used by at least one container.\nAre you sure you want to continue?";

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let all = parsed.bool("all");
    let wanted = wanted(context, parsed);
    if all && wanted.iter().any(|f| f.starts_with("all=")) {
        return Err(Failure::new("conflicting options: cannot specify both --all and --filter all=1"));
    }
    if !parsed.bool("force") && !prompt::confirm(if all { ALL } else { ANONYMOUS })? {
        return Ok(());
    }
    let filters = filters::encode(wanted.into_iter().chain(all.then_some("all=true")));
    let (gone, freed) = VOLUMES.send(context.client()?, VOLUMES.request().query_some("filters", filters))?;
    crate::out::text(&(gone + &total(freed)))
}
