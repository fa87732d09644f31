//! Giving up rights, in the only order that works: filter, bounding set, groups, user, capability sets.

use std::io;

use oci::runtime::Process;
use rustix::fs::{Gid, Uid};
use rustix::thread::CapabilitySet;
use sys::seccomp::{Flags, Instruction};

use super::error::Error;
use super::notify::Notify;
use crate::plan::ProcessPlan;
use crate::user::Identity;

/// Sets the limits. Where the host refuses to raise one (no `CAP_SYS_RESOURCE`), what is possible is used.
pub fn set_rlimits(plan: &ProcessPlan) -> Result<(), Error> {
    for (number, soft, hard) in plan.rlimits.iter().copied() {
        match sys::process::set_rlimit(number, soft, hard) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let (_, allowed) = sys::process::rlimit(number).map_err(Error::step("read rlimit"))?;
                let hard = allowed.min(hard);
                sys::process::set_rlimit(number, soft.min(hard), hard).map_err(Error::step("set rlimit"))?;
            }
            other => other.map_err(Error::step("set rlimit"))?,
        }
    }
    Ok(())
}

/// What the kernel's schedulers are to know of the process.
pub fn set_schedule(plan: &ProcessPlan) -> Result<(), Error> {
    if let Some(cpus) = &plan.final_cpus {
        sys::schedule::set_affinity(cpus).map_err(Error::step("set process.execCPUAffinity"))?;
    }
    if let Some(attributes) = &plan.scheduler {
        sys::schedule::set_attributes(attributes).map_err(Error::step("set process.scheduler"))?;
    }
    if let Some(priority) = plan.io_priority {
        sys::schedule::set_io_priority(priority).map_err(Error::step("set process.ioPriority"))?;
    }
    Ok(())
}

/// setgroups(2), which a user namespace of somebody without rights has given up: then only as far as nothing is lost.
fn set_groups(identity: &Identity) -> Result<(), Error> {
    let groups: Vec<Gid> = identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    match rustix::thread::set_thread_groups(&groups) {
        Err(rustix::io::Errno::PERM) if identity.groups.iter().all(|gid| *gid == identity.gid) => Ok(()),
        other => other.map_err(|errno| Error::Step { what: "setgroups", source: errno.into() }),
    }
}

/// Becomes the user, with the capabilities of `process` as far as this process holds them, under the filter.
pub fn drop_to(identity: &Identity, process: &Process, filter: Option<&mut Filter>) -> Result<(), Error> {
    let os = |what| move |errno: rustix::io::Errno| Error::Step { what, source: errno.into() };
    // Without no_new_privs a filter takes CAP_SYS_ADMIN, so it comes first; with it, last.
    let (early, late) = if process.no_new_privileges { (None, filter) } else { (filter, None) };
    if let Some(filter) = early {
        filter.install()?;
    }
    let sets = process.capabilities.as_ref().map(|wanted| -> Result<_, Error> {
        let held = rustix::thread::capabilities(None).map_err(os("read capabilities"))?.permitted;
        let set = |names: &[String]| {
            CapabilitySet::from_bits_retain(oci::capability::CapSet::from_known_names(names).bits()) & held
        };
        Ok((
            set(&wanted.bounding),
            set(&wanted.permitted),
            set(&wanted.effective),
            set(&wanted.inheritable),
            set(&wanted.ambient),
        ))
    });
    let sets = sets.transpose()?;
    if let Some((bounding, ..)) = &sets {
        for number in 0..64u32 {
            let one = CapabilitySet::from_bits_retain(1 << number);
            if bounding.contains(one) {
                continue;
            }
            match rustix::thread::remove_capability_from_bounding_set(one) {
                Ok(()) => {}
                // Past the kernel's last capability.
                Err(rustix::io::Errno::INVAL) => break,
                Err(errno) => return Err(os("drop bounding capability")(errno)),
            }
        }
    }
    rustix::thread::set_keep_capabilities(true).map_err(os("keep capabilities"))?;
    set_groups(identity)?;
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(os("setgid"))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(os("setuid"))?;
    rustix::thread::set_keep_capabilities(false).map_err(os("keep capabilities"))?;
    if let Some((_, permitted, effective, inheritable, ambient)) = sets {
        let sets = rustix::thread::CapabilitySets { effective: effective & permitted, permitted, inheritable };
        rustix::thread::set_capabilities(None, sets).map_err(os("set capabilities"))?;
        for one in ambient.iter() {
            // Refused when it is not permitted and inheritable; crun and runc pass over it as well.
            let _ = rustix::thread::configure_capability_in_ambient_set(one, true);
        }
    }
    if process.no_new_privileges {
        rustix::thread::set_no_new_privs(true).map_err(os("set no_new_privs"))?;
        if let Some(filter) = late {
            filter.install()?;
        }
    }
    Ok(())
}

/// A compiled filter and the flags to install it with.
#[derive(Debug)]
pub struct Filter {
    pub program: std::rc::Rc<[Instruction]>,
    pub flags: sys::seccomp::Flags,
    /// Who gets the notifications, when the filter makes any.
    pub notify: Option<Notify>,
}

impl Filter {
    fn install(&mut self) -> Result<(), Error> {
        let failed = Error::step("install the seccomp filter");
        match self.notify.take() {
            None => sys::seccomp::install(&self.program, self.flags).map(drop).map_err(failed),
            Some(notify) => {
                let sender = notify.prepare()?;
                let flags = self.flags.without(Flags::TSYNC).union(Flags::NEW_LISTENER);
                let listener = sys::seccomp::install(&self.program, flags).map_err(&failed)?;
                sender.send(&listener.ok_or_else(|| failed(io::ErrorKind::Unsupported.into()))?)
            }
        }
    }
}
