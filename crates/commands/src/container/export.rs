//! `export`.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use client::Request;

use super::route;
use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome, io_reason, io_text};
use crate::terminal::tty;

/// Table of `export`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["container export", "export"],
    usage: "[OPTIONS] CONTAINER",
    about: "Export a container's filesystem as a tar archive",
    flags: &[flag("output", 'o', Kind::Str(""), "Write to a file, instead of STDOUT")],
    args: Args::Exactly(1),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let path = parsed.str("output");
    if path.is_empty() && tty::stdout_is_terminal() {
        return Err(Failure::new("cowardly refusing to save to a terminal. Use the -o flag or redirect"));
    }
    if !path.is_empty() {
        check_output(path).map_err(|why| Failure::new(format!("failed to export container: {why}")))?;
    }
    let mut response = context.client()?.send(Request::get(route(&parsed.args[0], "/export")))?;
    if path.is_empty() {
        return copy(&mut response, &mut std::io::stdout().lock());
    }
    save(path, |file| copy(&mut response, file))
}

/// Whether a file can be written there; the reason why not, as Docker tells it.
pub(crate) fn check_output(path: &str) -> Result<(), String> {
    let directory = Path::new(path).parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(directory) = directory
        && !directory.exists()
    {
        return Err(format!("invalid output path: directory \"{}\" does not exist", directory.display()));
    }
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            Err(format!("invalid output path: \"{path}\" must be a directory or a regular file"))
        }
        Ok(found) if found.file_type().is_block_device() => Err("got a device".to_owned()),
        _ => Ok(()),
    }
}

/// Writes beside the file and renames: what is there under the name is whole.
pub(crate) fn save(path: &str, fill: impl FnOnce(&mut File) -> Outcome) -> Outcome {
    let plain = std::fs::metadata(path).map_or(true, |found| found.is_file());
    if !plain {
        let mut file =
            OpenOptions::new().write(true).open(path).map_err(|e| Failure::new(io_text("open", path, &e)))?;
        return fill(&mut file);
    }
    let target = Path::new(path);
    let name = target.file_name().and_then(|name| name.to_str()).unwrap_or("export");
    let temporary = target.with_file_name(format!(".tmp-{name}{}", std::process::id()));
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
    let mut file = made.map_err(|e| Failure::new(io_text("open", &temporary.display().to_string(), &e)))?;
    let outcome = fill(&mut file)
        .and_then(|()| std::fs::rename(&temporary, target).map_err(|e| Failure::new(io_text("rename", path, &e))));
    if outcome.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    outcome
}

pub(crate) fn copy(from: &mut impl Read, to: &mut impl Write) -> Outcome {
    let mut buffer = vec![0u8; 256 * 1024];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return to.flush().map_err(|e| Failure::new(io_reason(&e))),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::new(error.to_string())),
        };
        to.write_all(&buffer[..count]).map_err(|error| match error.kind() {
            std::io::ErrorKind::BrokenPipe => Failure::silent(141),
            _ => Failure::new(format!("write: {}", io_reason(&error))),
        })?;
    }
}

/// The directory of an output has to be there.
pub(crate) fn check_parent(path: &str) -> Result<(), String> {
    let directory = Path::new(path.trim_end_matches('/')).parent().filter(|parent| !parent.as_os_str().is_empty());
    match directory {
        Some(directory) if !directory.exists() => {
            Err(format!("invalid output path: directory \"{}\" does not exist", directory.display()))
        }
        _ => Ok(()),
    }
}
