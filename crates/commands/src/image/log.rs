//! `image log`: what a tag has meant. Docker has no such command.

use client::{Request, path_escape};
use serde::Deserialize;

use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::Outcome;
use crate::human::{self, short_id};
use crate::out;

/// Table of `image log`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["image log"],
    usage: "[OPTIONS] IMAGE[:TAG]",
    about: "Show which images a tag has meant, the newest first",
    flags: &[
        flag("no-trunc", '\0', Kind::Bool(false), "Don't truncate output"),
        flag("quiet", 'q', Kind::Bool(false), "Only show image IDs"),
    ],
    args: Args::Exactly(1),
    interspersed: true,
    run,
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    back: u64,
    image: String,
    since: String,
    size: i64,
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let path = format!("/hoist/images/{}/log", path_escape(&parsed.args[0]));
    let versions: Vec<Version> = context.client()?.send(Request::get(path))?.json()?;
    let id = |version: &Version| match parsed.bool("no-trunc") {
        true => version.image.clone(),
        false => short_id(&version.image).to_owned(),
    };
    if parsed.bool("quiet") {
        return versions.iter().try_for_each(|version| out::line(&id(version)));
    }
    let width = versions.iter().map(|version| id(version).len()).max().unwrap_or(0).max(8);
    let mut text = format!("{:<10}{:<width$}   {:<22}SIZE\n", "VERSION", "IMAGE ID", "SINCE");
    for version in &versions {
        let since = if version.since.is_empty() { "unknown" } else { version.since.get(..19).unwrap_or("unknown") };
        let name = format!("@{{{}}}", version.back);
        let size = human::size(version.size as f64, 3);
        text.push_str(&format!("{name:<10}{:<width$}   {since:<22}{size}\n", id(version)));
    }
    out::text(&text)
}
