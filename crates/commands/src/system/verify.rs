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
pub(super) struct Checked {
    kind: String,
    digest: String,
    pub(super) bytes: u64,
    /// Empty: it is whole.
    pub(super) problem: String,
    pub(super) images: Vec<String>,
}

impl Checked {
    /// A line for people.
    pub(super) fn shown(&self) -> String {
        let images = if self.images.is_empty() { "no image".to_owned() } else { self.images.join(", ") };
        format!("{} {}: {} (in {images})", self.kind, self.digest, self.problem)
    }
}

/// Has the daemon look at everything.
pub(super) fn check(context: &Context, mut each: impl FnMut(Checked) -> Outcome) -> Outcome {
    let response = context.client()?.send(Request::post("/hoist/system/verify"))?;
    for checked in serde_json::Deserializer::from_reader(response).into_iter::<Checked>() {
        let checked = checked.map_err(|error| Failure::new(error.to_string()))?;
        if checked.digest.is_empty() {
            return Err(Failure::new(checked.problem));
        }
        each(checked)?;
    }
    Ok(())
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let (mut count, mut bytes, mut damaged) = (0u64, 0u64, 0u64);
    check(context, |checked| {
        count += 1;
        bytes += checked.bytes;
        if !checked.problem.is_empty() {
            damaged += 1;
            out::line(&checked.shown())?;
        }
        Ok(())
    })?;
    if !parsed.bool("quiet") {
        let size = human::size(bytes as f64, 4);
        out::line(&format!("{count} checked, {size}; {damaged} damaged"))?;
    }
    match damaged {
        0 => Ok(()),
        _ => Err(Failure::new(format!("{damaged} of {count} are damaged: remove their images and pull them again"))),
    }
}
