//! AppArmor profile and SELinux label of the process to be run (proc(5), `/proc/self/attr`).

use std::io::Write;
use std::os::fd::OwnedFd;

use oci::runtime::Process;
use rustix::fs::{Mode, OFlags};

use super::error::Error;

/// `PROC_SUPER_MAGIC` of `<linux/magic.h>`.
const PROC_MAGIC: u64 = 0x9fa0;

/// What to write, and the host's procfs to write it to: the container's may be anything (CVE-2019-16884).
#[derive(Debug)]
pub struct Labels {
    proc: OwnedFd,
    /// Files to try in turn, and the text.
    writes: Vec<(&'static [&'static str], String)>,
}

/// Whether the kernel has AppArmor and it is on.
pub fn has_apparmor() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.first() == Some(&b'Y'))
}

/// Whether the kernel has SELinux and it is on.
pub fn has_selinux() -> bool {
    std::fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.contains("\tselinuxfs"))
        && std::path::Path::new("/sys/fs/selinux/enforce").exists()
}

/// The label for filesystems that are made for a container.
///
/// Without SELinux no process has a label that one of these could keep out or let in, and none is set; `create` notes it.
pub fn of_mounts(label: &str) -> Option<&str> {
    Some(label).filter(|label| !label.is_empty() && has_selinux())
}

/// Checks what the process asks for against the kernel. Before the host's paths are out of sight.
pub fn prepare(process: &Process) -> Result<Option<Labels>, Error> {
    let mut writes: Vec<(&'static [&'static str], String)> = Vec::new();
    let (profile, label) = (&process.apparmor_profile, &process.selinux_label);
    if !profile.is_empty() {
        match (has_apparmor(), profile.as_str()) {
            (true, _) => writes.push((&["self/attr/apparmor/exec", "self/attr/exec"], format!("exec {profile}"))),
            // What everything is without it.
            (false, "unconfined") => {}
            (false, _) => {
                let text = format!("process.apparmorProfile \"{profile}\": AppArmor is not enabled in this kernel");
                return Err(Error::Unsupported(text));
            }
        }
    }
    if !label.is_empty() {
        if !has_selinux() {
            let text = format!("process.selinuxLabel \"{label}\": SELinux is not enabled in this kernel");
            return Err(Error::Unsupported(text));
        }
        writes.push((&["self/attr/exec"], label.clone()));
    }
    if writes.is_empty() {
        return Ok(None);
    }
    let proc = super::procfs::open().map_err(Error::step("open /proc"))?;
    Ok(Some(Labels { proc, writes }))
}

impl Labels {
    /// Goes on with the container's own procfs, after making sure that it is one: for a process that others in the
    /// container can look into, and that must not have the host's.
    pub fn leave_host(&mut self) -> Result<(), Error> {
        /// `PROC_ROOT_INO` of the kernel.
        const ROOT_INODE: u64 = 1;
        let failed =
            |errno: rustix::io::Errno| Error::Step { what: "open the container's /proc", source: errno.into() };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let proc = rustix::fs::open("/proc", flags, Mode::empty()).map_err(failed)?;
        let is_proc = rustix::fs::fstatfs(&proc).map_err(failed)?.f_type as u64 == PROC_MAGIC
            && rustix::fs::fstat(&proc).map_err(failed)?.st_ino == ROOT_INODE;
        if !is_proc {
            return Err(Error::Invalid("the container's /proc is not a procfs".to_owned()));
        }
        self.proc = proc;
        Ok(())
    }

    /// For the next exec of this very process.
    pub fn set(&self) -> Result<(), Error> {
        for (files, text) in &self.writes {
            let failed = |source| Error::Path { path: format!("set label \"{text}\""), source };
            let opened = files.iter().map(|name| super::procfs::file(&self.proc, name)).reduce(Result::or);
            let mut file = opened.unwrap_or(Err(std::io::ErrorKind::NotFound.into())).map_err(failed)?;
            file.write_all(text.as_bytes()).map_err(failed)?;
        }
        Ok(())
    }
}
