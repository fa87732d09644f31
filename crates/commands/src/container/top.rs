//! `top`.

use client::Request;
use serde::Deserialize;

use super::route;
use crate::cli::{Args, Command, Parsed};
use crate::context::Context;
use crate::failure::Outcome;
use crate::format::columns::align;

/// Table of `top`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["container top", "top"],
    usage: "CONTAINER [ps OPTIONS]",
    about: "Display the running processes of a container",
    flags: &[],
    args: Args::AtLeast(1),
    interspersed: false,
    run,
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Processes {
    titles: Vec<String>,
    processes: Option<Vec<Vec<String>>>,
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let arguments = parsed.args[1..].join(" ");
    let request =
        Request::get(route(&parsed.args[0], "/top")).query_some("ps_args", Some(arguments).filter(|a| !a.is_empty()));
    let list: Processes = context.client()?.send(request)?.json()?;
    let mut text = list.titles.join("\t") + "\n";
    for process in list.processes.unwrap_or_default() {
        text.push_str(&process.join("\t"));
        text.push('\n');
    }
    crate::out::text(&align(&text, 20, 3))
}
