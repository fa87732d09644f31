//! `container prune`.

use client::Request;
use serde::Deserialize;

use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::Outcome;
use crate::human;
use crate::options::filters;
use crate::terminal::prompt;

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

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    containers_deleted: Option<Vec<String>>,
    #[serde(default)]
    space_reclaimed: u64,
}

const WARNING: &str = "WARNING! This will remove all stopped containers.\nAre you sure you want to continue?";

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    if !parsed.bool("force") && !prompt::confirm(WARNING)? {
        return Ok(());
    }
    let request = Request::post("/containers/prune").query_some("filters", filters::encode(parsed.list("filter")));
    let report: Report = context.client()?.send(request)?.json()?;
    let deleted = report.containers_deleted.unwrap_or_default();
    let mut text = String::new();
    if !deleted.is_empty() {
        text.push_str(&format!("Deleted Containers:\n{}\n\n", deleted.join("\n")));
    }
    let reclaimed = if deleted.is_empty() { 0 } else { report.space_reclaimed };
    text.push_str(&format!("Total reclaimed space: {}\n", human::size(reclaimed as f64, 4)));
    crate::out::text(&text)
}
