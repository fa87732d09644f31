//! `attach`.

use std::sync::atomic::AtomicBool;

use super::run::{self, Signals};
use super::state::{self, Container};
use super::{resize, route, wait};
use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::terminal::session::{End, Streams};
use crate::terminal::tty;

/// Table of `attach`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["container attach", "attach"],
    usage: "[OPTIONS] CONTAINER",
    about: "Attach local standard input, output, and error streams to a running container",
    flags: &[
        flag("detach-keys", '\0', Kind::Str(""), "Override the key sequence for detaching a container"),
        flag("no-stdin", '\0', Kind::Bool(false), "Do not attach STDIN"),
        flag("sig-proxy", '\0', Kind::Bool(true), "Proxy all received signals to the process (default true)"),
    ],
    args: Args::Exactly(1),
    interspersed: true,
    run,
};

fn running(context: &Context, name: &str) -> Outcome<Container> {
    let container = state::get(context, name)?;
    let problem = match &container.state {
        state if !state.running => "You cannot attach to a stopped container, start it first",
        state if state.paused => "You cannot attach to a paused container, unpause it first",
        state if state.restarting => "You cannot attach to a restarting container, wait until it is running",
        _ => return Ok(container),
    };
    Err(Failure::new(problem))
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let name = &parsed.args[0];
    let waiting = wait::register(context, name, None);
    let container = running(context, name)?;
    let waiting = waiting?;
    let tty = container.config.tty;
    let stdin = !parsed.bool("no-stdin");
    tty::check(stdin, tty)?;
    let keys = run::detach_keys(context, parsed);
    let streams = Streams { stdin: stdin && container.config.open_stdin, stdout: true, stderr: true, tty };
    let signals = Signals::take(parsed.bool("sig-proxy") && !tty, tty)?;
    let session = run::attach(context, name, streams, &keys)?;
    // It may have ended between the look and the attach; then nothing would ever come.
    if let Err(failure) = running(context, name) {
        session.abandon();
        return Err(failure);
    }
    let client = context.client()?;
    let target = route(name, "");
    let ended = AtomicBool::new(false);
    let result = signals.run(client, &target, &ended, tty, || {
        if tty && tty::stdout_is_terminal() {
            // Another size first makes the program draw itself again.
            let (rows, columns) = tty::size();
            resize::send(client, &target, rows + 1, columns + 1);
            resize::current(client, &target);
        }
        match session.finish()? {
            End::Detached => Err(Failure::new("read escape sequence")),
            End::Closed => waiting.status(),
        }
    })?;
    if result == 0 { Ok(()) } else { Err(Failure::silent(result)) }
}
