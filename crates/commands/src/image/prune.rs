//! `image prune`.

use super::plan;
use crate::cli::{Args, Command, Kind, Parsed, flag, hidden};
use crate::context::Context;
use crate::failure::Outcome;
use crate::human;
use crate::options::filters;
use crate::prune::{IMAGES, total, wanted};
use crate::terminal::prompt;

/// Table of `image prune`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["image prune"],
    usage: "[OPTIONS]",
    about: "Remove unused images",
    flags: &[
        flag("all", 'a', Kind::Bool(false), "Remove all unused images, not just dangling ones"),
        flag("filter", '\0', Kind::FILTER, "Provide filter values (e.g. \"until=<timestamp>\")"),
        flag("force", 'f', Kind::Bool(false), "Do not prompt for confirmation"),
        hidden("dry-run", Kind::Bool(false)),
    ],
    args: Args::None,
    interspersed: true,
    run,
};

const ALL: &str = "WARNING! This will remove all images without at least one container associated to them.\nAre you sure you want to continue?";
const DANGLING: &str = "WARNING! This will remove all dangling images.\nAre you sure you want to continue?";

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let all = parsed.bool("all");
    let dangling = if all { "dangling=false" } else { "dangling=true" };
    let filters = filters::encode(wanted(context, parsed).into_iter().chain([dangling]));
    if parsed.bool("dry-run") {
        let (text, bytes) = plan::describe(context.client()?, filters)?;
        return crate::out::text(&format!("{text}Space that would be reclaimed: {}\n", human::size(bytes as f64, 4)));
    }
    if !parsed.bool("force") && !prompt::confirm(if all { ALL } else { DANGLING })? {
        return Ok(());
    }
    let (gone, freed) = IMAGES.send(context.client()?, IMAGES.request().query_some("filters", filters))?;
    crate::out::text(&(gone + &total(freed)))
}
