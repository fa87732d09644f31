//! `rm`.

use client::Request;

use super::route;
use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::each;
use crate::failure::{Failure, Outcome};

/// Table of `rm`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["container rm", "container remove", "rm"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Remove one or more containers",
    flags: &[
        flag("force", 'f', Kind::Bool(false), "Force the removal of a running container (uses SIGKILL)"),
        flag("link", 'l', Kind::Bool(false), "Remove the specified link"),
        flag("volumes", 'v', Kind::Bool(false), "Remove anonymous volumes associated with the container"),
    ],
    args: Args::AtLeast(1),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let client = context.client()?;
    let force = parsed.bool("force");
    each::name(&parsed.args, |name| {
        let bare = name.trim_matches('/');
        if bare.is_empty() {
            return Err(Failure::new("container name cannot be empty"));
        }
        let request = Request::delete(route(bare, ""))
            .query_if("v", parsed.bool("volumes"))
            .query_if("link", parsed.bool("link"))
            .query_if("force", force);
        match client.send(request) {
            Ok(response) => Ok(response.discard()?),
            // What is gone already is removed, when one insists.
            Err(error) if force && error.is_not_found() => {
                crate::out::warn(&error.to_string());
                Err(Failure::silent(0))
            }
            Err(error) => Err(error.into()),
        }
    })
}
