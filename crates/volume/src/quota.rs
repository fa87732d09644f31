//! Directories of a limited size by project quotas: nothing is mounted, and the room is shared with all others.
//!
//! A directory with a limit is in a project of its own, a number that was drawn at random and that nobody else on the file
//! system uses. The file system knows the limit; nothing is kept beside it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};

use crate::{Error, Result};

/// Numbers that are drawn before it is given up: one in two thousand million is taken.
const ATTEMPTS: usize = 16;

/// A directory's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Its project.
    pub project: u32,
    /// Bytes; 0 when it has lost its limit.
    pub limit: u64,
    /// Bytes in it.
    pub used: u64,
}

fn open(directory: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(directory, flags, Mode::empty()).map_err(|errno| Error::io("open", directory)(errno.into()))
}

/// Whether limits are enforced where a directory is.
pub fn is_enforced(directory: &Path) -> bool {
    open(directory).is_ok_and(|directory| sys::quota::is_enforced(directory.as_fd()))
}

/// Limits what `directories`, which are empty or hold each other, take together.
pub fn limit(directories: &[&Path], size: u64) -> Result<()> {
    // Between the look at a number and its use nobody else of this process draws one.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(first) = directories.first() else { return Ok(()) };
    let failed = || Error::io("limit the size of", *first);
    let opened = directories.iter().map(|directory| open(directory)).collect::<Result<Vec<_>>>()?;
    let project = match sys::quota::project(opened[0].as_fd()) {
        Some(project) => project,
        None => draw(&opened[0]).map_err(failed())?,
    };
    sys::quota::set_limit(opened[0].as_fd(), project, size).map_err(failed())?;
    for directory in &opened {
        sys::quota::set_project(directory.as_fd(), project).map_err(failed())?;
    }
    Ok(())
}

/// A project that the file system knows nothing of.
fn draw(directory: &OwnedFd) -> io::Result<u32> {
    let mut random = File::open("/dev/urandom")?;
    for _ in 0..ATTEMPTS {
        let mut bytes = [0; 4];
        random.read_exact(&mut bytes)?;
        let project = u32::from_ne_bytes(bytes) >> 1;
        let unknown = sys::quota::usage(directory.as_fd(), project)? == sys::quota::Usage::default();
        if project > 0 && unknown {
            return Ok(project);
        }
    }
    Err(io::Error::other("no project is free"))
}

/// The limit of a directory, if it has one.
pub fn of(directory: &Path) -> Option<Quota> {
    let opened = open(directory).ok()?;
    let project = sys::quota::project(opened.as_fd())?;
    let usage = sys::quota::usage(opened.as_fd(), project).ok()?;
    Some(Quota { project, limit: usage.limit, used: usage.used })
}

/// A directory that was made with a limit of `size` still has it; one that the file system has forgotten, since it was
/// mounted without quotas meanwhile, is set again. What cannot hold is an error.
pub fn ensure(directory: &Path, size: u64) -> Result<()> {
    let lost = || Error::LimitLost { path: directory.to_owned() };
    let opened = open(directory)?;
    if !sys::quota::is_enforced(opened.as_fd()) {
        return Err(lost());
    }
    let project = sys::quota::project(opened.as_fd()).ok_or_else(lost)?;
    let failed = || Error::io("limit the size of", directory);
    match sys::quota::usage(opened.as_fd(), project).map_err(failed())?.limit {
        0 => sys::quota::set_limit(opened.as_fd(), project, size).map_err(failed()),
        _ => Ok(()),
    }
}

/// Takes the limit away from a directory that is about to be removed.
pub fn release(directory: &Path) {
    let Ok(opened) = open(directory) else { return };
    if let Some(project) = sys::quota::project(opened.as_fd()) {
        // One that stays is a limit on nothing.
        let _ = sys::quota::set_limit(opened.as_fd(), project, 0);
    }
}

/// Does what writes files for others, so that limits hold for it as for them.
pub fn within<T>(work: impl FnOnce() -> T) -> T {
    let _lowered = sys::capability::without_resource();
    work()
}
