//! `image pin` and `image unpin`: images that no pruning removes. Docker has no such commands.

use client::{Request, path_escape};
use serde::Deserialize;

use crate::cli::{Args, Command, Parsed};
use crate::context::Context;
use crate::failure::Outcome;
use crate::human::short_id;
use crate::out;

/// Table of `image pin`.
pub(crate) const PIN: Command = Command {
    spellings: &["image pin"],
    usage: "[IMAGE...]",
    about: "Keep images from being pruned; without an argument, list those that are kept",
    flags: &[],
    args: Args::AtLeast(0),
    interspersed: true,
    run: |context, parsed| if parsed.args.is_empty() { list(context) } else { each(context, parsed, "pin") },
};

/// Table of `image unpin`.
pub(crate) const UNPIN: Command = Command {
    spellings: &["image unpin"],
    usage: "IMAGE [IMAGE...]",
    about: "Let images be pruned again",
    flags: &[],
    args: Args::AtLeast(1),
    interspersed: true,
    run: |context, parsed| each(context, parsed, "unpin"),
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Pin {
    image: String,
    names: Vec<String>,
}

fn each(context: &Context, parsed: &Parsed, verb: &str) -> Outcome {
    let client = context.client()?;
    parsed.args.iter().try_for_each(|name| {
        let path = format!("/hoist/images/{}/{verb}", path_escape(name));
        client.send(Request::post(path))?.discard()?;
        out::line(name)
    })
}

fn list(context: &Context) -> Outcome {
    let pins: Vec<Pin> = context.client()?.send(Request::get("/hoist/images/pins"))?.json()?;
    pins.iter().try_for_each(|pin| out::line(&format!("{}   {}", short_id(&pin.image), pin.names.join(", "))))
}
