//! `start`.

use super::run::{Foreground, detach_keys, start};
use super::state;
use crate::cli::{Args, Command, Kind, Parsed, flag, hidden};
use crate::context::Context;
use crate::each;
use crate::failure::{Failure, Outcome};
use crate::terminal::session::Streams;

/// Table of `start`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["container start", "start"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Start one or more stopped containers",
    flags: &[
        flag("attach", 'a', Kind::Bool(false), "Attach STDOUT/STDERR and forward signals"),
        hidden("checkpoint", Kind::Str("")),
        hidden("checkpoint-dir", Kind::Str("")),
        flag("detach-keys", '\0', Kind::Str(""), "Override the key sequence for detaching a container"),
        flag("interactive", 'i', Kind::Bool(false), "Attach container's STDIN"),
    ],
    args: Args::AtLeast(1),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    if parsed.changed("checkpoint") || parsed.changed("checkpoint-dir") {
        return Err(Failure::new(format!("{}: '--checkpoint' is not supported yet", context.program)));
    }
    if parsed.bool("attach") || parsed.bool("interactive") {
        return foreground(context, parsed);
    }
    let mut failed = Vec::new();
    for name in &parsed.args {
        match start(context, name) {
            Ok(()) => crate::out::line(name)?,
            Err(failure) => {
                crate::out::warn(&failure.text);
                failed.push(name.as_str());
            }
        }
    }
    each::join(if failed.is_empty() {
        Vec::new()
    } else {
        vec![format!("Error: failed to start containers: {}", failed.join(", "))]
    })
}

fn foreground(context: &Context, parsed: &Parsed) -> Outcome {
    let [name] = parsed.args.as_slice() else {
        return Err(Failure::new("you cannot start and attach multiple containers at once"));
    };
    let container = state::get(context, name)?;
    let tty = container.config.tty;
    let foreground = Foreground {
        id: &container.id,
        keys: detach_keys(context, parsed),
        streams: Streams {
            stdin: parsed.bool("interactive") && container.config.open_stdin,
            stdout: true,
            stderr: true,
            tty,
        },
        forward: !tty,
        auto_remove: false,
        announce_size: false,
    };
    match foreground.start(context, |failure| failure)? {
        Some(0) | None => Ok(()),
        Some(code) => Err(Failure::silent(code)),
    }
}
