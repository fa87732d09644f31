//! Memory files (memfd_create(2)): documents that travel between processes, and sealed copies of programs.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

/// A copy of a program that nobody can change any more.
///
/// Whatever runs inside a container's namespaces is started from such a copy, never from the host's file, which a
/// process inside could otherwise reach through `/proc/<pid>/exe` and overwrite (CVE-2019-5736).
pub fn sealed_copy(path: &Path) -> io::Result<OwnedFd> {
    let mut source = File::open(path)?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // MFD_EXEC is refused by kernels before 6.3 and demanded by the sysctl vm.memfd_noexec=1.
    let memfd =
        memfd_create("hoist-runtime", flags | MemfdFlags::EXEC).or_else(|_| memfd_create("hoist-runtime", flags))?;
    let mut copy = File::from(memfd);
    io::copy(&mut source, &mut copy)?;
    let memfd = OwnedFd::from(copy);
    seal(&memfd)?;
    Ok(memfd)
}

/// While the kernel itself holds a page of the file for a moment (it moves pages, for one), it answers EBUSY after a
/// wait of its own of some 150 ms.
fn seal(memfd: &OwnedFd) -> io::Result<()> {
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    let mut left = 20;
    loop {
        match fcntl_add_seals(memfd, seals) {
            Err(Errno::BUSY) if left > 0 => left -= 1,
            outcome => return Ok(outcome?),
        }
    }
}

/// A memory file that holds `bytes`, positioned at its start.
pub fn with_bytes(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let memfd = memfd_create(name, MemfdFlags::CLOEXEC)?;
    let mut file = File::from(memfd);
    file.write_all(bytes)?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    Ok(OwnedFd::from(file))
}

/// The whole content of a file, at most `limit` bytes, read from its start whatever its position.
pub fn read_all(file: impl AsFd, limit: u64) -> io::Result<Vec<u8>> {
    let size = u64::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or(0);
    if size > limit {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    let mut file = File::from(rustix::io::fcntl_dupfd_cloexec(file, 0)?);
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    (&mut file).take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    Ok(bytes)
}
