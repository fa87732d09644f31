//! Hear of the OOM killer.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};
use rustix::fs::{Mode, OFlags, openat};

use crate::Controller;
use crate::error::{Error, Result};
use crate::file::put;
use crate::group::Cgroup;

/// Tells when the OOM killer has ended somebody in a cgroup.
#[derive(Debug)]
pub struct OomWatch<'g> {
    group: &'g Cgroup,
    /// Version 2: `memory.events`; version 1: an eventfd bound to `memory.oom_control`.
    source: OwnedFd,
    v2: bool,
    seen: u64,
}

impl Cgroup {
    /// Begins to watch; what was before does not count.
    ///
    /// Version 1 registers an eventfd with `cgroup.event_control` (Documentation/admin-guide/cgroup-v1/memory.rst,
    /// section 10); version 2 raises `POLLPRI` on `memory.events`.
    pub fn watch_oom(&self) -> Result<OomWatch<'_>> {
        let index =
            self.hierarchies.home(Controller::Memory).ok_or(Error::MissingController { controller: "memory" })?;
        let (hierarchy, dir) = self.at(index)?;
        let v2 = hierarchy.v2;
        let name = if v2 { "memory.events" } else { "memory.oom_control" };
        let failed = |op, file: &str, errno| Error::io(op, hierarchy.host_path(&self.path, file), errno);
        let events = openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| failed("open", name, errno))?;
        let source = if v2 {
            events
        } else {
            let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                .map_err(|errno| failed("watch", name, errno))?;
            let control = "cgroup.event_control";
            let line = format!("{} {}", bell.as_raw_fd(), events.as_raw_fd());
            crate::file::open_write(dir, control)
                .and_then(|file| put(file.as_fd(), &line))
                .map_err(|errno| failed("write", control, errno))?;
            bell
        };
        Ok(OomWatch { group: self, source, v2, seen: self.oom_kills()? })
    }
}

impl OomWatch<'_> {
    /// What to poll for.
    pub fn interest(&self) -> PollFd<'_> {
        PollFd::new(&self.source, if self.v2 { PollFlags::PRI } else { PollFlags::IN })
    }

    /// How many processes were killed since the last call. A cgroup that is gone has no more.
    pub fn kills(&mut self) -> Result<u64> {
        let mut bytes = [0; 512];
        let _ = rustix::io::pread(&self.source, &mut bytes, 0).or_else(|_| rustix::io::read(&self.source, &mut bytes));
        let now = match self.group.oom_kills() {
            Ok(now) => now,
            Err(Error::Io { source, .. }) if source.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) => {
                return Ok(0);
            }
            Err(error) => return Err(error),
        };
        let fresh = now.saturating_sub(self.seen);
        self.seen = now;
        Ok(fresh)
    }
}
