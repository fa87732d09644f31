//! `commit`.

use client::Request;
use oci::Reference;
use serde::Deserialize;

use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Table of `commit`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["container commit", "commit"],
    usage: "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    about: "Create a new image from a container's changes",
    flags: &[
        flag("author", 'a', Kind::Str(""), "Author (e.g., \"John Hannibal Smith <hannibal@a-team.com>\")"),
        flag("change", 'c', Kind::LIST, "Apply Dockerfile instruction to the created image"),
        flag("message", 'm', Kind::Str(""), "Commit message"),
        flag("pause", 'p', Kind::Bool(true), "Pause container during commit (default true)"),
    ],
    args: Args::Between(1, 2),
    interspersed: true,
    run,
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Made {
    id: String,
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let mut request = Request::post("/commit")
        .query("container", &parsed.args[0])
        .query_some("author", parsed.text("author"))
        .query_some("comment", parsed.text("message"));
    if let Some(name) = parsed.args.get(1).filter(|name| !name.is_empty()) {
        let reference = Reference::parse(name).map_err(|why| Failure::new(why.to_string()))?;
        if reference.digest.is_some() {
            return Err(Failure::new("refusing to create a tag with a digest reference"));
        }
        request = request.query("repo", reference.name()).query("tag", reference.tag.as_deref().unwrap_or("latest"));
    }
    for change in parsed.list("change") {
        request = request.query("changes", change);
    }
    if !parsed.bool("pause") {
        request = request.query("pause", "0");
    }
    let made: Made = context.client()?.send(request)?.json()?;
    crate::out::line(&made.id)
}
