//! The host's procfs, of which it is made sure that it is one: what is written to a file of it lands in the kernel.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};

/// `PROC_SUPER_MAGIC` of `<linux/magic.h>`.
const MAGIC: u64 = 0x9fa0;

/// Opens `/proc` as this process sees it.
pub fn open() -> io::Result<OwnedFd> {
    let proc = rustix::fs::open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    match rustix::fs::fstatfs(&proc)?.f_type as u64 {
        MAGIC => Ok(proc),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "the host's /proc is not a procfs")),
    }
}

/// Opens a file below it for writing: nothing that is mounted over it, and no link out of it.
pub fn file(proc: impl AsFd, name: &str) -> io::Result<File> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(proc, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve)?.into())
}

/// Writes a file of this process (`self/…`), in one write.
pub fn write(name: &str, text: &str) -> io::Result<()> {
    file(open()?, name)?.write_all(text.as_bytes())
}
