//! Put limits in force.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oci::runtime::Resources;
use rustix::io::Errno;

use crate::devices::Policy;
use crate::devices_bpf::assemble;
use crate::error::{Error, Result};
use crate::file::{open_write, put, read_file};
use crate::group::Cgroup;
use crate::hierarchies::Hierarchy;
use crate::plan::Write;
use crate::{Controller, plan, plan_v1, plan_v2};

impl Cgroup {
    /// Sets every limit that `resources` names; what it does not name stays as it is.
    ///
    /// Each controller's values go to the hierarchy that has it, so a hybrid layout needs nothing special. Everything is
    /// validated before the first write.
    pub fn apply(&self, resources: &Resources) -> Result<()> {
        let hierarchies = &self.hierarchies;
        let foreign = |(controller, _): &(Controller, _)| match hierarchies.home(*controller) {
            Some(at) => hierarchies.all[at].v2,
            None => !self.needs_join(),
        };
        if let Some((_, what)) = plan::without_v2(resources).into_iter().find(foreign) {
            return Err(Error::NotInV2 { what });
        }
        let in_v1 = |write: &Write| hierarchies.home(write.controller).is_some_and(|at| !hierarchies.all[at].v2);
        let in_v2 = |write: &Write| hierarchies.home(write.controller).is_some_and(|at| hierarchies.all[at].v2);
        let v1 = if self.needs_join() { plan_v1(resources)? } else { Vec::new() };
        let v2 = if hierarchies.v2_index().is_some() { plan_v2(resources)? } else { Vec::new() };
        let lacks = |write: &&Write| hierarchies.home(write.controller).is_none() && !write.optional;
        if let Some(write) = v1.iter().chain(&v2).find(lacks) {
            return Err(Error::MissingController { controller: write.controller.v1_name() });
        }
        let filter_by_bpf = hierarchies.home(Controller::Devices).filter(|at| hierarchies.all[*at].v2);
        let policy = match filter_by_bpf {
            Some(_) if !resources.devices.is_empty() => Some(Policy::of(&resources.devices)?),
            _ => None,
        };
        let unified = self.plan_unified(resources)?;
        self.check_usage(resources)?;

        self.carry_out(&v1, &in_v1)?;
        self.carry_out(&v2, &in_v2)?;
        if let (Some(at), Some(policy)) = (filter_by_bpf, policy) {
            self.filter_devices(at, &policy)?;
        }
        self.write_unified(&unified)
    }

    fn carry_out(&self, writes: &[Write], belongs: &dyn Fn(&Write) -> bool) -> Result<()> {
        // Device rules are many values for one file, one write each: the descriptor of the last file stays open.
        let mut last: Option<(&str, OwnedFd)> = None;
        let mut at = 0;
        while let Some(write) = writes.get(at) {
            at += 1;
            if !belongs(write) {
                continue;
            }
            let index = self.hierarchies.home(write.controller).expect("belongs() has found the hierarchy");
            let (hierarchy, dir) = self.at(index)?;
            let open = last.take().filter(|(file, _)| *file == write.file);
            let result = match &open {
                Some((_, file)) => put(file.as_fd(), &write.value),
                None => match open_write(dir, &write.file) {
                    Ok(file) => {
                        let result = put(file.as_fd(), &write.value);
                        last = Some((&write.file, file));
                        result
                    }
                    Err(errno) => Err(errno),
                },
            };
            last = last.or(open);
            match (result, writes.get(at)) {
                (Err(Errno::INVAL), Some(next)) if write.paired => {
                    self.put_one(hierarchy, dir, next)?;
                    self.put_one(hierarchy, dir, write)?;
                    at += 1;
                }
                (result, _) => self.accept(hierarchy, dir, write, result)?,
            }
        }
        Ok(())
    }

    fn put_one(&self, hierarchy: &Hierarchy, dir: BorrowedFd<'_>, write: &Write) -> Result<()> {
        let result = open_write(dir, &write.file).and_then(|file| put(file.as_fd(), &write.value));
        self.accept(hierarchy, dir, write, result)
    }

    /// Decides whether a failed write counts, and tries the other file where there is one.
    fn accept(
        &self,
        hierarchy: &Hierarchy,
        dir: BorrowedFd<'_>,
        write: &Write,
        result: Result<(), Errno>,
    ) -> Result<()> {
        let missing = |errno| matches!(errno, Errno::NOENT | Errno::OPNOTSUPP);
        let (file, result) = match (result, &write.instead) {
            (Err(errno), Some((file, value))) if missing(errno) => {
                (file, open_write(dir, file).and_then(|opened| put(opened.as_fd(), value)))
            }
            (result, _) => (&write.file, result),
        };
        match result {
            Ok(()) => Ok(()),
            Err(errno) if missing(errno) && write.optional => Ok(()),
            Err(Errno::PERM) if write.yields => Ok(()),
            Err(errno) => Err(self.missing_or_io(hierarchy, dir, write.controller, file, errno)),
        }
    }

    fn missing_or_io(
        &self,
        hierarchy: &Hierarchy,
        dir: BorrowedFd<'_>,
        controller: Controller,
        file: &str,
        errno: Errno,
    ) -> Error {
        let path = hierarchy.host_path(&self.path, file);
        match errno {
            // Without a controller in the parent's subtree_control, its files are not there at all.
            Errno::NOENT if hierarchy.v2 && !is_enabled(dir, controller) => {
                Error::MissingController { controller: controller.v2_name().unwrap_or(controller.v1_name()) }
            }
            Errno::NOENT | Errno::OPNOTSUPP => Error::MissingFile { file: file.to_owned(), path },
            Errno::BUSY => Error::Busy { path },
            errno => Error::io("write", path, errno),
        }
    }

    /// `checkBeforeUpdate`: version 2 would rather kill than refuse a limit below the usage.
    fn check_usage(&self, resources: &Resources) -> Result<()> {
        let Some(memory) = resources.memory.as_ref().filter(|memory| memory.check_before_update == Some(true)) else {
            return Ok(());
        };
        let Some(limit) = memory.limit.and_then(|limit| u64::try_from(limit).ok()).filter(|limit| *limit != 0) else {
            return Ok(());
        };
        let usage = self.memory_usage()?;
        if limit < usage { Err(Error::LimitBelowUsage { limit, usage }) } else { Ok(()) }
    }

    fn filter_devices(&self, index: usize, policy: &Policy) -> Result<()> {
        let (hierarchy, dir) = self.at(index)?;
        let failed = |op: &'static str| {
            move |source| Error::DeviceFilter { op, path: hierarchy.host_path(&self.path, ""), source }
        };
        let before = sys::bpf::device_filters(dir).map_err(failed("query"))?;
        if !policy.allows_everything() {
            let program = sys::bpf::load_device_filter(&assemble(policy)).map_err(failed("load"))?;
            sys::bpf::attach_device_filter(dir, program.as_fd()).map_err(failed("attach"))?;
        }
        // The new program is in force before the old ones go: in between, both must agree.
        for program in &before {
            sys::bpf::detach_device_filter(dir, program.as_fd()).map_err(failed("detach"))?;
        }
        Ok(())
    }

    fn plan_unified<'a>(&self, resources: &'a Resources) -> Result<Vec<(&'a str, &'a str)>> {
        let mut writes = Vec::new();
        for (key, value) in &resources.unified {
            let plain = !key.is_empty() && key.len() <= 255 && !key.contains(['/', '\0']) && key != "." && key != "..";
            // Files of the core would move or kill processes, which is not a limit.
            if !plain || matches!(key.as_str(), "cgroup.procs" | "cgroup.threads" | "cgroup.kill" | "cgroup.freeze") {
                return Err(Error::InvalidValue { what: "unified key", value: key.clone() });
            }
            if self.v2_dir().is_none() {
                return Err(Error::UnifiedNeedsV2 { key: key.clone() });
            }
            // Files that take a setting per device take one line per write.
            writes.extend(value.lines().map(|line| (key.as_str(), line)));
        }
        Ok(writes)
    }

    fn write_unified(&self, writes: &[(&str, &str)]) -> Result<()> {
        let Some(index) = self.hierarchies.v2_index() else { return Ok(()) };
        for (key, value) in writes {
            let (hierarchy, dir) = self.at(index)?;
            let result = open_write(dir, key).and_then(|file| put(file.as_fd(), value));
            result.map_err(|errno| match errno {
                Errno::NOENT if self.needs_join() => Error::UnifiedNeedsV2 { key: (*key).to_owned() },
                Errno::NOENT => {
                    Error::MissingFile { file: (*key).to_owned(), path: hierarchy.host_path(&self.path, key) }
                }
                errno => Error::io("write", hierarchy.host_path(&self.path, key), errno),
            })?;
        }
        Ok(())
    }
}

fn is_enabled(dir: BorrowedFd<'_>, controller: Controller) -> bool {
    let text = read_file(dir, "cgroup.controllers").unwrap_or_default();
    controller.v2_name().is_some_and(|name| text.split_whitespace().any(|own| own == name))
}
