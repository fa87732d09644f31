//! `logs`.

use std::io::{Read, Write};

use client::Request;

use super::{route, state};
use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::human::parse_timestamp;
use crate::terminal::{demux, session};

/// Table of `logs`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["container logs", "logs"],
    usage: "[OPTIONS] CONTAINER",
    about: "Fetch the logs of a container",
    flags: &[
        flag("details", '\0', Kind::Bool(false), "Show extra details provided to logs"),
        flag("follow", 'f', Kind::Bool(false), "Follow log output"),
        flag(
            "since",
            '\0',
            Kind::Str(""),
            "Show logs since timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)",
        ),
        flag("tail", 'n', Kind::Str("all"), "Number of lines to show from the end of the logs (default \"all\")"),
        flag("timestamps", 't', Kind::Bool(false), "Show timestamps"),
        flag(
            "until",
            '\0',
            Kind::Str(""),
            "Show logs before a timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)",
        ),
    ],
    args: Args::Exactly(1),
    interspersed: true,
    run,
};

fn time(parsed: &Parsed, name: &'static str) -> Outcome<Option<String>> {
    parsed.text(name).map(parse_timestamp).transpose().map_err(|bad| {
        Failure::new(format!(
            "invalid value for \"{name}\": failed to parse value as time or duration: {}",
            crate::human::quote(&bad)
        ))
    })
}

fn request(parsed: &Parsed, id: &str) -> Outcome<Request<'static>> {
    Ok(Request::get(route(id, "/logs"))
        .query("stdout", "1")
        .query("stderr", "1")
        .query_some("since", time(parsed, "since")?)
        .query_some("until", time(parsed, "until")?)
        .query_if("timestamps", parsed.bool("timestamps"))
        .query_if("details", parsed.bool("details"))
        .query_if("follow", parsed.bool("follow"))
        .query("tail", parsed.str("tail")))
}

/// `hoist logs A B`: what Docker leaves to compose.
pub(crate) fn several(context: &Context, parsed: &Parsed) -> Outcome {
    super::merged::run(context, parsed, &|id| request(parsed, id))
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let container = state::get(context, &parsed.args[0])?;
    let mut response = context.client()?.send(request(parsed, &container.id)?)?;
    let mut out = session::raw_output(std::io::stdout())?;
    let copied = if container.config.tty {
        copy(&mut response, &mut out)
    } else {
        let mut err = session::raw_output(std::io::stderr())?;
        demux::copy(&mut response, &mut out, &mut err)
    };
    copied.map_err(|e| match e.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::silent(141),
        _ => Failure::new(e.to_string()),
    })
}

fn copy(from: &mut impl Read, out: &mut impl Write) -> std::io::Result<()> {
    let mut buffer = vec![0u8; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => out.write_all(&buffer[..count])?,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
