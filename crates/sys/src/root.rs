//! Paths below a root that somebody else controls.
//!
//! Every lookup is one openat2(2) with `RESOLVE_IN_ROOT`: links and `..` are followed as the container would, never
//! out of it, and never through `/proc`'s magic links. What is made, is made relative to a descriptor obtained so.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};

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
        let directory = OFlags::PATH | OFlags::DIRECTORY;
        if let Ok(found) = self.open(path, directory) {
            return Ok(found);
        }
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        // The longest prefix that exists, links followed; what remains is made one by one, links refused.
        let mut existing = parts.len();
        let mut current = loop {
            existing = existing.saturating_sub(1);
            if existing == 0 {
                break self.open("/", directory)?;
            }
            match self.open(&parts[..existing].join("/"), directory) {
                Ok(found) => break found,
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return Err(error),
            }
        };
        for part in &parts[existing..] {
            if *part == ".." {
                return Err(io::Error::from_raw_os_error(libc::ENOENT));
            }
            match rustix::fs::mkdirat(&current, *part, Mode::from_raw_mode(mode)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let flags = directory | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            current = rustix::fs::openat(&current, *part, flags, Mode::empty())?;
        }
        Ok(current)
    }

    /// What is at `path`, or an empty file made there with its missing parents, as the target of a mount.
    pub fn ensure_file(&self, path: &str) -> io::Result<OwnedFd> {
        match self.open(path, OFlags::PATH) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            other => return other,
        }
        let (parent, name) = split(path)?;
        let parent = self.ensure_directory(parent, 0o755)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644)) {
            Ok(_) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&parent, name, flags, Mode::empty())?)
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
        assert_eq!(std::fs::read_dir(base.join("host")).unwrap().count(), 0);
        assert_eq!(std::fs::read_dir(&base).unwrap().count(), 2);
        std::fs::remove_dir_all(&base).unwrap();
    }
}
