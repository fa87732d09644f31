//! Masked and read-only paths, and sysctls: all through descriptors of filesystems of which we know what they are.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use sys::mount::{Filesystem, attribute};
use sys::root::Root;

use super::error::Error;
use super::namespaces::Separate;

fn missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Hides paths: directories below one empty read-only tmpfs, files behind the null device.
pub fn mask(root: &Root<'_>, paths: &[String], null: Option<&OwnedFd>) -> Result<(), Error> {
    // Cloned from where it is attached: kernels before 6.15 do not clone a mount that is nowhere.
    let mut empty: Option<OwnedFd> = None;
    for path in paths {
        let failed = |source| Error::Path { path: format!("mask {path}"), source };
        let target = match root.open(path, OFlags::PATH) {
            Ok(target) => target,
            Err(error) if missing(&error) => continue,
            Err(error) => return Err(failed(error)),
        };
        let stat = rustix::fs::fstat(&target).map_err(|errno| failed(errno.into()))?;
        let cover = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            match &empty {
                Some(empty) => sys::mount::clone_descriptor(empty, false).map_err(failed)?,
                None => {
                    let tmpfs = Filesystem::open("tmpfs").map_err(failed)?;
                    // Without blocks or files to give, so that nothing can be left in it even by a privileged process.
                    tmpfs.string("nr_blocks", "1").map_err(failed)?;
                    tmpfs.string("nr_inodes", "1").map_err(failed)?;
                    let attributes = attribute::RDONLY | attribute::NOSUID | attribute::NODEV | attribute::NOEXEC;
                    let made = tmpfs.mount(attributes).map_err(failed)?;
                    sys::mount::attach(&made, &target).map_err(failed)?;
                    empty = Some(made);
                    continue;
                }
            }
        } else {
            let null = null.ok_or_else(|| Error::Invalid("masking a file needs /dev/null".to_owned()))?;
            sys::mount::clone_descriptor(null, false).map_err(failed)?
        };
        sys::mount::attach(&cover, &target).map_err(failed)?;
    }
    Ok(())
}

/// Makes paths read-only, each together with what is mounted below it.
pub fn make_readonly(root: &Root<'_>, paths: &[String]) -> Result<(), Error> {
    for path in paths {
        let failed = |source| Error::Path { path: format!("make {path} read-only"), source };
        let target = match root.open(path, OFlags::PATH) {
            Ok(target) => target,
            Err(error) if missing(&error) => continue,
            Err(error) => return Err(failed(error)),
        };
        let clone = sys::mount::clone_descriptor(&target, true).map_err(failed)?;
        sys::mount::set_attributes(&clone, true, attribute::RDONLY, 0, 0).map_err(failed)?;
        sys::mount::attach(&clone, &target).map_err(failed)?;
    }
    Ok(())
}

/// Sysctls that belong to a namespace of the container's own; anything else would change the host.
fn namespaced(name: &str, own: Separate) -> bool {
    const IPC: [&str; 7] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
    ];
    if name.starts_with("net.") {
        return own.network;
    }
    if IPC.contains(&name) || name == "kernel.shm_rmid_forced" || name.starts_with("fs.mqueue.") {
        return own.ipc;
    }
    matches!(name, "kernel.hostname" | "kernel.domainname") && own.uts
}

/// Writes sysctls below the container's own procfs.
pub fn write_sysctls(proc: Option<&OwnedFd>, sysctls: &BTreeMap<String, String>, own: Separate) -> Result<(), Error> {
    for (name, value) in sysctls {
        if !namespaced(name, own) {
            return Err(Error::Invalid(format!("sysctl \"{name}\" is not in a separate kernel namespace")));
        }
        let failed = |source| Error::Sysctl { name: name.clone(), source };
        let proc = proc.ok_or_else(|| Error::Invalid(format!("sysctl \"{name}\" needs /proc")))?;
        // "net.ipv4.conf.eth0/1.x": in names, "/" stands for the dots that are not separators.
        let path: String = name
            .chars()
            .map(|character| match character {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect();
        let file = rustix::fs::openat2(
            proc.as_fd(),
            format!("sys/{path}"),
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS,
        )
        .map_err(|errno| failed(errno.into()))?;
        rustix::io::write(&file, value.as_bytes()).map_err(|errno| failed(errno.into()))?;
    }
    Ok(())
}
