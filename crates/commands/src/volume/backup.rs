//! `volume export`, `volume import` and `volume clone`: a volume's files as an archive, and back, and as another volume.
//! Docker has no such commands.

use std::fs::File;
use std::io::{Read, Write};

use client::{Request, path_escape};
use serde::Deserialize;

use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::container::export::{check_output, copy, save};
use crate::context::Context;
use crate::failure::{Failure, Outcome, io_text};
use crate::terminal::tty;

/// Table of `volume export`.
pub(crate) const EXPORT: Command = Command {
    spellings: &["volume export"],
    usage: "[OPTIONS] VOLUME FILE|-",
    about: "Write a volume's files as a tar archive",
    flags: &[flag("compress", '\0', Kind::Str("none"), "Compress the archive (\"none\", \"gzip\", \"zstd\")")],
    args: Args::Exactly(2),
    interspersed: true,
    run: export,
};

/// Table of `volume import`.
pub(crate) const IMPORT: Command = Command {
    spellings: &["volume import"],
    usage: "VOLUME FILE|-",
    about: "Fill an empty volume from a tar archive, compressed or not; a missing volume is made",
    flags: &[],
    args: Args::Exactly(2),
    interspersed: true,
    run: import,
};

/// Table of `volume clone`.
pub(crate) const CLONE: Command = Command {
    spellings: &["volume clone"],
    usage: "VOLUME NEW_VOLUME",
    about: "Make a volume with the same files, labels and options",
    flags: &[],
    args: Args::Exactly(2),
    interspersed: true,
    run: clone,
};

fn export(context: &Context, parsed: &Parsed) -> Outcome {
    let (name, path) = (&parsed.args[0], parsed.args[1].as_str());
    let format = match parsed.str("compress") {
        "none" | "" => None,
        "gzip" => Some(archive::Format::Gzip),
        "zstd" => Some(archive::Format::Zstd { level: 3 }),
        other => return Err(Failure::new(format!("invalid value for --compress: {other}"))),
    };
    if path == "-" && tty::stdout_is_terminal() {
        return Err(Failure::new("cowardly refusing to write to a terminal. Name a file or redirect"));
    }
    if path != "-" {
        check_output(path).map_err(|why| Failure::new(format!("failed to export volume: {why}")))?;
    }
    let request = Request::get(format!("/hoist/volumes/{}/export", path_escape(name))).unversioned();
    let mut response = context.client()?.send(request)?;
    let write = |from: &mut dyn Read, to: &mut dyn Write| match format {
        None => copy(&mut { from }, &mut { to }),
        Some(format) => {
            archive::compress(from, to, format, 2).map(drop).map_err(|e| Failure::new(io_text("write", path, &e)))
        }
    };
    match path {
        "-" => write(&mut response, &mut std::io::stdout().lock()),
        path => save(path, |file| write(&mut response, file)),
    }
}

fn import(context: &Context, parsed: &Parsed) -> Outcome {
    let (name, path) = (&parsed.args[0], parsed.args[1].as_str());
    let mut from: Box<dyn Read> = match path {
        "-" if tty::stdin_is_terminal() => {
            return Err(Failure::new("an archive is expected on standard input, not a terminal"));
        }
        "-" => Box::new(std::io::stdin()),
        path => Box::new(File::open(path).map_err(|e| Failure::new(io_text("open", path, &e)))?),
    };
    let request = Request::post(format!("/hoist/volumes/{}/import", path_escape(name))).unversioned();
    context.client()?.send(request.stream("application/x-tar", &mut from))?.discard()?;
    crate::out::line(name)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Made {
    name: String,
}

fn clone(context: &Context, parsed: &Parsed) -> Outcome {
    let request = Request::post(format!("/hoist/volumes/{}/clone", path_escape(&parsed.args[0])));
    let made: Made = context.client()?.send(request.unversioned().query("name", parsed.args[1].as_str()))?.json()?;
    crate::out::line(&made.name)
}
