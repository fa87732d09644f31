//! Giving up rights, in the only order that works: filter, bounding set, groups, user, capability sets.

use std::io;

use oci::runtime::Process;
use rustix::fs::{Gid, Uid};
use rustix::thread::CapabilitySet;
use sys::seccomp::Instruction;

use super::error::Error;
use crate::user::Identity;

/// setrlimit(2)'s names; the index is the number.
const RLIMITS: [&str; 16] = [
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];

/// Sets the limits. Where the host refuses to raise one (no `CAP_SYS_RESOURCE`), what is possible is used.
pub fn set_rlimits(process: &Process) -> Result<(), Error> {
    for limit in &process.rlimits {
        let number = RLIMITS.iter().position(|name| *name == limit.kind);
        let number = number.ok_or_else(|| Error::Invalid(format!("unknown rlimit {}", limit.kind)))? as u32;
        match sys::process::set_rlimit(number, limit.soft, limit.hard) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let (_, hard) = sys::process::rlimit(number).map_err(Error::step("read rlimit"))?;
                let hard = hard.min(limit.hard);
                sys::process::set_rlimit(number, limit.soft.min(hard), hard).map_err(Error::step("set rlimit"))?;
            }
            other => other.map_err(Error::step("set rlimit"))?,
        }
    }
    Ok(())
}

/// Becomes the user, with the capabilities of `process` as far as this process holds them, under the filter.
pub fn drop_to(identity: &Identity, process: &Process, filter: Option<&Filter>) -> Result<(), Error> {
    let os = |what| move |errno: rustix::io::Errno| Error::Step { what, source: errno.into() };
    // Without no_new_privs a filter takes CAP_SYS_ADMIN, so it comes first; with it, last.
    if let Some(filter) = filter.filter(|_| !process.no_new_privileges) {
        filter.install()?;
    }
    let sets = process.capabilities.as_ref().map(|wanted| -> Result<_, Error> {
        let held = rustix::thread::capabilities(None).map_err(os("read capabilities"))?.permitted;
        let set = |names: &[String]| {
            oci::capability::CapSet::from_names(names)
                .map(|set| CapabilitySet::from_bits_retain(set.bits()) & held)
                .map_err(|error| Error::Invalid(error.to_string()))
        };
        Ok((
            set(&wanted.bounding)?,
            set(&wanted.permitted)?,
            set(&wanted.effective)?,
            set(&wanted.inheritable)?,
            set(&wanted.ambient)?,
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
    let groups: Vec<Gid> = identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    rustix::thread::set_thread_groups(&groups).map_err(os("setgroups"))?;
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
        if let Some(filter) = filter {
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
}

impl Filter {
    fn install(&self) -> Result<(), Error> {
        sys::seccomp::install(&self.program, self.flags).map(|_| ()).map_err(Error::step("install the seccomp filter"))
    }
}
