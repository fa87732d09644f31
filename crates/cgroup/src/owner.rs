//! Whose a cgroup is.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Uid, chownat};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::group::Cgroup;

/// Files that a cgroup's new owner needs, for kernels that do not list them (Linux before 4.15).
const FALLBACK: [&str; 3] = ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"];

impl Cgroup {
    /// Hands a version 2 cgroup to a user, so that those inside can divide it: the directory, and of its files those in
    /// `/sys/kernel/cgroup/delegate` and no others (runtime-spec config-linux.md, "Cgroup ownership").
    ///
    /// Limits stay whose they were. Does nothing beside version 1, where directories are not handed over.
    pub fn give_to(&self, uid: u32) -> Result<()> {
        let Some(index) = self.hierarchies.v2_index().filter(|_| !self.needs_join()) else { return Ok(()) };
        let (hierarchy, dir) = self.at(index)?;
        let owner = Some(Uid::from_raw(uid));
        let listed = std::fs::read_to_string("/sys/kernel/cgroup/delegate").ok();
        let names = listed.as_deref().map_or_else(|| FALLBACK.to_vec(), |text| text.split_whitespace().collect());
        for name in names.into_iter().filter(|name| !name.contains('/')) {
            match chownat(dir, name, owner, None, AtFlags::SYMLINK_NOFOLLOW) {
                // Controllers that are off have no files.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(Error::io("give away", hierarchy.host_path(&self.path, name), errno)),
            }
        }
        chownat(dir.as_fd(), "", owner, None, AtFlags::EMPTY_PATH)
            .map_err(|errno| Error::io("give away", hierarchy.host_path(&self.path, ""), errno))
    }
}
