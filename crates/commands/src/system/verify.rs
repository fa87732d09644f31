//! `system verify`: every byte of the store against its digest. Docker has no such command.

use client::Request;
use serde::Deserialize;

use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::human;
use crate::out;

/// Table of `system verify`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["system verify"],
    usage: "[OPTIONS]",
    about: "Check every byte of images and layers against their digests",
    flags: &[flag("quiet", 'q', Kind::Bool(false), "Only show what is damaged")],
    args: Args::None,
    interspersed: true,
    run,
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Checked {
    kind: String,
    digest: String,
    bytes: u64,
    problem: String,
    images: Vec<String>,
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let response = context.client()?.send(Request::post("/hoist/system/verify"))?;
    let (mut count, mut bytes, mut damaged) = (0u64, 0u64, 0u64);
    for checked in serde_json::Deserializer::from_reader(response).into_iter::<Checked>() {
        let checked = checked.map_err(|error| Failure::new(error.to_string()))?;
        if checked.digest.is_empty() {
            return Err(Failure::new(checked.problem));
        }
        count += 1;
        bytes += checked.bytes;
        if !checked.problem.is_empty() {
            damaged += 1;
            let images = if checked.images.is_empty() { "no image".to_owned() } else { checked.images.join(", ") };
            out::line(&format!("{} {}: {} (in {images})", checked.kind, checked.digest, checked.problem))?;
        }
    }
    if !parsed.bool("quiet") {
        let size = human::size(bytes as f64, 4);
        out::line(&format!("{count} checked, {size}; {damaged} damaged"))?;
    }
    match damaged {
        0 => Ok(()),
        _ => Err(Failure::new(format!("{damaged} of {count} are damaged: remove their images and pull them again"))),
    }
}
