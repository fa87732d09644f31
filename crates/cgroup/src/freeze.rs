//! Stop and go on.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, openat};

use crate::error::{Error, Result};
use crate::file::{keyed, read_file, write_file};
use crate::group::Cgroup;

/// How long processes may take to stop.
const PATIENCE: Duration = Duration::from_secs(5);

impl Cgroup {
    /// Stops all processes and returns when they have stopped. Stopped ones stay so; on failure they go on.
    pub fn freeze(&self) -> Result<()> {
        let result = match self.freezer_v1()? {
            Some(index) => self.freeze_v1(index),
            None => self.freeze_v2(),
        };
        if result.is_err() {
            let _ = self.thaw();
        }
        result
    }

    /// Lets the processes go on.
    pub fn thaw(&self) -> Result<()> {
        match self.freezer_v1()? {
            Some(index) => self.put_state(index, "freezer.state", "THAWED"),
            None => self.put_state(self.v2_or_missing()?, "cgroup.freeze", "0"),
        }
    }

    /// Whether the processes are stopped (or being stopped) by this cgroup or one above it.
    pub fn is_frozen(&self) -> Result<bool> {
        match self.freezer_v1()? {
            Some(index) => Ok(self.state(index, "freezer.state")?.trim() != "THAWED"),
            None => {
                let index = self.v2_or_missing()?;
                let events = self.state(index, "cgroup.events")?;
                // An empty cgroup never becomes frozen; then what was asked for counts.
                Ok(keyed(&events, "frozen") == Some(1) || self.state(index, "cgroup.freeze")?.trim() == "1")
            }
        }
    }

    /// Index of the version 1 freezer, if this cgroup is in it.
    pub(crate) fn freezer_v1(&self) -> Result<Option<usize>> {
        Ok(self.hierarchies.v1_index("freezer").filter(|index| self.dirs[*index].is_some()))
    }

    fn v2_or_missing(&self) -> Result<usize> {
        self.hierarchies.v2_index().ok_or(Error::MissingController { controller: "freezer" })
    }

    fn put_state(&self, index: usize, file: &str, value: &str) -> Result<()> {
        let (hierarchy, dir) = self.at(index)?;
        write_file(dir, file, value).map_err(|errno| Error::io("write", hierarchy.host_path(&self.path, file), errno))
    }

    fn state(&self, index: usize, file: &str) -> Result<String> {
        let (hierarchy, dir) = self.at(index)?;
        read_file(dir, file).map_err(|errno| Error::io("read", hierarchy.host_path(&self.path, file), errno))
    }

    /// The version 1 freezer is polled: it tells nobody when it is done. A process that forks or is stopped by a tracer
    /// can hold it up; thawing and asking again gets past that.
    fn freeze_v1(&self, index: usize) -> Result<()> {
        let begin = Instant::now();
        let mut round = 0u32;
        loop {
            self.put_state(index, "freezer.state", "FROZEN")?;
            for attempt in 0..64u32 {
                if self.state(index, "freezer.state")?.trim() == "FROZEN" {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_micros(10 << (attempt / 8).min(7)));
            }
            if begin.elapsed() > PATIENCE {
                return Err(self.freeze_timeout());
            }
            round += 1;
            if round.is_multiple_of(4) {
                self.put_state(index, "freezer.state", "THAWED")?;
            }
        }
    }

    fn freeze_v2(&self) -> Result<()> {
        let index = self.v2_or_missing()?;
        self.put_state(index, "cgroup.freeze", "1")?;
        let (hierarchy, dir) = self.at(index)?;
        let failed = |errno| Error::io("read", hierarchy.host_path(&self.path, "cgroup.events"), errno);
        let events = open_events(dir).map_err(failed)?;
        let begin = Instant::now();
        loop {
            let text = self.state(index, "cgroup.events")?;
            if keyed(&text, "frozen") == Some(1) || keyed(&text, "populated") == Some(0) {
                return Ok(());
            }
            let Some(left) = PATIENCE.checked_sub(begin.elapsed()) else { return Err(self.freeze_timeout()) };
            wait_for_event(&events, left.min(Duration::from_millis(100))).map_err(failed)?;
        }
    }

    fn freeze_timeout(&self) -> Error {
        Error::FreezeTimeout { path: format!("/{}", self.path) }
    }
}

pub(crate) fn open_events(dir: impl AsFd) -> Result<OwnedFd, rustix::io::Errno> {
    openat(dir, "cgroup.events", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Waits for the next change of `cgroup.events`.
pub(crate) fn wait_for_event(events: &OwnedFd, longest: Duration) -> Result<(), rustix::io::Errno> {
    let timeout = Timespec { tv_sec: longest.as_secs() as i64, tv_nsec: longest.subsec_nanos().into() };
    // kernfs raises POLLPRI on a descriptor whose last read is older than the change.
    let mut byte = [0u8; 256];
    rustix::io::pread(events, &mut byte, 0)?;
    match poll(&mut [PollFd::new(events, PollFlags::PRI)], Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}
