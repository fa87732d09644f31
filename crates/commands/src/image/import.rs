//! `import`.

use std::fs::File;
use std::io::Read;

use client::Request;
use oci::Reference;

use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome, io_text};
use crate::terminal::progress;

/// Table of `import`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["image import", "import"],
    usage: "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    about: "Import the contents from a tarball to create a filesystem image",
    flags: &[
        flag("change", 'c', Kind::LIST, "Apply Dockerfile instruction to the created image"),
        flag("message", 'm', Kind::Str(""), "Set commit message for imported image"),
        flag("platform", '\0', Kind::Str(""), "Set platform if server is multi-platform capable"),
    ],
    args: Args::AtLeast(1),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let source = parsed.args[0].as_str();
    let name = parsed.args.get(1).map_or("", String::as_str);
    let is_url = ["http://", "https://"].iter().any(|scheme| source.starts_with(scheme));
    let mut from: Box<dyn Read> = if is_url {
        Box::new(std::io::empty())
    } else if source == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(source).map_err(|e| Failure::new(io_text("open", source, &e)))?)
    };
    if !name.is_empty() {
        Reference::parse(name).map_err(|e| Failure::new(e.to_string()))?;
    }
    let mut request = Request::post("/images/create")
        .query("fromSrc", if is_url { source } else { "-" })
        .query_some("message", parsed.text("message"))
        .query_some("repo", Some(name).filter(|n| !n.is_empty()))
        .query_some("platform", context.platform(parsed.str("platform")));
    for change in parsed.list("change") {
        request = request.query("changes", change);
    }
    let request = if is_url { request } else { request.stream("text/plain", &mut from) };
    progress::on_stdout(context.client()?.send(request)?)
}
