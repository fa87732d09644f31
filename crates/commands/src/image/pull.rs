//! `pull`, also for `run` and `create`.

use client::Request;
use oci::Reference;

use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::terminal::progress;

/// Table of `pull`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["image pull", "pull"],
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    about: "Download an image from a registry",
    flags: &[
        flag("all-tags", 'a', Kind::Bool(false), "Download all tagged images in the repository"),
        flag("disable-content-trust", '\0', Kind::Bool(true), "Skip image verification (default true)"),
        flag("platform", '\0', Kind::Str(""), "Set platform if server is multi-platform capable"),
        flag("quiet", 'q', Kind::Bool(false), "Suppress verbose output"),
    ],
    args: Args::Exactly(1),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let quiet = parsed.bool("quiet");
    let reference = reference(parsed)?;
    let platform = context.platform(parsed.str("platform"));
    let response = context.client()?.send(request(context, &reference, platform.as_deref())?)?;
    if quiet { progress::silently(response) } else { progress::on_stdout(response) }?;
    crate::out::line(&reference.to_string())
}

/// The image that `pull` and `push` are told: with a tag, or with none of `--all-tags`.
pub(crate) fn reference(parsed: &Parsed) -> Outcome<Reference> {
    let all = parsed.bool("all-tags");
    let reference = Reference::parse(&parsed.args[0]).map_err(|e| Failure::new(e.to_string()))?;
    let bare = reference.tag.is_none() && reference.digest.is_none();
    match (all, bare) {
        (true, false) => Err(Failure::new("tag can't be used with --all-tags/-a")),
        (true, true) | (false, false) => Ok(reference),
        (false, true) => {
            let reference = reference.with_default_tag();
            if !parsed.bool("quiet") {
                crate::out::line(&format!("Using default tag: {}", reference.tag_or_latest()))?;
            }
            Ok(reference)
        }
    }
}

pub(crate) fn request<'a>(context: &Context, reference: &Reference, platform: Option<&str>) -> Outcome<Request<'a>> {
    let tag = match (&reference.digest, &reference.tag) {
        (Some(digest), _) => Some(digest.to_string()),
        (None, tag) => tag.clone(),
    };
    Ok(Request::post("/images/create")
        .query("fromImage", reference.name())
        .query_some("tag", tag)
        .query_some("platform", platform)
        .header("X-Registry-Auth", context.config().registry_auth(&reference.domain)?))
}

/// Pulls for `run` and `create`: progress goes to stderr, stdout belongs to the container.
pub(crate) fn for_create(context: &Context, reference: &Reference, platform: Option<&str>, quiet: bool) -> Outcome {
    let response = context.client()?.send(request(context, reference, platform)?)?;
    if quiet { progress::silently(response) } else { progress::on_stderr(response) }
}
