//! Copying a tree by descriptors.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod, fchown,
    fgetxattr, flistxattr, fsetxattr, fstat, futimens, linkat, mkdirat, mknodat, openat, readlinkat, statat, symlinkat,
    utimensat,
};
use rustix::io::Errno;

use crate::{Error, Result};

/// Directories inside of each other. Two descriptors are open for each.
const MAX_DEPTH: usize = 256;

/// Largest list of attribute names, and largest attribute, that Linux has.
const MAX_XATTR: usize = 64 * 1024;

/// Copies what is in `source` into the empty directory `target`, with the owner, mode and attributes of `source`. What
/// file systems can share is shared (reflink), holes stay holes.
pub(crate) fn copy_tree(source: BorrowedFd<'_>, target: &Path) -> Result<()> {
    let fail = |errno: Errno| Error::io("open", target)(errno.into());
    let to = openat(rustix::fs::CWD, target, DIRECTORY, Mode::empty()).map_err(fail)?;
    let from = openat(source, ".", DIRECTORY, Mode::empty()).map_err(fail)?;
    let above = target.components().count();
    let mut copy = Copy { links: HashMap::new(), path: target.to_owned(), root: to.as_fd(), above, reflinks: true };
    copy.directory(&from, &to, 0)
}

/// Gives one directory the owner, mode, times and attributes of another.
pub(crate) fn copy_attributes(source: &Path, target: &Path) -> Result<()> {
    let open = |path: &Path| {
        openat(rustix::fs::CWD, path, DIRECTORY, Mode::empty()).map_err(|errno| Error::io("open", path)(errno.into()))
    };
    let (from, to) = (open(source)?, open(target)?);
    let stat = fstat(&from).map_err(|errno| Error::io("stat", source)(errno.into()))?;
    let above = target.components().count();
    let copy = Copy { links: HashMap::new(), path: target.to_owned(), root: to.as_fd(), above, reflinks: false };
    copy.attributes(&from, &to, &stat)
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

struct Copy<'a> {
    /// Files with several names: where the first one is, relative to the target.
    links: HashMap<(u64, u64), PathBuf>,
    /// For errors, and for the names of hard links.
    path: PathBuf,
    root: BorrowedFd<'a>,
    /// Parts of `path` that are the target's own.
    above: usize,
    /// The file systems may be able to share blocks.
    reflinks: bool,
}

impl Copy<'_> {
    fn fail(&self, op: &'static str) -> impl FnOnce(Errno) -> Error + use<> {
        let path = self.path.clone();
        move |errno| Error::io(op, path)(errno.into())
    }

    fn directory(&mut self, from: &OwnedFd, to: &OwnedFd, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(Error::TooDeep { path: self.path.clone() });
        }
        let mut names: Vec<CString> = Vec::new();
        for entry in Dir::read_from(from).map_err(self.fail("read"))? {
            let entry = entry.map_err(self.fail("read"))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        for name in names {
            self.path.push(OsStr::from_bytes(name.to_bytes()));
            let outcome = self.entry(from, to, &name, depth);
            if outcome.is_ok() {
                self.path.pop();
            }
            outcome?;
        }
        let stat = fstat(from).map_err(self.fail("stat"))?;
        self.attributes(from, to, &stat)
    }

    fn entry(&mut self, from: &OwnedFd, to: &OwnedFd, name: &CStr, depth: usize) -> Result<()> {
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW).map_err(self.fail("stat"))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory && stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                return linkat(self.root, first, to, name, AtFlags::empty()).map_err(self.fail("link"));
            }
            let relative = self.relative();
            self.links.insert((stat.st_dev, stat.st_ino), relative);
        }
        match kind {
            FileType::Directory => {
                mkdirat(to, name, Mode::RWXU).map_err(self.fail("make"))?;
                let from = openat(from, name, DIRECTORY, Mode::empty()).map_err(self.fail("open"))?;
                let to = openat(to, name, DIRECTORY, Mode::empty()).map_err(self.fail("open"))?;
                self.directory(&from, &to, depth + 1)
            }
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
                let from = openat(from, name, flags, Mode::empty()).map_err(self.fail("open"))?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let to = openat(to, name, flags, Mode::RUSR | Mode::WUSR).map_err(self.fail("make"))?;
                if !self.share(&from, &to) {
                    copy_data(&from, &to, stat.st_size as u64).map_err(Error::io("copy", &self.path))?;
                }
                self.attributes(&from, &to, &stat)
            }
            FileType::Symlink => {
                let link = readlinkat(from, name, Vec::new()).map_err(self.fail("read"))?;
                symlinkat(link, to, name).map_err(self.fail("make"))?;
                self.owner_and_times(to, name, &stat)
            }
            // A whiteout of an overlay is a character device, too, but the merged tree does not show it.
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket => {
                let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
                mknodat(to, name, kind, mode, stat.st_rdev).map_err(self.fail("make"))?;
                self.owner_and_times(to, name, &stat)?;
                // Without following: nobody else writes to the target.
                rustix::fs::chmodat(to, name, mode, AtFlags::empty()).map_err(self.fail("change"))
            }
            FileType::Unknown => Ok(()),
        }
    }

    /// Whether the file now shares the other one's blocks.
    fn share(&mut self, from: &OwnedFd, to: &OwnedFd) -> bool {
        if !self.reflinks {
            return false;
        }
        match rustix::fs::ioctl_ficlone(to, from) {
            Ok(()) => true,
            Err(_) => {
                self.reflinks = false;
                false
            }
        }
    }

    fn relative(&self) -> PathBuf {
        self.path.components().skip(self.above).collect()
    }

    fn owner_and_times(&self, to: &OwnedFd, name: &CStr, stat: &Stat) -> Result<()> {
        let (uid, gid) = owner(stat);
        chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(self.fail("change the owner of"))?;
        utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW).map_err(self.fail("set the times of"))
    }

    /// Owner first, since it clears bits of the mode; times last, since everything changes them.
    fn attributes(&self, from: &OwnedFd, to: &OwnedFd, stat: &Stat) -> Result<()> {
        let (uid, gid) = owner(stat);
        fchown(to, uid, gid).map_err(self.fail("change the owner of"))?;
        fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777)).map_err(self.fail("change the mode of"))?;
        self.xattrs(from, to)?;
        futimens(to, &times(stat)).map_err(self.fail("set the times of"))
    }

    fn xattrs(&self, from: &OwnedFd, to: &OwnedFd) -> Result<()> {
        let mut names = vec![0u8; MAX_XATTR];
        let length = match flistxattr(from, &mut names) {
            Ok(length) => length,
            Err(Errno::OPNOTSUPP) => return Ok(()),
            Err(errno) => return Err(self.fail("read the attributes of")(errno)),
        };
        for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            // The overlay's own.
            if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
                continue;
            }
            let Ok(name) = CString::new(name) else { continue };
            let mut value = vec![0u8; MAX_XATTR];
            let length = match fgetxattr(from, &name, &mut value) {
                Ok(length) => length,
                Err(Errno::NODATA) => continue,
                Err(errno) => return Err(self.fail("read an attribute of")(errno)),
            };
            match fsetxattr(to, &name, &value[..length], XattrFlags::empty()) {
                // The volume's file system cannot hold it (security labels, ACLs).
                Ok(()) | Err(Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(self.fail("set an attribute of")(errno)),
            }
        }
        Ok(())
    }
}

/// Copies the parts of a file that are no holes; the length is the same in the end.
fn copy_data(from: &OwnedFd, to: &OwnedFd, length: u64) -> io::Result<()> {
    let (mut source, mut target) = (File::from(from.try_clone()?), File::from(to.try_clone()?));
    let mut at = 0;
    while at < length {
        let (start, end) = match rustix::fs::seek(from, rustix::fs::SeekFrom::Data(at)) {
            Ok(start) => (start, rustix::fs::seek(from, rustix::fs::SeekFrom::Hole(start))?),
            // The rest is one hole.
            Err(Errno::NXIO) => break,
            // No file system that knows holes.
            Err(_) => (at, length),
        };
        source.seek(SeekFrom::Start(start))?;
        target.seek(SeekFrom::Start(start))?;
        let copied = io::copy(&mut (&mut source).take(end - start), &mut target)?;
        if copied == 0 {
            break;
        }
        at = start + copied;
    }
    target.set_len(length)
}

fn owner(stat: &Stat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds: i64, nanos: u64| Timespec { tv_sec: seconds, tv_nsec: i64::try_from(nanos).unwrap_or(0) };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}
