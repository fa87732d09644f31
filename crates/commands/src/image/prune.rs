//! `image prune`.

use client::Request;
use serde::Deserialize;

use super::plan;
use super::remove::Deleted;
use crate::cli::{Args, Command, Kind, Parsed, flag, hidden};
use crate::context::Context;
use crate::failure::Outcome;
use crate::human;
use crate::options::filters;
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

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    images_deleted: Option<Vec<Deleted>>,
    #[serde(default)]
    space_reclaimed: u64,
}

const ALL: &str = "WARNING! This will remove all images without at least one container associated to them.\nAre you sure you want to continue?";
const DANGLING: &str = "WARNING! This will remove all dangling images.\nAre you sure you want to continue?";

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let all = parsed.bool("all");
    if parsed.bool("dry-run") {
        let dangling = if all { "dangling=false" } else { "dangling=true" };
        let filters = filters::encode(parsed.list("filter").into_iter().chain([dangling]));
        let (text, bytes) = plan::describe(context.client()?, filters)?;
        return crate::out::text(&format!("{text}Space that would be reclaimed: {}\n", human::size(bytes as f64, 4)));
    }
    if !parsed.bool("force") && !prompt::confirm(if all { ALL } else { DANGLING })? {
        return Ok(());
    }
    let dangling = if all { "dangling=false" } else { "dangling=true" };
    let filters = filters::encode(parsed.list("filter").into_iter().chain([dangling]));
    let request = Request::post("/images/prune").query_some("filters", filters);
    let report: Report = context.client()?.send(request)?.json()?;
    let deleted = report.images_deleted.unwrap_or_default();
    let mut text = String::new();
    if !deleted.is_empty() {
        text.push_str("Deleted Images:\n");
        for item in &deleted {
            text.push_str(&item.shown().replacen("Untagged", "untagged", 1).replacen("Deleted", "deleted", 1));
            text.push('\n');
        }
        text.push('\n');
    }
    text.push_str(&format!("Total reclaimed space: {}\n", human::size(report.space_reclaimed as f64, 4)));
    crate::out::text(&text)
}
