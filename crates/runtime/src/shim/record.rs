//! `state.json` and `exit.json`: written to another name and renamed, so that a reader sees all or nothing.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags};
use serde::Serialize;

/// Stores a document under `name`.
pub fn store(directory: &OwnedFd, name: &str, document: &impl Serialize) -> io::Result<()> {
    let temporary = format!(".{name}");
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(directory, temporary.as_str(), flags, Mode::from_raw_mode(0o600))?;
    let bytes = serde_json::to_vec(document)?;
    File::from(file).write_all(&bytes)?;
    rustix::fs::renameat(directory, temporary.as_str(), directory, name)?;
    Ok(())
}

/// Removes a document, if it is there.
pub fn remove(directory: &OwnedFd, name: &str) {
    let _ = rustix::fs::unlinkat(directory, name, AtFlags::empty());
}
