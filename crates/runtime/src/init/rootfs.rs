//! The container's root file system: an overlay of layer mounts assembled by descriptor, or a directory.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use sys::mount::Filesystem;

use super::error::Error;

/// A directory of the host as a detached mount; what is mounted below it comes along.
pub fn directory(path: &str) -> Result<OwnedFd, Error> {
    sys::mount::clone_path(path, true).map_err(|source| Error::Source { path: path.to_owned(), source })
}

/// A detached overlay of layers' mounts, the topmost first, and of a directory with `upper` and `work`.
///
/// Without layers it is the upper directory alone.
pub fn overlay(layers: &[BorrowedFd<'_>], writable: BorrowedFd<'_>, ephemeral: bool) -> Result<OwnedFd, Error> {
    let directory = |name| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(writable, name, flags, Mode::empty())
            .map_err(|errno| Error::Step { what: "open the writable layer", source: errno.into() })
    };
    let upper = directory("upper")?;
    if layers.is_empty() {
        return sys::mount::clone_descriptor(&upper, false).map_err(Error::step("clone the writable layer"));
    }
    let work = directory("work")?;
    let filesystem = Filesystem::open("overlay").map_err(Error::step("open overlayfs"))?;
    let made = (|| {
        filesystem.string("source", "hoist")?;
        for layer in layers {
            filesystem.directory("lowerdir+", layer)?;
        }
        filesystem.directory("upperdir", &upper)?;
        filesystem.directory("workdir", &work)?;
        if ephemeral {
            // Nothing of this layer is ever read again, so nothing of it has to reach the disk.
            filesystem.flag("volatile")?;
        }
        filesystem.mount(0)
    })();
    made.map_err(|source| Error::Mount {
        kind: "overlay".to_owned(),
        target: "/".to_owned(),
        complaint: filesystem.complaint(),
        source,
    })
}

/// Opens the root directory of a mount for lookups below it.
pub fn directory_of(mount: &OwnedFd) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(mount.as_fd(), ".", flags, Mode::empty())
        .map_err(|errno| Error::Step { what: "open the root directory", source: errno.into() })
}
