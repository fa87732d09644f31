//! Small files below a directory descriptor: open, one read or write, close.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, read, retry_on_intr, write};

/// Longest file that is read: `cgroup.procs` of a large container fits (a million processes are 7 MiB).
const LIMIT: usize = 16 << 20;

/// Opens a file of a cgroup for writing.
pub(crate) fn open_write(dir: impl AsFd, name: &str) -> Result<OwnedFd, Errno> {
    openat(dir, name, OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
}

/// Writes `value` with one write(2), as kernfs files demand.
pub(crate) fn put(file: BorrowedFd<'_>, value: &str) -> Result<(), Errno> {
    let written = retry_on_intr(|| write(file, value.as_bytes()))?;
    if written == value.len() { Ok(()) } else { Err(Errno::IO) }
}

/// Opens, writes and closes.
pub(crate) fn write_file(dir: impl AsFd, name: &str, value: &str) -> Result<(), Errno> {
    put(open_write(dir, name)?.as_fd(), value)
}

/// The whole content of a file.
pub(crate) fn read_file(dir: impl AsFd, name: &str) -> Result<String, Errno> {
    let file = openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
    let mut text = Vec::with_capacity(256);
    let mut chunk = [0u8; 4096];
    loop {
        let count = retry_on_intr(|| read(&file, &mut chunk))?;
        if count == 0 {
            break;
        }
        if text.len() + count > LIMIT {
            return Err(Errno::FBIG);
        }
        text.extend_from_slice(&chunk[..count]);
    }
    String::from_utf8(text).map_err(|_| Errno::ILSEQ)
}

/// The number after `key ` at the start of a line ("oom_kill 3").
pub(crate) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}
