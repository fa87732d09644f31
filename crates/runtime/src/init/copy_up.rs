//! `tmpcopyup`: a tmpfs that begins with a copy of what it covers. By descriptor, never through a link.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid};

/// Directories inside each other; deeper trees are refused.
const MAX_DEPTH: usize = 256;

/// Copies what is in `from` (a directory, perhaps only a path) into the directory `to`. The tmpfs' size is the limit.
pub fn copy(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let source = rustix::fs::openat(from, ".", flags, Mode::empty())?;
    let target = rustix::fs::openat(to, ".", flags, Mode::empty())?;
    directory(&source, &target, 0)?;
    let stat = rustix::fs::fstat(&source)?;
    rustix::fs::fchmod(&target, Mode::from_raw_mode(stat.st_mode))?;
    let _ = rustix::fs::fchown(&target, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    Ok(())
}

fn directory(from: &OwnedFd, to: &OwnedFd, depth: usize) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::from(rustix::io::Errno::NAMETOOLONG));
    }
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let mode = Mode::from_raw_mode(stat.st_mode);
        let kind = FileType::from_raw_mode(stat.st_mode);
        match kind {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, Mode::RWXU)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let below = rustix::fs::openat(from, name, flags, Mode::empty())?;
                directory(&below, &rustix::fs::openat(to, name, flags, Mode::empty())?, depth + 1)?;
            }
            FileType::RegularFile => {
                // Not blocking: it may have become a FIFO since it was looked at.
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let source = File::from(rustix::fs::openat(from, name, flags, Mode::empty())?);
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let mut target = File::from(rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?);
                if source.metadata()?.is_file() {
                    // No longer than it was: somebody could go on writing to it.
                    io::copy(&mut io::Read::take(source, stat.st_size as u64), &mut target)?;
                }
            }
            FileType::Symlink => {
                let text = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(text.as_c_str(), to.as_fd(), name)?;
            }
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo => {
                rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev)?;
            }
            // A socket without its process is nothing.
            FileType::Socket | FileType::Unknown => continue,
        }
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        // Ids that are not mapped here stay as they are.
        let _ = rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
        if kind != FileType::Symlink {
            rustix::fs::chmodat(to, name, mode, AtFlags::empty())?;
        }
    }
    Ok(())
}
