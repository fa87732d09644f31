//! `system fsck`: the store's bytes against their digests, and with `--repair` what is damaged fetched anew.

use std::collections::BTreeSet;

use client::Request;
use oci::Reference;

use super::verify::{Checked, check};
use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::human;
use crate::terminal::{progress, prompt};

/// Table of `system fsck`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["system fsck"],
    usage: "[OPTIONS]",
    about: "Check the store, and repair it",
    flags: &[
        flag("force", 'f', Kind::Bool(false), "Do not prompt for confirmation"),
        flag("repair", '\0', Kind::Bool(false), "Remove images that are damaged and pull them again"),
    ],
    args: Args::None,
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let damaged = look(context)?;
    if damaged.is_empty() {
        return Ok(());
    }
    let count = damaged.len();
    if !parsed.bool("repair") {
        return Err(Failure::new(format!(
            "{count} damaged; `{} system fsck --repair` fetches them anew",
            context.program
        )));
    }
    let images: BTreeSet<&str> = damaged.iter().flat_map(|one| one.images.iter().map(String::as_str)).collect();
    if !images.is_empty() && !parsed.bool("force") {
        let list: Vec<&str> = images.iter().copied().collect();
        let question = format!("WARNING! This removes {} and pulls them again. Go on?", list.join(", "));
        if !prompt::confirm(&question)? {
            return Err(Failure::new("nothing was repaired"));
        }
    }
    let mut failures = Vec::new();
    for image in images {
        if let Err(failure) = renew(context, image) {
            failures.push(format!("{image}: {}", failure.text));
        }
    }
    let left = look(context)?;
    if !left.is_empty() {
        failures.push(format!("{} are still damaged", left.len()));
    }
    crate::each::join(failures)
}

/// Tells what is damaged, and how much there is.
fn look(context: &Context) -> Outcome<Vec<Checked>> {
    let (mut count, mut bytes) = (0u64, 0u64);
    let mut damaged = Vec::new();
    check(context, |checked| {
        count += 1;
        bytes += checked.bytes;
        if !checked.problem.is_empty() {
            crate::out::line(&checked.shown())?;
            damaged.push(checked);
        }
        Ok(())
    })?;
    crate::out::line(&format!("{count} checked, {}; {} damaged", human::size(bytes as f64, 4), damaged.len()))?;
    Ok(damaged)
}

/// Removes an image, so that nothing of it counts as there, and pulls it by its name.
fn renew(context: &Context, image: &str) -> Outcome {
    let client = context.client()?;
    let reference = Reference::parse(image)
        .ok()
        .filter(|_| !image.starts_with("sha256:"))
        .ok_or_else(|| Failure::new("it has no name to pull it by: build or load it again"))?;
    client.send(Request::delete(crate::image::route(image, "")))?.discard()?;
    let request = crate::image::pull::request(context, &reference.with_default_tag(), None)?;
    progress::silently(client.send(request)?)?;
    crate::out::line(&format!("pulled {image} again"))
}
