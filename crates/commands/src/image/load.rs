//! `load`.

use std::fs::File;
use std::io::Read;

use client::Request;

use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome, io_text};
use crate::terminal::{progress, tty};

/// Table of `load`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["image load", "load"],
    usage: "[OPTIONS]",
    about: "Load an image from a tar archive or STDIN",
    flags: &[
        flag("input", 'i', Kind::Str(""), "Read from tar archive file, instead of STDIN"),
        flag(
            "platform",
            '\0',
            Kind::Str(""),
            "Load only the given platform variant. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")",
        ),
        flag("quiet", 'q', Kind::Bool(false), "Suppress the load output"),
    ],
    args: Args::None,
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let path = parsed.str("input");
    let mut from: Box<dyn Read> = if path.is_empty() {
        if tty::stdin_is_terminal() {
            return Err(Failure::new("requested load from stdin, but stdin is empty"));
        }
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(path).map_err(|e| Failure::new(io_text("open", path, &e)))?)
    };
    let quiet = parsed.bool("quiet") || !tty::stdout_is_terminal();
    let mut request = Request::post("/images/load")
        .query("quiet", if quiet { "1" } else { "0" })
        .stream("application/x-tar", &mut from);
    for platform in parsed.list("platform").into_iter().flat_map(|p| p.split(',')) {
        request = request.query("platform", super::platform_json(platform)?);
    }
    progress::on_stdout(context.client()?.send(request)?)
}
