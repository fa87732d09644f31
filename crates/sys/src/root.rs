//! Paths below a root that somebody else controls.
//!
//! Every lookup is one openat2(2) with `RESOLVE_IN_ROOT`: links and `..` are followed as the container would, never
//! out of it, and never through `/proc`'s magic links. What is made, is made relative to a descriptor obtained so.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};

/// Links that are followed on one way; the kernel's own number.
const MAX_LINKS: usize = 40;

/// `PROC_SUPER_MAGIC` of `<linux/magic.h>`.
const PROC_MAGIC: u64 = 0x9fa0;

/// What is to be at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
}

/// A directory that paths cannot leave.
#[derive(Debug)]
pub struct Root<'fd>(BorrowedFd<'fd>);

impl<'fd> Root<'fd> {
    /// The directory as it is; the caller keeps it open.
    pub fn new(directory: BorrowedFd<'fd>) -> Root<'fd> {
        Root(directory)
    }

    /// Opens what is at `path`, following links inside the root.
    pub fn open(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        // openat2 says EAGAIN when something was renamed meanwhile and it cannot be sure of "..".
        for _ in 0..64 {
            match rustix::fs::openat2(self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
        Err(io::Error::from_raw_os_error(libc::EAGAIN))
    }

    /// The directory at `path`, made with its missing parents when it is not there.
    pub fn ensure_directory(&self, path: &str, mode: u32) -> io::Result<OwnedFd> {
        match self.open(path, OFlags::PATH | OFlags::DIRECTORY) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => self.make(path, Kind::Directory, mode),
            other => other,
        }
    }

    /// What is at `path`, or an empty file made there with its missing parents, as the target of a mount.
    pub fn ensure_file(&self, path: &str) -> io::Result<OwnedFd> {
        match self.open(path, OFlags::PATH) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => self.make(path, Kind::File, 0o755),
            other => other,
        }
    }

    /// Makes what is missing on the way, at the end of dangling links as well (`/etc/resolv.conf` often is one).
    ///
    /// Links are followed here by their text, and each step is opened from the root without following any: somebody who
    /// changes the tree meanwhile can make it fail, or have something made elsewhere below the same root.
    fn make(&self, path: &str, last: Kind, mode: u32) -> io::Result<OwnedFd> {
        let parts = |text: &str| -> Vec<String> {
            text.split('/').rev().filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect()
        };
        let mut ahead = parts(path);
        let mut real: Vec<String> = Vec::new();
        let mut current = self.open_real(&real)?;
        let mut links = 0;
        while let Some(part) = ahead.pop() {
            // Its links are not what they say, and nothing can be made in it.
            if rustix::fs::fstatfs(&current)?.f_type as u64 == PROC_MAGIC {
                return Err(io::Error::from_raw_os_error(libc::ENOENT));
            }
            if part == ".." {
                real.pop();
                current = self.open_real(&real)?;
                continue;
            }
            match rustix::fs::readlinkat(&current, part.as_str(), Vec::new()) {
                Ok(target) => {
                    links += 1;
                    let target = target.to_str().map_err(|_| io::Error::from_raw_os_error(libc::EILSEQ))?;
                    if links > MAX_LINKS {
                        return Err(io::Error::from_raw_os_error(libc::ELOOP));
                    }
                    if target.starts_with('/') {
                        real.clear();
                        current = self.open_real(&real)?;
                    }
                    ahead.extend(parts(target));
                    continue;
                }
                // There, and no link.
                Err(rustix::io::Errno::INVAL) => {}
                Err(rustix::io::Errno::NOENT) if ahead.is_empty() && last == Kind::File => {
                    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                    match rustix::fs::openat(&current, part.as_str(), flags, Mode::from_raw_mode(0o644)) {
                        Ok(_) | Err(rustix::io::Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(rustix::io::Errno::NOENT) => {
                    match rustix::fs::mkdirat(&current, part.as_str(), Mode::from_raw_mode(mode)) {
                        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) => return Err(error.into()),
            }
            let mut flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            flags.set(OFlags::DIRECTORY, !ahead.is_empty() || last == Kind::Directory);
            real.push(part);
            // From the root: what is mounted there counts, and it is still below the root.
            current = self.open_without_links(&real, flags)?;
        }
        Ok(current)
    }

    fn open_real(&self, parts: &[String]) -> io::Result<OwnedFd> {
        self.open_without_links(parts, OFlags::PATH | OFlags::DIRECTORY)
    }

    fn open_without_links(&self, parts: &[String], flags: OFlags) -> io::Result<OwnedFd> {
        let path = if parts.is_empty() { ".".to_owned() } else { parts.join("/") };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
        for _ in 0..64 {
            match rustix::fs::openat2(self.0, path.as_str(), flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
        Err(io::Error::from_raw_os_error(libc::EAGAIN))
    }

    /// Reads a small file; more than `limit` bytes is an error.
    pub fn read(&self, path: &str, limit: u64) -> io::Result<Vec<u8>> {
        use std::io::Read;
        // Not blocking: the file may be a FIFO, or a device.
        let file = std::fs::File::from(self.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        Ok(bytes)
    }
}

impl AsFd for Root<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0
    }
}

/// The parent's path and the last name; no name (`/`, `..`) is refused.
pub fn split(path: &str) -> io::Result<(&str, &str)> {
    let trimmed = path.trim_end_matches('/');
    let (parent, name) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
    if name.is_empty() || name == "." || name == ".." {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    Ok((if parent.is_empty() { "/" } else { parent }, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_leaves_the_root() {
        let base = std::env::temp_dir().join(format!("hoist-root-{}", std::process::id()));
        let inside = base.join("root");
        std::fs::create_dir_all(inside.join("real")).unwrap();
        std::fs::create_dir_all(base.join("host")).unwrap();
        symlink("/", inside.join("slash")).unwrap();
        symlink("../../../host", inside.join("up")).unwrap();
        symlink(base.join("host"), inside.join("absolute")).unwrap();
        symlink("loop", inside.join("loop")).unwrap();
        symlink("real", inside.join("link")).unwrap();
        let directory = std::fs::File::open(&inside).unwrap();
        let root = Root::new(directory.as_fd());
        root.ensure_directory("/slash/a/b", 0o755).unwrap();
        assert!(inside.join("a/b").is_dir());
        root.ensure_directory("link/c", 0o755).unwrap();
        assert!(inside.join("real/c").is_dir());
        for path in ["up/x", "absolute/x", "loop/x", "a/../../y/..", "up"] {
            let _ = root.ensure_directory(path, 0o755);
            let _ = root.ensure_file(path);
        }
        root.ensure_file("/link/file").unwrap();
        assert!(inside.join("real/file").is_file());
        // Dangling links lead to something new, inside.
        symlink("../run/new/stub", inside.join("real/dangling")).unwrap();
        symlink("/real/dangling", inside.join("twice")).unwrap();
        root.ensure_file("/twice").unwrap();
        assert!(inside.join("run/new/stub").is_file());
        symlink("/somewhere/else", inside.join("gone")).unwrap();
        root.ensure_directory("/gone/deep", 0o755).unwrap();
        assert!(inside.join("somewhere/else/deep").is_dir());
        assert!(root.ensure_directory("/twice/below", 0o755).is_err());
        assert_eq!(root.ensure_directory("loop", 0o755).unwrap_err().raw_os_error(), Some(libc::ELOOP));
        assert_eq!(root.ensure_file("loop/x").unwrap_err().raw_os_error(), Some(libc::ELOOP));
        assert_eq!(std::fs::read_dir(base.join("host")).unwrap().count(), 0);
        assert_eq!(std::fs::read_dir(&base).unwrap().count(), 2);
        std::fs::remove_dir_all(&base).unwrap();
    }
}
