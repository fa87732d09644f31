//! `tag`.

use client::Request;
use oci::Reference;

use super::route;
use crate::cli::{Args, Command, Parsed};
use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Table of `tag`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["image tag", "tag"],
    usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    about: "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    flags: &[],
    args: Args::Exactly(2),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let (source, target) = (&parsed.args[0], &parsed.args[1]);
    let named = |text: &str| {
        Reference::parse(text).map_err(|e| {
            Failure::new(format!(
                "Error parsing reference: {} is not a valid repository/tag: {e}",
                crate::human::quote(text)
            ))
        })
    };
    if let Err(failure) = named(source) {
        // A full id is a source as well, and so is an earlier version of a tag.
        if oci::parse_version(source).is_none()
            && !(source.len() == 64 && source.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            return Err(failure);
        }
    }
    let target = named(target)?.with_default_tag();
    if target.digest.is_some() {
        return Err(Failure::new("refusing to create a tag with a digest reference"));
    }
    let request =
        Request::post(route(source, "/tag")).query("repo", target.name()).query("tag", target.tag_or_latest());
    Ok(context.client()?.send(request)?.discard()?)
}
