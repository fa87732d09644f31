//! Who is in a cgroup.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, openat2, statat};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::file::read_file;
use crate::group::Cgroup;

/// Deeper nesting below a container's cgroup is not followed: the kernel's paths end before.
const MAX_DEPTH: usize = 64;

impl Cgroup {
    /// The processes of this cgroup and of those below it, in ascending order, without duplicates.
    ///
    /// Numbers are those of this process's pid namespace. Read from one hierarchy: pids or memory of version 1, else
    /// version 2; where that is empty on a hybrid layout, from the other version too.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let primary = self.hierarchies.primary();
        let mut pids = Vec::new();
        self.collect(primary, &mut pids)?;
        if let Some(v2) = self.hierarchies.v2_index().filter(|v2| *v2 != primary && pids.is_empty()) {
            self.collect(v2, &mut pids)?;
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// The processes in any hierarchy.
    pub(crate) fn processes_anywhere(&self) -> Result<Vec<i32>> {
        let mut pids = Vec::new();
        for index in 0..self.dirs.len() {
            self.collect(index, &mut pids)?;
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    fn collect(&self, index: usize, pids: &mut Vec<i32>) -> Result<()> {
        let Some(dir) = &self.dirs[index] else { return Ok(()) };
        visit(dir.as_fd(), 0, &mut |dir| {
            // Version 2 has nothing to read in a threaded cgroup: its parent lists the processes.
            match read_file(dir, "cgroup.procs") {
                Ok(text) => {
                    // 0 stands for a process that this pid namespace cannot see.
                    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
                    Ok(())
                }
                Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => Ok(()),
                Err(errno) => Err(errno),
            }
        })
        .map_err(|errno| Error::io("read", self.hierarchies.all[index].host_path(&self.path, "cgroup.procs"), errno))
    }
}

/// Calls `each` for a directory and for all below it, children first.
fn visit(
    dir: BorrowedFd<'_>,
    depth: usize,
    each: &mut dyn FnMut(BorrowedFd<'_>) -> Result<(), Errno>,
) -> Result<(), Errno> {
    for name in children(dir)? {
        if depth < MAX_DEPTH {
            match open_child(dir, &name) {
                Ok(child) => visit(child.as_fd(), depth + 1, each)?,
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    each(dir)
}

/// The names of the cgroups below one; none when it is gone.
pub(crate) fn children(dir: BorrowedFd<'_>) -> Result<Vec<std::ffi::CString>, Errno> {
    // A directory's link count is 2 plus its subdirectories: nearly every cgroup has none, and need not be listed.
    let stat = statat(dir, c"", AtFlags::EMPTY_PATH)?;
    if stat.st_nlink <= 2 {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    let entries = match Dir::read_from(dir) {
        Err(Errno::NOENT) => return Ok(names),
        entries => entries?,
    };
    for entry in entries {
        let entry = match entry {
            Err(Errno::NOENT) => break,
            entry => entry?,
        };
        if entry.file_type() == FileType::Directory && !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

pub(crate) fn open_child(dir: BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(dir, name, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}
