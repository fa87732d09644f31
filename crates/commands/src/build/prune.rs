//! `builder prune`.

use client::Request;
use serde::Deserialize;

use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::Outcome;
use crate::human;
use crate::options::filters;
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

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    caches_deleted: Option<Vec<String>>,
    #[serde(default)]
    space_reclaimed: u64,
}

const ALL: &str = "WARNING! This will remove all build cache. Are you sure you want to continue?";
const DANGLING: &str = "WARNING! This will remove all dangling build cache. Are you sure you want to continue?";

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let all = parsed.bool("all");
    if !parsed.bool("force") && !prompt::confirm(if all { ALL } else { DANGLING })? {
        return Ok(());
    }
    let keep = Some(parsed.str("keep-storage")).filter(|value| !value.is_empty() && *value != "0");
    let request = Request::post("/build/prune")
        .query_if("all", all)
        .query_some("keep-storage", keep)
        .query_some("reserved-space", keep)
        .query_some("filters", filters::encode(parsed.list("filter")));
    let report: Report = context.client()?.send(request)?.json()?;
    let deleted = report.caches_deleted.unwrap_or_default();
    let mut text = String::new();
    if !deleted.is_empty() {
        text.push_str(&format!("Deleted build cache objects:\n{}\n\n", deleted.join("\n")));
    }
    text.push_str(&format!("Total reclaimed space: {}\n", human::size(report.space_reclaimed as f64, 4)));
    crate::out::text(&text)
}
