//! `network prune`.

use client::Request;
use serde::Deserialize;

use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::Outcome;
use crate::options::filters;
use crate::terminal::prompt;

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

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    networks_deleted: Option<Vec<String>>,
}

const WARNING: &str = "WARNING! This will remove all custom networks not used by at least one container.\nAre you sure you want to continue?";

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    if !parsed.bool("force") && !prompt::confirm(WARNING)? {
        return Ok(());
    }
    let request = Request::post("/networks/prune").query_some("filters", filters::encode(parsed.list("filter")));
    let report: Report = context.client()?.send(request)?.json()?;
    match report.networks_deleted.unwrap_or_default() {
        deleted if deleted.is_empty() => Ok(()),
        deleted => crate::out::text(&format!("Deleted Networks:\n{}\n\n", deleted.join("\n"))),
    }
}
