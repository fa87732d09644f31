//! `run`: create, attach, start, and wait.
//!
//! ```text
//!  create ──404──▶ pull ──▶ create          attach and wait are in place before start,
//!     │                                     so that no byte and no exit status is lost
//!     ▼
//!  attach ▶ wait ▶ start ▶ copy output ▶ exit status
//! ```

use std::sync::atomic::{AtomicBool, Ordering};

use client::Request;

use super::create::{self, with_help};
use super::{resize, route, wait};
use crate::cli::{Args, Command, Parsed};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::options::table;
use crate::terminal::session::{End, Session, Streams};
use crate::terminal::signals::{self, Take};
use crate::terminal::tty;

/// Table of `run`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["container run", "run"],
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Create and run a new container from an image",
    flags: table::RUN,
    args: Args::AtLeast(1),
    interspersed: false,
    run,
};

/// Exit status of an error that the container's own program caused, else 125.
fn exit_code(why: &str) -> i32 {
    let any = |words: &[&str]| words.iter().any(|w| why.contains(w));
    if any(&["executable file not found", "no such file or directory", "system cannot find the file specified"]) {
        127
    } else if any(&["permission denied", "is a directory"]) {
        126
    } else {
        125
    }
}

/// The keys that detach: the flag's, else the configured ones. The daemon judges them.
pub(crate) fn detach_keys(context: &Context, parsed: &Parsed) -> String {
    parsed.text("detach-keys").unwrap_or(&context.config().detach_keys).to_owned()
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let detach = parsed.bool("detach");
    let prepared = create::prepare(context, parsed, detach)?;
    if detach && parsed.changed("attach") {
        return Err(Failure::new("conflicting options: cannot specify both --attach and --detach"));
    }
    let streams = Streams {
        stdin: prepared.attach_stdin,
        stdout: prepared.attach_stdout,
        stderr: prepared.attach_stderr,
        tty: prepared.tty,
    };
    if !detach {
        tty::check(streams.stdin, streams.tty)?;
    }
    let keys = detach_keys(context, parsed);
    let status = |failure: Failure| {
        if failure.text.is_empty() {
            return failure;
        }
        with_help(context, exit_code(&failure.text), &failure.text, &parsed.path)
    };
    let id = create::create(context, parsed, prepared).map_err(status)?;
    if !(streams.stdin || streams.stdout || streams.stderr) {
        start(context, &id).map_err(status)?;
        return crate::out::line(&id);
    }
    let foreground = Foreground {
        id: &id,
        keys,
        streams,
        forward: parsed.bool("sig-proxy"),
        auto_remove: parsed.bool("rm"),
        announce_size: false,
    };
    match foreground.start(context, status)? {
        Some(0) | None => Ok(()),
        Some(code) => Err(Failure::silent(code)),
    }
}

/// Starts a container.
pub(crate) fn start(context: &Context, id: &str) -> Outcome {
    Ok(context.client()?.send(Request::post(route(id, "/start")))?.discard()?)
}

/// A container that is started with its streams on ours.
pub(crate) struct Foreground<'a> {
    pub(crate) id: &'a str,
    pub(crate) keys: String,
    pub(crate) streams: Streams,
    /// Signals to us go to the container.
    pub(crate) forward: bool,
    /// The container is removed when it ends.
    pub(crate) auto_remove: bool,
    /// Make the program draw itself again: resize to another size first.
    pub(crate) announce_size: bool,
}

impl Foreground<'_> {
    /// Attaches, starts and stays until the end; the exit status, or nothing when the user detached.
    pub(crate) fn start(&self, context: &Context, on_error: impl Fn(Failure) -> Failure) -> Outcome<Option<i32>> {
        let follow = Signals::take(self.forward, self.streams.tty)?;
        let client = context.client()?;
        // Both are under way at the same time, and both are answered before the start.
        let condition = if self.auto_remove { "removed" } else { "next-exit" };
        let sent = wait::send(client, self.id, condition)?;
        let session = attach(context, self.id, self.streams, &self.keys)?;
        let ended = AtomicBool::new(false);
        let target = route(self.id, "");
        follow.run(client, &target, &ended, self.streams.tty, || {
            let waiting = match sent.registered() {
                Ok(waiting) => waiting,
                Err(failure) => {
                    session.abandon();
                    return Err(failure);
                }
            };
            if let Err(failure) = start(context, self.id) {
                session.abandon();
                if self.auto_remove && failure.code == 1 {
                    // The daemon removes it now; the next command shall not see it any more.
                    let _ = waiting.status();
                }
                return Err(on_error(failure));
            }
            if self.streams.tty && tty::stdout_is_terminal() {
                if self.announce_size {
                    let (rows, columns) = tty::size();
                    resize::send(client, &target, rows + 1, columns + 1);
                }
                resize::current(client, &target);
            }
            finish(session, waiting)
        })
    }
}

/// Copies output to its end and fetches the exit status.
pub(crate) fn finish(session: Session, waiting: wait::Waiting) -> Outcome<Option<i32>> {
    let status = |waiting: wait::Waiting| {
        waiting.status().unwrap_or_else(|failure| {
            crate::out::warn(&format!("error waiting for container: {}", failure.text));
            125
        })
    };
    if !session.has_output() {
        let code = status(waiting);
        session.abandon();
        return Ok(Some(code));
    }
    match session.finish()? {
        End::Detached => Ok(None),
        End::Closed => Ok(Some(status(waiting))),
    }
}

/// Attaches to a container's streams.
pub(crate) fn attach(context: &Context, id: &str, streams: Streams, keys: &str) -> Outcome<Session> {
    let request = Request::post(route(id, "/attach"))
        .query("stream", "1")
        .query_if("stdin", streams.stdin)
        .query_if("stdout", streams.stdout)
        .query_if("stderr", streams.stderr)
        .query_some("detachKeys", Some(keys).filter(|k| !k.is_empty()));
    Session::start(context.client()?.hijack(request)?, streams, keys)
}

/// The signals taken for the time that a container is in the foreground.
pub(crate) struct Signals {
    fd: Option<sys::signal::SignalFd>,
    forward: bool,
}

impl Signals {
    /// Blocks what will be handled; before any thread is started.
    pub(crate) fn take(forward: bool, tty: bool) -> Outcome<Signals> {
        let fd = match (forward, tty) {
            (true, _) => Some(signals::block(Take::All)?),
            (false, true) => Some(signals::block(Take::Deadly)?),
            (false, false) => None,
        };
        Ok(Signals { fd, forward })
    }

    /// Runs `work` while a thread handles signals: window changes to `TARGET/resize`, the others to `TARGET/kill`.
    pub(crate) fn run<T>(
        self,
        client: &client::Client,
        target: &str,
        ended: &AtomicBool,
        tty: bool,
        work: impl FnOnce() -> T,
    ) -> T {
        let Some(fd) = self.fd else { return work() };
        let forward = self.forward;
        std::thread::scope(|scope| {
            let handler = std::thread::Builder::new().name("signals".to_owned()).spawn_scoped(scope, || {
                let mut asked = 0;
                while let Some(number) = signals::next(&fd) {
                    if ended.load(Ordering::Acquire) {
                        return;
                    }
                    if matches!(number, sys::signal::SIGINT | sys::signal::SIGTERM) && forward {
                        asked += 1;
                        if asked == 3 {
                            crate::terminal::tty::restore();
                            crate::out::warn("\ngot 3 SIGTERM/SIGINTs, forcefully exiting");
                            std::process::exit(1);
                        }
                    }
                    if number == signals::WINCH && tty {
                        resize::current(client, target);
                    } else if forward {
                        let request = Request::post(format!("{target}/kill")).query("signal", signals::name(number));
                        // A container that is not running (yet, any more) has no use for it.
                        let _ = client.send(request).and_then(client::Response::discard);
                    } else if number != signals::WINCH {
                        signals::die(number);
                    }
                }
            });
            let _wake = handler.is_ok().then_some(Wake(ended));
            work()
        })
    }
}

/// Ends the signal thread when it drops, also on the way of a panic: the scope waits for that thread.
struct Wake<'a>(&'a AtomicBool);

impl Drop for Wake<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
        // Any signal that the thread reads makes it look.
        let _ = sys::signal::kill(std::process::id().cast_signed(), signals::WINCH);
    }
}

#[cfg(test)]
mod tests {
    use super::exit_code;

    #[test]
    fn codes() {
        for (why, code) in [
            ("… exec: \"foo\": executable file not found in $PATH", 127),
            ("… stat /x: no such file or directory", 127),
            ("… exec: \"/etc\": is a directory: permission denied", 126),
            ("Conflict. The container name is in use", 125),
        ] {
            assert_eq!(exit_code(why), code, "{why}");
        }
    }
}
