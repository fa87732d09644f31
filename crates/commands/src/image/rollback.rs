//! `image rollback`: a tag means again what it meant before. Docker has no such command.

use client::{Request, path_escape};
use serde::Deserialize;

use crate::cli::{Args, Command, Parsed};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::human::short_id;

/// Table of `image rollback`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["image rollback"],
    usage: "IMAGE[:TAG] [N]",
    about: "Let a tag mean again what it meant N changes ago (default 1)",
    flags: &[],
    args: Args::Between(1, 2),
    interspersed: true,
    run,
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RolledBack {
    name: String,
    image: String,
    before: String,
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let back = parsed.args.get(1).map_or("1", String::as_str);
    if back.parse::<u32>().is_err() {
        return Err(Failure::new(format!("invalid number of changes: {}", crate::human::quote(back))));
    }
    let path = format!("/hoist/images/{}/rollback", path_escape(&parsed.args[0]));
    let done: RolledBack = context.client()?.send(Request::post(path).query("back", back))?.json()?;
    crate::out::line(&format!("{} is {} now (was {})", done.name, short_id(&done.image), short_id(&done.before)))
}
