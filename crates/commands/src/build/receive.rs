//! What a build gives back: `moby.filesync.v1.FileSend/DiffCopy`, an archive or a directory.
//!
//! Paths and links are the build's word: every parent is opened below the destination without following a link.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use client::{Call, Ended};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use session::stat::{Kind, Stat};
use session::wire::{Message, fields};

/// Where an output goes.
#[derive(Debug, Clone)]
pub(crate) enum Destination {
    /// The daemon keeps it.
    Daemon,
    /// A file; `-` is standard output.
    File(String),
    /// A directory.
    Directory(PathBuf),
    /// A directory that is an OCI layout: its blobs come another way.
    Layout(PathBuf),
}

/// Answers one call.
pub(crate) fn serve(destination: &Destination, call: &Call) -> Result<(), Ended> {
    match destination {
        Destination::Daemon | Destination::Layout(_) => Err(Ended::new(3, "an output that nobody has asked for")),
        Destination::File(name) if name == "-" => archive(&mut std::io::stdout().lock(), call),
        Destination::File(name) => {
            let failed = |error: std::io::Error| Ended::new(2, crate::failure::io_text("open", name, &error));
            if let Some(parent) = Path::new(name).parent().filter(|parent| !parent.as_os_str().is_empty()) {
                fs::create_dir_all(parent).map_err(failed)?;
            }
            let mut file = File::create(name).map_err(failed)?;
            archive(&mut file, call)
        }
        Destination::Directory(path) => directory(path, call),
    }
}

fn archive(to: &mut impl Write, call: &Call) -> Result<(), Ended> {
    while let Some(message) = call.receive()? {
        for field in fields(&message) {
            if let (1, value) = field? {
                to.write_all(value.bytes())?;
            }
        }
    }
    Ok(to.flush()?)
}

fn io(error: rustix::io::Errno) -> Ended {
    std::io::Error::from(error).into()
}

/// The open files that still wait for content.
struct Place {
    root: OwnedFd,
    /// By number of their path.
    files: HashMap<u32, (File, Stat)>,
    /// Times and modes of directories count when everything is in them.
    directories: Vec<(OwnedFd, Stat)>,
}

fn directory(path: &Path, call: &Call) -> Result<(), Ended> {
    fs::create_dir_all(path)
        .map_err(|error| Ended::new(2, crate::failure::io_text("mkdir", &path.to_string_lossy(), &error)))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(path, flags, Mode::empty()).map_err(io)?;
    let mut place = Place { root, files: HashMap::new(), directories: Vec::new() };
    let (mut number, mut listed) = (0, false);
    loop {
        if listed && place.files.is_empty() {
            break;
        }
        let Some(message) = call.receive()? else {
            return Err(Ended::new(14, "the build broke off"));
        };
        let (mut kind, mut stat, mut id, mut data) = (0, None, 0, &[][..]);
        for field in fields(&message) {
            match field? {
                (1, value) => kind = value.number(),
                (2, value) => stat = Some(Stat::read(value.bytes())?),
                (3, value) => id = u32::try_from(value.number()).unwrap_or(u32::MAX),
                (4, value) => data = value.bytes(),
                _ => {}
            }
        }
        match (kind, stat) {
            (0, None) => listed = true,
            (0, Some(stat)) => {
                if place.make(number, stat)? {
                    call.send(Message::new().number(1, 1).number(3, number.into()).as_ref())?;
                }
                number += 1;
            }
            (2, _) if data.is_empty() => place.complete(id)?,
            (2, _) => {
                let (file, _) = place.files.get_mut(&id).ok_or_else(|| Ended::new(3, "content without a file"))?;
                file.write_all(data)?;
            }
            (4, _) => return Err(Ended::new(2, String::from_utf8_lossy(data).into_owned())),
            (other, _) => return Err(Ended::new(3, format!("an unknown packet {other}"))),
        }
    }
    for (directory, stat) in place.directories.iter().rev() {
        rustix::fs::fchmod(directory, mode(stat)).map_err(io)?;
        rustix::fs::futimens(directory, &times(stat)).map_err(io)?;
    }
    call.send(Message::new().number(1, 3).as_ref())?;
    while call.receive()?.is_some() {}
    Ok(())
}

impl Place {
    /// Makes a path; true asks for its content.
    fn make(&mut self, number: u32, stat: Stat) -> Result<bool, Ended> {
        let (parent, name) = match stat.path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&stat.path[..at], &stat.path[at + 1..]),
            None => (&b"."[..], &stat.path[..]),
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = rustix::fs::openat2(&self.root, parent, flags, Mode::empty(), resolve).map_err(io)?;
        if stat.kind() == Kind::Directory {
            match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(io(error)),
            }
            let made = rustix::fs::openat(&parent, name, flags | OFlags::NOFOLLOW, Mode::empty()).map_err(io)?;
            self.directories.push((made, stat));
            return Ok(false);
        }
        match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(io(error)),
        }
        match stat.kind() {
            Kind::File => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                let file = rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o600)).map_err(io)?;
                self.files.insert(number, (file.into(), stat));
                return Ok(true);
            }
            Kind::Symlink => rustix::fs::symlinkat(&*stat.link, &parent, name).map_err(io)?,
            Kind::Hardlink => self.link(&stat, parent.as_fd(), name)?,
            Kind::Fifo => {
                rustix::fs::mknodat(&parent, name, rustix::fs::FileType::Fifo, mode(&stat), 0).map_err(io)?;
            }
            Kind::Directory | Kind::CharacterDevice | Kind::BlockDevice | Kind::Other => {
                let path = String::from_utf8_lossy(&stat.path).into_owned();
                return Err(Ended::new(12, format!("the device {path:?} in an output of type=local is not supported")));
            }
        }
        Ok(false)
    }

    /// Another name of a file that came before.
    fn link(&self, stat: &Stat, parent: std::os::fd::BorrowedFd<'_>, name: &[u8]) -> Result<(), Ended> {
        let target = Stat { path: stat.link.clone(), ..Stat::default() };
        // The same rules as for any path.
        let target = Stat::read(target.to_message().as_ref())?.path;
        let (folder, last) = match target.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&target[..at], &target[at + 1..]),
            None => (&b"."[..], &target[..]),
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat2(&self.root, folder, flags, Mode::empty(), resolve).map_err(io)?;
        rustix::fs::linkat(&folder, last, parent, name, AtFlags::empty()).map_err(io)
    }

    fn complete(&mut self, id: u32) -> Result<(), Ended> {
        let (file, stat) = self.files.remove(&id).ok_or_else(|| Ended::new(3, "content without a file"))?;
        rustix::fs::fchmod(&file, mode(&stat)).map_err(io)?;
        rustix::fs::futimens(&file, &times(&stat)).map_err(io)
    }
}

fn mode(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.permissions())
}

fn times(stat: &Stat) -> Timestamps {
    let time = Timespec { tv_sec: stat.mtime.div_euclid(1_000_000_000), tv_nsec: stat.mtime.rem_euclid(1_000_000_000) };
    Timestamps { last_access: time, last_modification: time }
}
