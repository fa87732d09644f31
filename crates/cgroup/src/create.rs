//! Make or find a cgroup in every hierarchy.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::file::{read_file, write_file};
use crate::group::Cgroup;
use crate::hierarchies::{Hierarchies, Hierarchy, relative};

impl Hierarchies {
    /// Makes the cgroup `path` (below the root of each hierarchy) with all its ancestors, or opens it if it exists.
    ///
    /// Version 2: the root's controllers are enabled down to the cgroup, as far as the kernel allows. Version 1:
    /// `cpuset` is filled from the parent and `memory.use_hierarchy` is set where that is still a choice.
    /// On an error, what this call made itself is removed again.
    pub fn create(&self, path: &str) -> Result<Cgroup> {
        let path = relative(path)?;
        let mut group = Cgroup::empty(self.clone(), path);
        for (index, hierarchy) in self.all.iter().enumerate() {
            match create_in(hierarchy, path) {
                Ok((dir, made)) => {
                    group.dirs[index] = Some(dir);
                    group.made[index] = made;
                }
                Err(error) => {
                    group.undo_create();
                    return Err(error);
                }
            }
        }
        Ok(group)
    }

    /// Opens an existing cgroup; [`Error::NotFound`] when no hierarchy has it.
    pub fn open(&self, path: &str) -> Result<Cgroup> {
        let path = relative(path)?;
        let mut group = Cgroup::empty(self.clone(), path);
        for (index, hierarchy) in self.all.iter().enumerate() {
            match open_dir(hierarchy, path) {
                Ok(dir) => group.dirs[index] = Some(dir),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(Error::io("open", hierarchy.host_path(path, ""), errno)),
            }
        }
        if group.dirs.iter().all(Option::is_none) {
            return Err(Error::NotFound { path: format!("/{path}") });
        }
        Ok(group)
    }
}

pub(crate) fn open_dir(hierarchy: &Hierarchy, path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(&hierarchy.root, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}

/// Returns the directory and whether this call made it.
pub(crate) fn create_in(hierarchy: &Hierarchy, path: &str) -> Result<(OwnedFd, bool)> {
    let failed = |op, errno| Error::io(op, hierarchy.host_path(path, ""), errno);
    let made = match make(hierarchy, path) {
        Ok(made) => made,
        Err(Errno::NOENT) => {
            make_ancestors(hierarchy, path)?;
            make(hierarchy, path).map_err(|errno| failed("make", errno))?
        }
        Err(errno) => return Err(failed("make", errno)),
    };
    let dir = open_dir(hierarchy, path).map_err(|errno| failed("open", errno))?;
    if hierarchy.v2 && !hierarchy.controllers.is_empty() && !has_all_controllers(hierarchy, &dir) {
        enable_controllers(hierarchy, path);
    }
    // The kernel has filled the cpuset, unless the parent was made by somebody else.
    let cpuset = hierarchy.has(crate::Controller::Cpuset);
    let unprepared = || !path.contains('/') || (cpuset && is_empty(&dir, "cpuset.cpus"));
    if made && !hierarchy.v2 && unprepared() {
        prepare_ancestor(hierarchy, path, &dir)?;
    }
    Ok((dir, made))
}

fn make(hierarchy: &Hierarchy, path: &str) -> Result<bool, Errno> {
    match mkdirat(&hierarchy.root, path, Mode::from(0o755)) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn make_ancestors(hierarchy: &Hierarchy, path: &str) -> Result<()> {
    for (end, _) in path.match_indices('/') {
        let ancestor = &path[..end];
        let failed = |errno| Error::io("make", hierarchy.host_path(ancestor, ""), errno);
        if make(hierarchy, ancestor).map_err(failed)? && !hierarchy.v2 {
            let dir = open_dir(hierarchy, ancestor).map_err(failed)?;
            prepare_ancestor(hierarchy, ancestor, &dir)?;
        }
    }
    Ok(())
}

/// What a fresh version 1 cgroup needs so that everything below it works without further steps.
fn prepare_ancestor(hierarchy: &Hierarchy, path: &str, dir: &OwnedFd) -> Result<()> {
    let has = |name: &str| hierarchy.controllers.iter().any(|own| own == name);
    if has("cpuset") {
        fill_cpuset(hierarchy, path)?;
        // The kernel then copies CPUs and memory nodes into each new child by itself. It declines next to an exclusive
        // sibling; `join` notices and calls `fill_cpuset`.
        let _ = write_file(dir, "cgroup.clone_children", "1");
    }
    if has("memory") && read_file(dir, "memory.use_hierarchy").is_ok_and(|value| value.trim() == "0") {
        // A choice only before Linux 5.11; children inherit it.
        let _ = write_file(dir, "memory.use_hierarchy", "1");
    }
    Ok(())
}

/// Copies `cpuset.cpus` and `cpuset.mems` down the path wherever they are empty.
pub(crate) fn fill_cpuset(hierarchy: &Hierarchy, path: &str) -> Result<()> {
    let parent = match path.rfind('/') {
        Some(end) => {
            fill_cpuset(hierarchy, &path[..end])?;
            open_dir(hierarchy, &path[..end])
        }
        None => open_dir(hierarchy, "."),
    };
    let parent = parent.map_err(|errno| Error::io("open", hierarchy.host_path(path, ".."), errno))?;
    let dir = open_dir(hierarchy, path).map_err(|errno| Error::io("open", hierarchy.host_path(path, ""), errno))?;
    // With the mount option `noprefix` the files are called `cpus` and `mems`.
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let failed = |op: &'static str| move |errno| Error::io(op, hierarchy.host_path(path, name), errno);
        if read_file(&dir, name).map_err(failed("read"))?.trim().is_empty() {
            let value = read_file(&parent, name).map_err(failed("read"))?;
            write_file(&dir, name, value.trim()).map_err(failed("write"))?;
        }
    }
    Ok(())
}

fn is_empty(dir: &OwnedFd, file: &str) -> bool {
    read_file(dir, file).is_ok_and(|value| value.trim().is_empty())
}

fn has_all_controllers(hierarchy: &Hierarchy, dir: &OwnedFd) -> bool {
    let Ok(text) = read_file(dir, "cgroup.controllers") else { return false };
    hierarchy.controllers.iter().all(|name| text.split_whitespace().any(|own| own == name))
}

/// Enables every controller of the root for the cgroup, from the top down.
///
/// What the kernel refuses is left out: `cpu` while realtime processes run, or all of them in a cgroup with processes
/// of its own. A limit that needs it then fails by name.
fn enable_controllers(hierarchy: &Hierarchy, path: &str) {
    let ends = std::iter::once(0).chain(path.match_indices('/').map(|(end, _)| end));
    for end in ends {
        let ancestor = if end == 0 { "." } else { &path[..end] };
        let Ok(dir) = open_dir(hierarchy, ancestor) else { return };
        let Ok(enabled) = read_file(&dir, "cgroup.subtree_control") else { return };
        let Ok(offered) = read_file(&dir, "cgroup.controllers") else { return };
        let missing: Vec<&str> =
            offered.split_whitespace().filter(|name| !enabled.split_whitespace().any(|own| own == *name)).collect();
        if missing.is_empty() {
            continue;
        }
        let together: String = missing.iter().map(|name| format!("+{name} ")).collect();
        if write_file(&dir, "cgroup.subtree_control", together.trim_end()).is_err() {
            for name in missing {
                let _ = write_file(&dir, "cgroup.subtree_control", &format!("+{name}"));
            }
        }
    }
}
