//! One cgroup: the same path in every hierarchy.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, unlinkat};

use crate::error::{Error, Result};
use crate::hierarchies::{Hierarchies, Hierarchy};

/// A cgroup, by a directory descriptor in each hierarchy that has it.
///
/// Dropping it closes the descriptors and leaves the cgroup as it is.
#[derive(Debug)]
pub struct Cgroup {
    pub(crate) hierarchies: Hierarchies,
    /// Without the leading slash.
    pub(crate) path: String,
    /// One per hierarchy, in its order.
    pub(crate) dirs: Vec<Option<OwnedFd>>,
    /// Whether `create` made the directory (and did not find it).
    pub(crate) made: Vec<bool>,
}

impl Cgroup {
    pub(crate) fn empty(hierarchies: Hierarchies, path: &str) -> Self {
        let count = hierarchies.all.len();
        Self { hierarchies, path: path.to_owned(), dirs: (0..count).map(|_| None).collect(), made: vec![false; count] }
    }

    /// Takes back what `create` made, after it failed part way.
    pub(crate) fn undo_create(&mut self) {
        for (index, hierarchy) in self.hierarchies.all.iter().enumerate() {
            self.dirs[index] = None;
            if std::mem::take(&mut self.made[index]) {
                let _ = unlinkat(&hierarchy.root, &self.path, AtFlags::REMOVEDIR);
            }
        }
    }

    /// Path below the root of each hierarchy, without a leading slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Directory in the version 2 hierarchy, for `CLONE_INTO_CGROUP`; `None` on pure version 1.
    pub fn v2_dir(&self) -> Option<BorrowedFd<'_>> {
        self.dirs[self.hierarchies.v2_index()?].as_ref().map(AsFd::as_fd)
    }

    /// Its directory in each hierarchy, in the order of [`Hierarchies::mounts_for_container`]; `None`: not there.
    pub fn directories(&self) -> impl Iterator<Item = Option<BorrowedFd<'_>>> {
        self.dirs.iter().map(|dir| dir.as_ref().map(AsFd::as_fd))
    }

    /// Whether [`Cgroup::join`] is needed beside `CLONE_INTO_CGROUP`: there are version 1 hierarchies.
    pub fn needs_join(&self) -> bool {
        self.hierarchies.needs_join()
    }

    /// The hierarchies that have this cgroup, with its directory in each.
    pub(crate) fn present(&self) -> impl Iterator<Item = (&Hierarchy, BorrowedFd<'_>)> {
        self.hierarchies.all.iter().zip(&self.dirs).filter_map(|(h, dir)| Some((h, dir.as_ref()?.as_fd())))
    }

    /// Hierarchy and directory by index.
    pub(crate) fn at(&self, index: usize) -> Result<(&Hierarchy, BorrowedFd<'_>)> {
        let dir = self.dirs[index]
            .as_ref()
            .ok_or_else(|| Error::NotFound { path: self.hierarchies.all[index].host_path(&self.path, "") })?;
        Ok((&self.hierarchies.all[index], dir.as_fd()))
    }
}
