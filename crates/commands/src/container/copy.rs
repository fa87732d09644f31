//! `cp`: between a container and this machine, as archives both ways.
//!
//! ```text
//!  container ──GET archive──▶ extract below the destination's directory, by descriptor
//!  this machine ──pack──▶ PUT archive ──▶ container
//! ```
//! What the copy is called follows Docker's rules: an existing directory takes it in, else it takes the destination's name.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use archive::tar::{Metadata, Reader};
use archive::tree::{ExtractOptions, Owner, PackOptions, Packer, extract, pipe};
use base64::Engine as _;
use client::{Client, Request};
use serde::Deserialize;

use super::route;
use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome, io_text};
use crate::terminal::tty;

/// Table of `cp`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["container cp", "cp"],
    usage: "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\t{program} cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    about: "Copy files/folders between a container and the local filesystem\n\nUse '-' as the source to read a tar archive \
            from stdin\nand extract it to a directory destination in a container.\nUse '-' as the destination to stream a \
            tar archive of a\ncontainer source to stdout.",
    flags: &[
        flag("archive", 'a', Kind::Bool(false), "Archive mode (copy all uid/gid information)"),
        flag("follow-link", 'L', Kind::Bool(false), "Always follow symbol link in SRC_PATH"),
        flag(
            "quiet",
            'q',
            Kind::Bool(false),
            "Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached",
        ),
    ],
    args: Args::Exactly(2),
    interspersed: true,
    run,
};

/// Bits of Go's `os.FileMode`.
const GO_DIRECTORY: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;
const GO_DEVICES: u32 = (1 << 26) | (1 << 21);

/// `CONTAINER:PATH`; a path of this machine may have colons too.
fn split(argument: &str) -> (&str, &str) {
    match argument.split_once(':') {
        Some((container, path)) if !argument.starts_with('/') && !container.starts_with('.') => (container, path),
        _ => ("", argument),
    }
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let [source, destination] = [parsed.args[0].as_str(), parsed.args[1].as_str()];
    if source.is_empty() {
        return Err(Failure::new("source can not be empty"));
    }
    if destination.is_empty() {
        return Err(Failure::new("destination can not be empty"));
    }
    let quiet = if parsed.changed("quiet") { parsed.bool("quiet") } else { !tty::stdout_is_terminal() };
    let copy =
        Copy { client: context.client()?, follow: parsed.bool("follow-link"), owners: parsed.bool("archive"), quiet };
    match (split(source), split(destination)) {
        (("", _), ("", _)) => Err(Failure::new("must specify at least one container source")),
        (("", path), (container, to)) => copy.copy_in(path, container, to),
        ((container, path), ("", to)) => copy.copy_out(container, path, to),
        _ => Err(Failure::new("copying between containers is not supported")),
    }
}

struct Copy<'a> {
    client: &'a Client,
    follow: bool,
    owners: bool,
    quiet: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Stat {
    mode: u32,
    link_target: String,
}

/// What is at a destination.
struct Destination {
    path: String,
    exists: bool,
    is_directory: bool,
}

/// Where an archive is extracted, and what its first name becomes.
#[derive(Debug, PartialEq)]
struct Place {
    directory: String,
    rename: Option<String>,
}

/// Parent and last name; `.` for a path that ends with `/.`.
fn split_entry(path: &str) -> (String, String) {
    let clean = clean(path);
    if path == "." || path.ends_with("/.") {
        return (clean, ".".to_owned());
    }
    match clean.rsplit_once('/') {
        Some(("", "")) => ("/".to_owned(), "/".to_owned()),
        Some(("", name)) => ("/".to_owned(), name.to_owned()),
        Some((parent, name)) => (parent.to_owned(), name.to_owned()),
        None => (".".to_owned(), clean),
    }
}

/// Go's `filepath.Clean`.
fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if absolute => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// Docker's rules for what a copy is called.
fn place(source_is_directory: bool, destination: &Destination) -> Outcome<Place> {
    let path = &destination.path;
    let (parent, name) = split_entry(path);
    match (destination.exists, destination.is_directory, source_is_directory) {
        (true, true, _) => Ok(Place { directory: path.clone(), rename: None }),
        (true, false, true) => Err(Failure::new("cannot copy directory")),
        (false, _, false) if path.ends_with('/') || path.ends_with("/.") => Err(Failure::new("no such directory")),
        _ => Ok(Place { directory: parent, rename: Some(name) }),
    }
}

/// Gives the archive's first name another; `.` and `/` have none of their own.
fn renamed(path: &[u8], old: &str, new: &str) -> Vec<u8> {
    if matches!(old, "." | "/") {
        return if path.is_empty() { new.into() } else { [new.as_bytes(), b"/", path].concat() };
    }
    let rest = path.iter().position(|byte| *byte == b'/').map_or(&b""[..], |at| &path[at..]);
    [new.as_bytes(), rest].concat()
}

impl Copy<'_> {
    fn stat(&self, container: &str, path: &str) -> Outcome<Stat> {
        let request = Request::new("HEAD", route(container, "/archive")).query("path", path);
        let response = self.client.send(request)?;
        parse_stat(response.header("X-Docker-Container-Path-Stat"))
    }

    fn copy_out(&self, container: &str, path: &str, to: &str) -> Outcome {
        let mut path = path.to_owned();
        let mut known_as = None;
        if self.follow
            && let Ok(stat) = self.stat(container, &path)
            && stat.mode & GO_SYMLINK != 0
        {
            let (parent, name) = split_entry(&path);
            path = if stat.link_target.starts_with('/') {
                stat.link_target
            } else {
                clean(&format!("{parent}/{}", stat.link_target))
            };
            known_as = Some(name).filter(|name| *name != split_entry(&path).1);
        }
        if to != "-" {
            super::export::check_parent(to).map_err(Failure::new)?;
        }
        let mut response = self.client.send(Request::get(route(container, "/archive")).query("path", &path))?;
        let stat = parse_stat(response.header("X-Docker-Container-Path-Stat"))?;
        if to == "-" {
            return super::export::copy(&mut response, &mut std::io::stdout().lock());
        }
        let destination = local_destination(&absolute(to)?)?;
        let place = place(stat.mode & GO_DIRECTORY != 0, &destination)?;
        let directory =
            File::open(&place.directory).map_err(|e| Failure::new(io_text("open", &place.directory, &e)))?;
        let old = split_entry(&path).1;
        let rename = place.rename.or(known_as);
        let map = move |member: &mut Metadata| {
            if let Some(new) = &rename {
                member.path = renamed(&member.path, &old, new);
                if member.kind == archive::tar::Kind::Hardlink {
                    member.link = renamed(&member.link, &old, new);
                }
            }
            true
        };
        let root = rustix::process::geteuid().is_root();
        let options = ExtractOptions {
            keep_kind: true,
            owner: if self.owners && root { Owner::Archive } else { Owner::Caller },
            no_devices: !root,
            map: Some(Box::new(map)),
            ..ExtractOptions::default()
        };
        let mut counted = Counted { inner: &mut response, count: 0 };
        let mut reader = Reader::new(&mut counted);
        extract(&mut reader, directory.as_fd(), b"", options).map_err(|error| Failure::new(chain(&error)))?;
        reader.finish().map_err(|error| Failure::new(chain(&error)))?;
        self.done(counted.count, &destination.path);
        Ok(())
    }

    fn copy_in(&self, path: &str, container: &str, to: &str) -> Outcome {
        let mut destination = Destination { path: to.to_owned(), exists: false, is_directory: false };
        let mut stat = self.stat(container, to).ok();
        if let Some(link) = stat.as_ref().filter(|stat| stat.mode & GO_SYMLINK != 0) {
            destination.path = if link.link_target.starts_with('/') {
                link.link_target.clone()
            } else {
                clean(&format!("{}/{}", split_entry(to).0, link.link_target))
            };
            stat = self.stat(container, &destination.path).ok();
        }
        if stat.as_ref().is_some_and(|stat| stat.mode & GO_DEVICES != 0) {
            return Err(Failure::new(format!(
                "destination \"{container}:{to}\" must be a directory or a regular file: got a device"
            )));
        }
        if let Some(stat) = &stat {
            (destination.exists, destination.is_directory) = (true, stat.mode & GO_DIRECTORY != 0);
        }
        if path == "-" {
            if !destination.is_directory {
                return Err(Failure::new(format!("destination \"{container}:{to}\" must be a directory")));
            }
            let count = self.put(container, &destination.path, &mut std::io::stdin().lock())?;
            self.done(count, &format!("{container}:{to}"));
            return Ok(());
        }
        let (source, known_as) = local_source(path, self.follow)?;
        let found = std::fs::symlink_metadata(&source).map_err(|e| Failure::new(io_text("lstat", &source, &e)))?;
        let place = place(found.is_dir(), &destination)?;
        let (parent, own) = split_entry(&source);
        let name = place.rename.or(known_as).unwrap_or_else(|| own.clone());
        let directory = if own == "/" { "/".to_owned() } else { parent };
        let directory = File::open(&directory).map_err(|e| Failure::new(io_text("open", &directory, &e)))?;
        let (mut sink, mut from) = pipe();
        let count = std::thread::scope(|scope| {
            let packing = scope.spawn(move || match pack(&directory, &own, &name, &mut sink) {
                Ok(()) => sink.finish().map_err(archive::tree::Error::Sink),
                Err(error) => {
                    sink.fail(std::io::Error::other(chain(&error)));
                    Err(error)
                }
            });
            let sent = self.put(container, &place.directory, &mut from);
            drop(from);
            match packing.join() {
                // A daemon that refuses says more than a pipe that broke.
                Ok(Err(archive::tree::Error::Sink(_))) => sent,
                Ok(Err(error)) => sent.and(Err(Failure::new(chain(&error)))),
                Ok(Ok(())) => sent,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })?;
        self.done(count, &format!("{container}:{}", destination.path));
        Ok(())
    }

    fn put(&self, container: &str, directory: &str, from: &mut dyn Read) -> Outcome<u64> {
        let mut counted = Counted { inner: from, count: 0 };
        let mut request = Request::new("PUT", route(container, "/archive"))
            .query("path", directory)
            .query("noOverwriteDirNonDir", "true");
        if self.owners {
            request = request.query("copyUIDGID", "true");
        }
        self.client.send(request.stream("application/x-tar", &mut counted))?.discard()?;
        Ok(counted.count)
    }

    fn done(&self, count: u64, to: &str) {
        if !self.quiet {
            crate::out::warn(&format!("Successfully copied {} to {to}", crate::human::size(count as f64, 3)));
        }
    }
}

fn pack(directory: &File, own: &str, name: &str, sink: &mut impl Write) -> archive::tree::Result<()> {
    let mut packer = Packer::new(sink, PackOptions::default());
    match own {
        "." | "/" => packer.directory(directory.as_fd(), name.as_bytes())?,
        own => packer.entry(directory.as_fd(), own.as_bytes(), name.as_bytes())?,
    }
    packer.finish().map(drop)
}

/// Bytes that went through.
struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(out)?;
        self.count += count as u64;
        Ok(count)
    }
}

fn parse_stat(header: Option<&str>) -> Outcome<Stat> {
    let decoded = header.and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok());
    let stat = decoded.and_then(|json| serde_json::from_slice(&json).ok());
    stat.ok_or_else(|| {
        Failure::new("unable to get resource stat from response: unable to decode container path stat header")
    })
}

/// Absolute, with the closing `/` or `/.` kept.
fn absolute(path: &str) -> Outcome<String> {
    let full = std::path::absolute(path).map_err(|e| Failure::new(io_text("find", path, &e)))?;
    let full = full.to_str().ok_or_else(|| Failure::new("the path is not UTF-8"))?;
    let end = if path == "." || path.ends_with("/.") {
        "/."
    } else if path.ends_with('/') {
        "/"
    } else {
        ""
    };
    let clean = clean(full);
    Ok(if clean == "/" { clean } else { format!("{clean}{end}") })
}

/// Links at the end are followed; what is not there needs a directory that is.
fn local_destination(path: &str) -> Outcome<Destination> {
    let mut at = path.to_owned();
    for _ in 0..10 {
        match std::fs::symlink_metadata(
            at.trim_end_matches("/.").trim_end_matches('/').to_owned() + if at == "/" { "/" } else { "" },
        ) {
            Ok(found) if found.is_symlink() => {
                let trimmed = clean(&at);
                let target =
                    std::fs::read_link(&trimmed).map_err(|e| Failure::new(io_text("readlink", &trimmed, &e)))?;
                let next: PathBuf = Path::new(&trimmed).parent().unwrap_or(Path::new("/")).join(target);
                at = clean(next.to_str().ok_or_else(|| Failure::new("the path is not UTF-8"))?);
            }
            Ok(found) => return Ok(Destination { path: at, exists: true, is_directory: found.is_dir() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let (parent, _) = split_entry(&at);
                let found = std::fs::metadata(&parent).map_err(|e| Failure::new(io_text("stat", &parent, &e)))?;
                if !found.is_dir() {
                    return Err(Failure::new("not a directory"));
                }
                return Ok(Destination { path: at, exists: false, is_directory: false });
            }
            Err(error) => return Err(Failure::new(io_text("lstat", &at, &error))),
        }
    }
    Err(Failure::new(format!("too many links: {path}")))
}

/// The source as it is packed, and the name it gets when that is not its own.
fn local_source(path: &str, follow: bool) -> Outcome<(String, Option<String>)> {
    let full = absolute(path)?;
    let trailing = full.ends_with('/') && full != "/";
    let resolve = |path: &str| -> Outcome<String> {
        let real = std::fs::canonicalize(path).map_err(|e| Failure::new(io_text("lstat", path, &e)))?;
        real.to_str().map(str::to_owned).ok_or_else(|| Failure::new("the path is not UTF-8"))
    };
    let (parent, name) = split_entry(&full);
    if name == "." {
        return Ok((format!("{}/.", resolve(&parent)?), None));
    }
    if follow || trailing {
        let real = resolve(&full)?;
        let known_as = Some(name).filter(|name| *name != split_entry(&real).1 && name != "/");
        return Ok((real, known_as));
    }
    let real = resolve(&parent)?;
    Ok((if name == "/" { real } else { format!("{}/{name}", real.trim_end_matches('/')) }, None))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        for (text, expected) in [
            ("web:/etc", ("web", "/etc")),
            ("./a:b", ("", "./a:b")),
            ("/a:b", ("", "/a:b")),
            ("plain", ("", "plain")),
            ("-", ("", "-")),
        ] {
            assert_eq!(split(text), expected);
        }
        for (path, parent, name) in [
            ("/a/b", "/a", "b"),
            ("/a/b/", "/a", "b"),
            ("/a/b/.", "/a/b", "."),
            ("/", "/", "/"),
            ("/a", "/", "a"),
            ("a", ".", "a"),
        ] {
            assert_eq!(split_entry(path), (parent.to_owned(), name.to_owned()), "{path}");
        }
        assert_eq!(
            (clean("/a/../../b//c/."), clean("a/.."), clean("../x")),
            ("/b/c".into(), ".".into(), "../x".into())
        );
    }

    #[test]
    fn what_a_copy_is_called() {
        let at = |path: &str, exists, is_directory| Destination { path: path.to_owned(), exists, is_directory };
        let here = |directory: &str, rename: Option<&str>| Place {
            directory: directory.into(),
            rename: rename.map(Into::into),
        };
        let check = |directory: bool, destination: Destination, expected: Result<Place, &str>| {
            let found = place(directory, &destination).map_err(|failure| failure.text);
            assert_eq!(found, expected.map_err(str::to_owned), "{}", destination.path);
        };
        check(true, at("/d", true, true), Ok(here("/d", None)));
        check(true, at("/d/f", true, false), Err("cannot copy directory"));
        check(false, at("/d/f", true, false), Ok(here("/d", Some("f"))));
        check(true, at("/d/new", false, false), Ok(here("/d", Some("new"))));
        check(false, at("/d/new/", false, false), Err("no such directory"));
        check(false, at("/d/new", false, false), Ok(here("/d", Some("new"))));
        for (path, old, expected) in [("a/x", "a", "n/x"), ("a", "a", "n"), ("x", ".", "n/x"), ("", "/", "n")] {
            assert_eq!(renamed(path.as_bytes(), old, "n"), expected.as_bytes());
        }
    }
}
