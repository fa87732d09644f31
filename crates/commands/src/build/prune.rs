//! `builder prune`.

use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::Outcome;
use crate::options::filters;
use crate::prune::{BUILD_CACHE, total, wanted};
use crate::terminal::prompt;

/// Table of `builder prune`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["builder prune"],
    usage: "",
    about: "Remove build cache",
    flags: &[
        flag("all", 'a', Kind::Bool(false), "Remove all unused build cache, not just dangling ones"),
        flag("filter", '\0', Kind::FILTER, "Provide filter values (e.g. \"until=24h\")"),
        flag("force", 'f', Kind::Bool(false), "Do not prompt for confirmation"),
        flag("keep-storage", '\0', Kind::BYTES, "Amount of disk space to keep for cache"),
    ],
    args: Args::None,
    interspersed: true,
    run,
};

const ALL: &str = "WARNING! This will remove all build cache. Are you sure you want to continue?";
const DANGLING: &str = "WARNING! This will remove all dangling build cache. Are you sure you want to continue?";

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let all = parsed.bool("all");
    if !parsed.bool("force") && !prompt::confirm(if all { ALL } else { DANGLING })? {
        return Ok(());
    }
    let keep = Some(parsed.str("keep-storage")).filter(|value| !value.is_empty() && *value != "0");
    let request = BUILD_CACHE
        .request()
        .query_if("all", all)
        .query_some("keep-storage", keep)
        .query_some("reserved-space", keep)
        .query_some("filters", filters::encode(wanted(context, parsed)));
    let (gone, freed) = BUILD_CACHE.send(context.client()?, request)?;
    crate::out::text(&(gone + &total(freed)))
}
