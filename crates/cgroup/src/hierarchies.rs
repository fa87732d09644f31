//! The mounted hierarchies of this machine, each by a descriptor of its root.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::error::{Error, Result};
use crate::layout::{Kind, Layout};
use crate::{Controller, file};

/// One mounted hierarchy.
#[derive(Debug)]
pub(crate) struct Hierarchy {
    pub mount_point: String,
    /// O_PATH descriptor of the mount's root.
    pub root: OwnedFd,
    /// Version 1: the controllers of the mount. Version 2: what `cgroup.controllers` of the root offers.
    pub controllers: Vec<String>,
    pub v2: bool,
    pub name: Option<String>,
}

impl Hierarchy {
    pub(crate) fn has(&self, controller: Controller) -> bool {
        let name = if self.v2 { controller.v2_name() } else { Some(controller.v1_name()) };
        name.is_some_and(|name| self.controllers.iter().any(|own| own == name))
    }

    /// Host path of a file, for messages.
    pub(crate) fn host_path(&self, path: &str, file: &str) -> String {
        let mut text = format!("{}/{path}", self.mount_point);
        if !file.is_empty() {
            text.push('/');
            text.push_str(file);
        }
        text
    }
}

/// All hierarchies that containers are put into. Cloning is cheap and shares the descriptors.
#[derive(Clone, Debug)]
pub struct Hierarchies {
    /// Version 1 first, in the order of their mount points; version 2, if any, last.
    pub(crate) all: Arc<Vec<Hierarchy>>,
    kind: Kind,
}

impl Hierarchies {
    /// Looks at this process's mounts and opens what it finds.
    pub fn detect() -> Result<Self> {
        let mountinfo = file::read_file(CWD, "/proc/self/mountinfo")
            .map_err(|errno| Error::io("read", "/proc/self/mountinfo", errno))?;
        // Absent without CONFIG_PROC_FS_CGROUPS and going away with v1: the list of known names then suffices.
        let proc_cgroups = file::read_file(CWD, "/proc/cgroups").unwrap_or_default();
        let layout = Layout::parse(&mountinfo, &proc_cgroups).ok_or(Error::UnknownLayout)?;
        Self::open_layout(&layout)
    }

    /// Opens the mounts of a known layout.
    pub fn open_layout(layout: &Layout) -> Result<Self> {
        let mut all = Vec::with_capacity(layout.v1.len() + 1);
        for mount in &layout.v1 {
            all.push(Hierarchy {
                root: open_root(&mount.mount_point)?,
                mount_point: mount.mount_point.clone(),
                controllers: mount.controllers.clone(),
                v2: false,
                name: mount.name.clone(),
            });
        }
        if let Some(mount_point) = &layout.v2 {
            let root = open_root(mount_point)?;
            let controllers = file::read_file(&root, "cgroup.controllers")
                .map_err(|errno| Error::io("read", format!("{mount_point}/cgroup.controllers"), errno))?;
            all.push(Hierarchy {
                root,
                mount_point: mount_point.clone(),
                controllers: controllers.split_whitespace().map(str::to_owned).collect(),
                v2: true,
                name: None,
            });
        }
        Ok(Self { all: Arc::new(all), kind: layout.kind() })
    }

    /// Version 1, version 2 or both.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether some hierarchy offers this controller. [`Controller::Devices`] counts as offered by version 2 (BPF).
    pub fn offers(&self, controller: Controller) -> bool {
        self.home(controller).is_some()
    }

    /// Whether processes must be moved by [`crate::Cgroup::join`]: `CLONE_INTO_CGROUP` covers version 2 only.
    pub fn needs_join(&self) -> bool {
        self.kind != Kind::V2
    }

    /// Index of the hierarchy where a controller's files are.
    pub(crate) fn home(&self, controller: Controller) -> Option<usize> {
        let found = self.all.iter().position(|hierarchy| hierarchy.has(controller));
        match controller {
            Controller::Devices => found.or_else(|| self.v2_index()),
            _ => found,
        }
    }

    pub(crate) fn v2_index(&self) -> Option<usize> {
        self.all.iter().position(|hierarchy| hierarchy.v2)
    }

    /// Index of the version 1 hierarchy with a controller of this name.
    pub(crate) fn v1_index(&self, name: &str) -> Option<usize> {
        self.all.iter().position(|hierarchy| !hierarchy.v2 && hierarchy.controllers.iter().any(|own| own == name))
    }

    /// Index of the hierarchy whose membership counts: pids or memory of version 1, else version 2, else the first.
    pub(crate) fn primary(&self) -> usize {
        self.v1_index("pids").or_else(|| self.v1_index("memory")).or_else(|| self.v2_index()).unwrap_or(0)
    }
}

fn open_root(mount_point: &str) -> Result<OwnedFd> {
    openat(CWD.as_fd(), mount_point, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::io("open", mount_point, errno))
}

/// A cgroup's path without its leading slash, if every component is a plain name.
pub(crate) fn relative(path: &str) -> Result<&str> {
    let relative = path.strip_prefix('/').unwrap_or(path);
    let plain = |name: &str| !name.is_empty() && name != "." && name != ".." && name.len() <= 255;
    let valid = !relative.contains(['\0', '\n']) && relative.len() < 3800 && relative.split('/').all(plain);
    if valid { Ok(relative) } else { Err(Error::InvalidPath { path: path.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (path, expect) in [("/hoist/a", Some("hoist/a")), ("hoist", Some("hoist")), ("/a..b/.c", Some("a..b/.c"))] {
            assert_eq!(relative(path).ok(), expect, "{path}");
        }
        for path in ["", "/", "//a", "a//b", "a/", "a/../b", "..", ".", "a/./b", "a\0b", "a\nb"] {
            assert!(relative(path).is_err(), "{path:?}");
        }
        assert!(relative(&"x".repeat(256)).is_err());
    }
}
