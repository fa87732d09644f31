//! Give a cgroup another name.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, renameat, unlinkat};
use rustix::io::Errno;

use crate::create::create_in;
use crate::error::{Error, Result};
use crate::file::{read_file, write_file};
use crate::group::Cgroup;
use crate::hierarchies::relative;

impl Cgroup {
    /// Replaces the last component of the path; processes and limits stay.
    ///
    /// Version 1 directories are renamed, which costs a few microseconds each. Version 2 has no rename: a new directory is
    /// made and processes that are in the old one are moved (a parked process therefore joins version 1 only, see
    /// [`Cgroup::join_v1`]); limits set on the version 2 directory before are lost, so apply them afterwards.
    /// On an error, the hierarchies that were renamed get the old name back.
    pub fn rename(&mut self, new_name: &str) -> Result<()> {
        if new_name.contains('/') {
            return Err(Error::InvalidPath { path: new_name.to_owned() });
        }
        relative(new_name)?;
        let new_path = match self.path.rfind('/') {
            Some(end) => format!("{}/{new_name}", &self.path[..end]),
            None => new_name.to_owned(),
        };
        if new_path == self.path {
            return Ok(());
        }
        let hierarchies = self.hierarchies.clone();
        for index in 0..hierarchies.all.len() {
            let hierarchy = &hierarchies.all[index];
            let result = match (&self.dirs[index], hierarchy.v2) {
                (None, _) => continue,
                (Some(_), false) => renameat(&hierarchy.root, &self.path, &hierarchy.root, &new_path)
                    .map_err(|errno| renaming_error(errno, hierarchy.host_path(&self.path, ""))),
                (Some(_), true) => self.replace_v2(index, &new_path),
            };
            if let Err(error) = result {
                for (done, hierarchy) in hierarchies.all[..index].iter().enumerate() {
                    if self.dirs[done].is_some() {
                        let _ = renameat(&hierarchy.root, &new_path, &hierarchy.root, &self.path);
                    }
                }
                return Err(error);
            }
        }
        self.path = new_path;
        Ok(())
    }

    fn replace_v2(&mut self, index: usize, new_path: &str) -> Result<()> {
        let hierarchies = self.hierarchies.clone();
        let hierarchy = &hierarchies.all[index];
        let (dir, made) = create_in(hierarchy, new_path)?;
        let result = self.empty_into(index, new_path, &dir);
        if result.is_err() && made {
            let _ = unlinkat(&hierarchy.root, new_path, AtFlags::REMOVEDIR);
        }
        result?;
        self.dirs[index] = Some(dir);
        Ok(())
    }

    /// Moves the processes of the version 2 directory into `dir` and removes the old directory.
    fn empty_into(&self, index: usize, new_path: &str, dir: &OwnedFd) -> Result<()> {
        let hierarchy = &self.hierarchies.all[index];
        if let Some(old) = &self.dirs[index] {
            let procs = read_file(old, "cgroup.procs")
                .map_err(|errno| Error::io("read", hierarchy.host_path(&self.path, "cgroup.procs"), errno))?;
            for pid in procs.lines() {
                match write_file(dir, "cgroup.procs", pid) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(errno) => {
                        return Err(Error::io("write", hierarchy.host_path(new_path, "cgroup.procs"), errno));
                    }
                }
            }
        }
        unlinkat(&hierarchy.root, &self.path, AtFlags::REMOVEDIR)
            .map_err(|errno| renaming_error(errno, hierarchy.host_path(&self.path, "")))
    }
}

fn renaming_error(errno: Errno, path: String) -> Error {
    match errno {
        Errno::BUSY => Error::Busy { path },
        Errno::NOENT => Error::NotFound { path },
        errno => Error::io("rename", path, errno),
    }
}
