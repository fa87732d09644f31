//! `import`.

use std::fs::File;
use std::io::Read;

use client::Request;
use oci::Reference;

use crate::cli::{Args, Command, Flag, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome, io_text};
use crate::terminal::progress;

//@COMMAND {"cmd":"docker import"}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let source = parsed.args[0].as_str();
    let name = parsed.args.get(1).map_or("", String::as_str);
    if !name.is_empty() {
        Reference::parse(name).map_err(|e| Failure::new(e.to_string()))?;
    }
    let is_url = ["http://", "https://"].iter().any(|scheme| source.starts_with(scheme));
    if is_url {
        return Err(Failure::new(format!("{}: 'import' from a URL is not supported yet: {source}", context.program)));
    }
    let mut from: Box<dyn Read> = if source == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(source).map_err(|e| Failure::new(io_text("open", source, &e)))?)
    };
    let mut request = Request::post("/images/create")
        .query("fromSrc", "-")
        .query_some("message", parsed.text("message"))
        .query_some("repo", Some(name).filter(|n| !n.is_empty()))
        .query_some("platform", context.platform(parsed.str("platform")));
    for change in parsed.list("change") {
        request = request.query("changes", change);
    }
    progress::on_stdout(context.client()?.send(request.stream("text/plain", &mut from))?)
}
