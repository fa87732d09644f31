//! Move processes into a cgroup.

use rustix::io::Errno;

use crate::create::fill_cpuset;
use crate::error::{Error, Result};
use crate::file::write_file;
use crate::group::Cgroup;

impl Cgroup {
    /// Moves a process (all its threads) into this cgroup in every hierarchy; pid 0 is the caller.
    ///
    /// The first move after a rest of the whole machine waits for an RCU grace period (5–9 ms); further ones are cheap.
    /// On version 2 prefer `CLONE_INTO_CGROUP` with [`Cgroup::v2_dir`], which never waits.
    pub fn join(&self, pid: i32) -> Result<()> {
        self.join_v1(pid)?;
        self.join_v2(pid)
    }

    /// Moves a process in the version 1 hierarchies alone: what a parked process does whose cgroup is renamed later,
    /// because a version 2 directory can't be.
    pub fn join_v1(&self, pid: i32) -> Result<()> {
        self.join_where(pid, false)
    }

    /// Moves a process in the version 2 hierarchy alone.
    pub fn join_v2(&self, pid: i32) -> Result<()> {
        self.join_where(pid, true)
    }

    fn join_where(&self, pid: i32, v2: bool) -> Result<()> {
        let number = pid.to_string();
        for (hierarchy, dir) in self.present().filter(|(hierarchy, _)| hierarchy.v2 == v2) {
            let mut result = write_file(dir, "cgroup.procs", &number);
            // An empty cpuset takes nobody.
            if result == Err(Errno::NOSPC) && hierarchy.has(crate::Controller::Cpuset) && !hierarchy.v2 {
                fill_cpuset(hierarchy, &self.path)?;
                result = write_file(dir, "cgroup.procs", &number);
            }
            result.map_err(|errno| match errno {
                Errno::BUSY => Error::Busy { path: hierarchy.host_path(&self.path, "") },
                errno => Error::io("write", hierarchy.host_path(&self.path, "cgroup.procs"), errno),
            })?;
        }
        Ok(())
    }
}
