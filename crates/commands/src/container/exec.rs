//! `exec`.

use std::sync::atomic::AtomicBool;

use client::{Request, path_escape};
use serde::Deserialize;
use serde_json::json;

use super::run::{Signals, detach_keys};
use super::{resize, route, state};
use crate::cli::{Args, Command, Kind, Parsed, check, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::options::kvfile;
use crate::terminal::session::{End, Session, Streams, console_size};
use crate::terminal::tty;

/// Table of `exec`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["container exec", "exec"],
    usage: "[OPTIONS] CONTAINER COMMAND [ARG...]",
    about: "Execute a command in a running container",
    flags: &[
        flag("detach", 'd', Kind::Bool(false), "Detached mode: run command in the background"),
        flag("detach-keys", '\0', Kind::Str(""), "Override the key sequence for detaching a container"),
        flag("env", 'e', Kind::Many("list", check::env), "Set environment variables"),
        flag("env-file", '\0', Kind::LIST, "Read in a file of environment variables"),
        flag("interactive", 'i', Kind::Bool(false), "Keep STDIN open even if not attached"),
        flag("privileged", '\0', Kind::Bool(false), "Give extended privileges to the command"),
        flag("tty", 't', Kind::Bool(false), "Allocate a pseudo-TTY"),
        flag("user", 'u', Kind::Str(""), "Username or UID (format: \"<name|uid>[:<group|gid>]\")"),
        flag("workdir", 'w', Kind::Str(""), "Working directory inside the container"),
    ],
    args: Args::AtLeast(2),
    interspersed: false,
    run,
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    exit_code: Option<i32>,
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let (container, command) = parsed.args.split_first().ok_or_else(|| Failure::new("no container"))?;
    let detach = parsed.bool("detach");
    let tty = parsed.bool("tty");
    let env = kvfile::read_all(&parsed.list("env-file"), parsed.owned_list("env"), Some(kvfile::from_environment))
        .map_err(Failure::new)?;
    let keys = detach_keys(context, parsed);
    let streams = Streams { stdin: !detach && parsed.bool("interactive"), stdout: !detach, stderr: !detach, tty };
    let client = context.client()?;
    if !detach && streams.stdin && tty && !tty::stdin_is_terminal() {
        // A container that does not exist is the more useful error.
        state::get(context, container)?;
        tty::check(true, true)?;
    }
    let mut body = json!({
        "User": parsed.str("user"),
        "Privileged": parsed.bool("privileged"),
        "Tty": tty,
        "AttachStdin": streams.stdin,
        "AttachStderr": streams.stderr,
        "AttachStdout": streams.stdout,
        "Detach": detach,
        "DetachKeys": keys,
        "Env": if env.is_empty() { serde_json::Value::Null } else { json!(env) },
        "WorkingDir": parsed.str("workdir"),
        "Cmd": command,
    });
    let mut start = json!({ "Detach": detach, "Tty": tty });
    if tty {
        let (rows, columns) = console_size().unwrap_or((0, 0));
        body["ConsoleSize"] = json!([rows, columns]);
        start["ConsoleSize"] = json!([rows, columns]);
    }
    let created: Created = client.send(Request::post(route(container, "/exec")).json(&body))?.json()?;
    let target = format!("/exec/{}", path_escape(&created.id));
    let request = Request::post(format!("{target}/start")).json(&start);
    if detach {
        return Ok(client.send(request)?.discard()?);
    }
    let signals = Signals::take(false, tty)?;
    let session = Session::start(client.hijack(request)?, streams, &keys)?;
    let ended = AtomicBool::new(false);
    let end = signals.run(client, &target, &ended, tty, || {
        if tty && tty::stdin_is_terminal() {
            resize::current(client, &target);
        }
        session.finish()
    })?;
    if end == End::Detached {
        return Err(Failure::new("read escape sequence"));
    }
    let inspected: Inspected = client.send(Request::get(format!("{target}/json")))?.json()?;
    match inspected.exit_code.unwrap_or(0) {
        0 => Ok(()),
        code => Err(Failure::silent(code)),
    }
}
