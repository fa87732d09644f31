//! Remove a cgroup.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;

use crate::create::open_dir;
use crate::error::{Error, Result};
use crate::freeze::{open_events, wait_for_event};
use crate::group::Cgroup;
use crate::hierarchies::Hierarchies;
use crate::processes::{children, open_child};

impl Cgroup {
    /// Removes the cgroup and those below it from every hierarchy. Already removed is fine.
    ///
    /// Goes on after an error and reports the first; [`Error::Busy`] when processes are left.
    pub fn remove(&self) -> Result<()> {
        self.hierarchies.remove(&self.path)
    }

    /// Like [`Cgroup::remove`], but gives processes that are ending up to `longest` to be gone.
    pub fn remove_within(&self, longest: Duration) -> Result<()> {
        let end = Instant::now() + longest;
        let mut pause = Duration::from_micros(100);
        loop {
            let result = self.remove();
            let left = end.saturating_duration_since(Instant::now());
            if !matches!(result, Err(Error::Busy { .. })) || left.is_zero() {
                return result;
            }
            // Version 2 tells when the last process has left; version 1 has to be asked again.
            let events = self.v2_dir().filter(|_| !self.needs_join()).and_then(|dir| open_events(dir).ok());
            match events {
                Some(events) if wait_for_event(&events, left.min(Duration::from_millis(50))).is_ok() => {}
                _ => std::thread::sleep(pause.min(left)),
            }
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

impl Hierarchies {
    /// Removes a cgroup by its path, whoever made it. See [`Cgroup::remove`].
    pub fn remove(&self, path: &str) -> Result<()> {
        let path = crate::hierarchies::relative(path)?;
        let mut first_error = None;
        for hierarchy in self.all.iter() {
            let result = match unlinkat(&hierarchy.root, path, AtFlags::REMOVEDIR) {
                // Processes, or cgroups below.
                Err(Errno::BUSY | Errno::NOTEMPTY) => open_dir(hierarchy, path)
                    .and_then(|dir| remove_children(dir.as_fd(), 0))
                    .and_then(|()| unlinkat(&hierarchy.root, path, AtFlags::REMOVEDIR)),
                result => result,
            };
            match result {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => {
                    let path = hierarchy.host_path(path, "");
                    first_error.get_or_insert(match errno {
                        Errno::BUSY | Errno::NOTEMPTY => Error::Busy { path },
                        errno => Error::io("remove", path, errno),
                    });
                }
            }
        }
        first_error.map_or(Ok(()), Err)
    }
}

impl Hierarchies {
    /// Removes a cgroup from the hierarchies where nothing is in it, not even an empty one; elsewhere it stays.
    pub fn remove_empty(&self, path: &str) -> Result<()> {
        let path = crate::hierarchies::relative(path)?;
        for hierarchy in self.all.iter() {
            match unlinkat(&hierarchy.root, path, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT | Errno::BUSY | Errno::NOTEMPTY) => {}
                Err(errno) => return Err(Error::io("remove", hierarchy.host_path(path, ""), errno)),
            }
        }
        Ok(())
    }
}

fn remove_children(dir: BorrowedFd<'_>, depth: usize) -> Result<(), Errno> {
    if depth > 64 {
        return Err(Errno::LOOP);
    }
    let mut first_error = None;
    for name in children(dir)? {
        let result = match unlinkat(dir, &name, AtFlags::REMOVEDIR) {
            Err(Errno::BUSY | Errno::NOTEMPTY) => open_child(dir, &name)
                .and_then(|child| remove_children(child.as_fd(), depth + 1))
                .and_then(|()| unlinkat(dir, &name, AtFlags::REMOVEDIR)),
            result => result,
        };
        match result {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => {
                first_error.get_or_insert(errno);
            }
        }
    }
    first_error.map_or(Ok(()), Err)
}
