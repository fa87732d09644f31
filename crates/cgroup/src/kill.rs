//! Kill everything in a cgroup.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::error::{Error, Result};
use crate::file::write_file;
use crate::group::Cgroup;

/// Rounds of "list and kill" against processes that fork meanwhile; with a freezer the first one suffices.
const ROUNDS: usize = 32;

impl Cgroup {
    /// Sends SIGKILL to every process here and below. The processes may still be ending when it returns.
    ///
    /// Version 2 does it in one write (`cgroup.kill`, Linux 5.14). Otherwise the processes are frozen, so that none can
    /// fork or make room for a new process of the same number, then killed and thawed.
    pub fn kill_all(&self) -> Result<()> {
        let mut first_error = None;
        if let Some(dir) = self.v2_dir() {
            match write_file(dir, "cgroup.kill", "1") {
                Ok(()) if !self.needs_join() => return Ok(()),
                // Older kernel: the loop below.
                Ok(()) | Err(Errno::NOENT | Errno::OPNOTSUPP | Errno::NODEV) => {}
                Err(errno) => first_error = Some(Error::io("write", self.path.clone() + "/cgroup.kill", errno)),
            }
        }
        if let Err(error) = self.kill_by_list() {
            first_error.get_or_insert(error);
        }
        first_error.map_or(Ok(()), Err)
    }

    fn kill_by_list(&self) -> Result<()> {
        let pids = self.processes_anywhere()?;
        if pids.is_empty() {
            return Ok(());
        }
        // A process that was just killed cannot be frozen any more; killing goes on without the freezer then.
        let frozen = self.freeze().is_ok();
        let mut killed: Vec<i32> = Vec::new();
        let mut result = Ok(());
        for _ in 0..ROUNDS {
            let pids = match self.processes_anywhere() {
                Ok(pids) => pids,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            let fresh: Vec<i32> = pids.into_iter().filter(|pid| !killed.contains(pid)).collect();
            if fresh.is_empty() {
                break;
            }
            for pid in &fresh {
                match Pid::from_raw(*pid).map(|pid| kill_process(pid, Signal::KILL)) {
                    None | Some(Ok(()) | Err(Errno::SRCH)) => {}
                    Some(Err(errno)) => result = Err(Error::io("kill", format!("process {pid}"), errno)),
                }
            }
            killed.extend(fresh);
        }
        if frozen || self.is_frozen().unwrap_or(false) {
            let thawed = self.thaw();
            result = result.and(thawed);
        }
        result
    }
}
