//! `push`.

use client::Request;

use super::route;
use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::terminal::progress;

/// Table of `push`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["image push", "push"],
    usage: "[OPTIONS] NAME[:TAG]",
    about: "Upload an image to a registry",
    flags: &[
        flag("all-tags", 'a', Kind::Bool(false), "Push all tags of an image to the repository"),
        flag("disable-content-trust", '\0', Kind::Bool(true), "Skip image signing (default true)"),
        flag(
            "platform",
            '\0',
            Kind::Str(""),
            "Push a platform-specific manifest as a single-platform image to the registry.\nImage index won't be pushed, meaning that other manifests, including attestations won't be preserved.\n'os[/arch[/variant]]': Explicit platform (eg. linux/amd64)",
        ),
        flag("quiet", 'q', Kind::Bool(false), "Suppress verbose output"),
    ],
    args: Args::Exactly(1),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    if !parsed.bool("disable-content-trust") {
        return Err(Failure::new(format!("{}: signing with content trust is not supported", context.program)));
    }
    let quiet = parsed.bool("quiet");
    let reference = super::pull::reference(parsed)?;
    let platform = parsed.text("platform").map(super::platform_json).transpose()?;
    let request = Request::post(route(&reference.name(), "/push"))
        .query_some("tag", reference.tag.as_deref())
        .query_some("platform", platform)
        .header("X-Registry-Auth", context.config().registry_auth(&reference.domain)?);
    let response = context.client()?.send(request)?;
    if quiet {
        progress::silently(response)?;
        return crate::out::line(&reference.to_string());
    }
    progress::on_stdout(response)
}
