//! `volume prune`.

use client::Request;
use serde::Deserialize;

use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::human;
use crate::options::filters;
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

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    volumes_deleted: Option<Vec<String>>,
    #[serde(default)]
    space_reclaimed: u64,
}

const ANONYMOUS: &str = "WARNING! This will remove anonymous local volumes not used by at least one container.\nAre you sure you want to continue?";
const ALL: &str = "WARNING! This will remove all local volumes not used by at least one container.\nAre you sure you want to continue?";

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let all = parsed.bool("all");
    let wanted = parsed.list("filter");
    if all && wanted.iter().any(|f| f.starts_with("all=")) {
        return Err(Failure::new("conflicting options: cannot specify both --all and --filter all=1"));
    }
    if !parsed.bool("force") && !prompt::confirm(if all { ALL } else { ANONYMOUS })? {
        return Ok(());
    }
    let filters = filters::encode(wanted.into_iter().chain(all.then_some("all=true")));
    let request = Request::post("/volumes/prune").query_some("filters", filters);
    let report: Report = context.client()?.send(request)?.json()?;
    let deleted = report.volumes_deleted.unwrap_or_default();
    let mut text = String::new();
    if !deleted.is_empty() {
        text.push_str(&format!("Deleted Volumes:\n{}\n\n", deleted.join("\n")));
    }
    let reclaimed = if deleted.is_empty() { 0 } else { report.space_reclaimed };
    text.push_str(&format!("Total reclaimed space: {}\n", human::size(reclaimed as f64, 4)));
    crate::out::text(&text)
}
