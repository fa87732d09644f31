//! Removing what is in the way, by descriptor.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

/// Directories inside of each other; one descriptor is open for each.
const MAX_DEPTH: usize = 2048;

/// Removes an entry of a directory with everything below it. One that is not there is no error.
pub fn remove_entry(directory: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    match unlinkat(directory.as_fd(), name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // A directory: EISDIR on Linux, EPERM elsewhere.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    match unlinkat(directory.as_fd(), name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    remove_tree(directory, name)
}

fn open(parent: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    openat(parent.as_fd(), name, flags, Mode::empty())
}

fn remove_tree(directory: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    // Each level: its own reader, and its name in the level above.
    let mut levels: Vec<(Dir, Vec<u8>)> = vec![(Dir::new(open(&directory, name)?)?, name.to_vec())];
    while let Some((dir, _)) = levels.last_mut() {
        let next = dir.read().transpose()?.map(|entry| (entry.file_name().to_owned(), entry.file_type()));
        let Some((name, kind)) = next else {
            let Some((_, name)) = levels.pop() else { return Ok(()) };
            let gone = match levels.last() {
                Some((above, _)) => unlinkat(above.fd()?, name.as_slice(), AtFlags::REMOVEDIR),
                None => unlinkat(directory.as_fd(), name.as_slice(), AtFlags::REMOVEDIR),
            };
            match gone {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(errno) => return Err(errno),
            }
        };
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let here = dir.fd()?;
        if kind != FileType::Directory {
            match unlinkat(here, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::ISDIR | Errno::PERM) => {}
                Err(errno) => return Err(errno),
            }
        }
        let below = Dir::new(open(here, name.to_bytes())?)?;
        if levels.len() >= MAX_DEPTH {
            return Err(Errno::NAMETOOLONG);
        }
        levels.push((below, CString::into_bytes(name)));
    }
    Ok(())
}
