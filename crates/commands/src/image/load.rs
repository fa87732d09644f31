//! `load`.

use std::fs::File;
use std::io::Read;

use client::Request;

use crate::cli::{Args, Command, Flag, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome, io_text};
use crate::terminal::{progress, tty};

//@COMMAND {"cmd":"docker load"}

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
