//! Everything that is mounted into the root, made detached and attached by descriptor.

use std::os::fd::{AsFd, OwnedFd};

use oci::runtime::{Mount, Spec};
use rustix::fs::OFlags;
use sys::mount::{Filesystem, propagation};
use sys::root::Root;

use super::error::Error;
use crate::mount_option::{self, Options};

/// `PROC_SUPER_MAGIC` of `<linux/magic.h>`.
const PROC_MAGIC: u64 = 0x9fa0;

/// Files in `/proc` that may be mounted over, as runc and lxcfs have it.
const PROC_TARGETS: [&str; 8] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
];

/// A mount of the specification whose options were understood and whose source, if it is the host's, is open.
#[derive(Debug)]
pub struct Prepared<'a> {
    mount: &'a Mount,
    options: Options,
    source: Option<OwnedFd>,
}

/// Opens the sources of bind mounts, while the host's mounts can still be seen with their propagation.
pub fn prepare(spec: &Spec) -> Result<Vec<Prepared<'_>>, Error> {
    spec.mounts.iter().map(prepare_one).collect()
}

fn prepare_one(mount: &Mount) -> Result<Prepared<'_>, Error> {
    if !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() {
        return Err(Error::Unsupported(format!("id-mapped mount on {} is not supported yet", mount.destination)));
    }
    let mut options = mount_option::parse(&mount.options)
        .map_err(|unsupported| Error::Unsupported(format!("{unsupported} (mount on {})", mount.destination)))?;
    if mount.kind == "bind" && options.bind.is_none() {
        options.bind = Some(false);
    }
    let source = options
        .bind
        .map(|recursive| sys::mount::clone_path(&mount.source, recursive))
        .transpose()
        .map_err(|source| Error::Source { path: mount.source.clone(), source })?;
    Ok(Prepared { mount, options, source })
}

/// Whether a mount puts something that exists already on `/dev`.
pub fn binds_dev(mount: &Mount) -> bool {
    let bind = mount.kind == "bind" || mount.options.iter().any(|option| option == "bind" || option == "rbind");
    bind && mount.destination.split('/').filter(|part| !part.is_empty() && *part != ".").eq(["dev"])
}

/// The mounts that later steps work in.
#[derive(Debug, Default)]
pub struct Known {
    /// The container's procfs, of which we know that it is one.
    pub proc: Option<OwnedFd>,
    /// The tmpfs on `/dev`, if it is one of ours.
    pub dev: Option<OwnedFd>,
}

/// Makes and attaches every mount.
pub fn attach_all(
    root: &Root<'_>,
    prepared: Vec<Prepared<'_>>,
    cgroup: Option<&cgroup::Hierarchies>,
) -> Result<Known, Error> {
    let mut known = Known::default();
    for Prepared { mount, options, source } in prepared {
        let failed = |complaint| {
            move |source| Error::Mount {
                kind: if mount.kind.is_empty() { "bind".to_owned() } else { mount.kind.clone() },
                target: mount.destination.clone(),
                complaint,
                source,
            }
        };
        let made = match (source, mount.kind.as_str()) {
            (Some(clone), _) => {
                change(&clone, &options).map_err(failed(None))?;
                clone
            }
            (None, "cgroup" | "cgroup2") => {
                let Some(hierarchies) = cgroup else { continue };
                cgroup_mount(root, mount, &options, hierarchies)?;
                continue;
            }
            (None, kind) => {
                let filesystem = Filesystem::open(kind).map_err(failed(None))?;
                filesystem_mount(&filesystem, mount, &options).map_err(|error| failed(filesystem.complaint())(error))?
            }
        };
        if mount.kind == "tmpfs" && mount.destination == "/dev" {
            super::devices::populate(&made)?;
        }
        let target = target(root, mount, &made)?;
        sys::mount::attach(&made, &target).map_err(failed(None))?;
        if options.bind.is_none() {
            match mount.kind.as_str() {
                "proc" => known.proc = Some(made),
                "tmpfs" if mount.destination == "/dev" => known.dev = Some(made),
                _ => {}
            }
        }
    }
    Ok(known)
}

/// Attributes and propagation of a detached clone. Private unless something else is asked for.
fn change(clone: &OwnedFd, options: &Options) -> std::io::Result<()> {
    if options.set != 0 || options.clear != 0 {
        sys::mount::set_attributes(clone, false, options.set, options.clear, 0)?;
    }
    if options.recursive_set != 0 || options.recursive_clear != 0 {
        sys::mount::set_attributes(clone, true, options.recursive_set, options.recursive_clear, 0)?;
    }
    let (kind, recursive) = options.propagation.unwrap_or((propagation::PRIVATE, true));
    sys::mount::set_attributes(clone, recursive, 0, 0, kind)
}

fn filesystem_mount(filesystem: &Filesystem, mount: &Mount, options: &Options) -> std::io::Result<OwnedFd> {
    filesystem.string("source", if mount.source.is_empty() { mount.kind.as_str() } else { mount.source.as_str() })?;
    for (key, value) in &options.data {
        match value {
            Some(value) => filesystem.string(key, value.as_str())?,
            // devpts makes a new instance for every mount; the option is of older kernels.
            None if key == "newinstance" => {}
            None => filesystem.flag(key)?,
        }
    }
    filesystem.mount(options.set | options.recursive_set)
}

/// The directory or file to mount on, made when missing.
fn target(root: &Root<'_>, mount: &Mount, made: &OwnedFd) -> Result<OwnedFd, Error> {
    let failed =
        |source| Error::Mount { kind: mount.kind.clone(), target: mount.destination.clone(), complaint: None, source };
    if matches!(mount.kind.as_str(), "proc" | "sysfs")
        && mount.destination.split('/').filter(|p| !p.is_empty()).count() == 1
    {
        // An image may ship /proc as a link, so that what we write to it later lands elsewhere (CVE-2019-19921).
        let name = mount.destination.trim_matches('/');
        match rustix::fs::statat(root, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::Directory => {
                return Err(Error::Invalid(format!("{} of the image is not a directory", mount.destination)));
            }
            _ => {}
        }
    }
    let stat = rustix::fs::fstat(made).map_err(|errno| failed(errno.into()))?;
    let target = match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::Directory => root.ensure_directory(&mount.destination, 0o755).map_err(failed)?,
        _ => root.ensure_file(&mount.destination).map_err(failed)?,
    };
    let filesystem = rustix::fs::fstatfs(&target).map_err(|errno| failed(errno.into()))?.f_type as u64;
    let allowed = mount.kind == "proc" || PROC_TARGETS.contains(&mount.destination.as_str());
    if filesystem == PROC_MAGIC && !allowed {
        return Err(Error::Invalid(format!("\"{}\" is inside /proc and cannot be mounted on", mount.destination)));
    }
    Ok(target)
}

/// `/sys/fs/cgroup` as the container's own cgroup namespace shows it.
fn cgroup_mount(
    root: &Root<'_>,
    mount: &Mount,
    options: &Options,
    hierarchies: &cgroup::Hierarchies,
) -> Result<(), Error> {
    let failed =
        |source| Error::Mount { kind: "cgroup".to_owned(), target: mount.destination.clone(), complaint: None, source };
    let parts = hierarchies.mounts_for_container();
    let make = |part: &cgroup::ContainerMount| -> std::io::Result<OwnedFd> {
        let filesystem = Filesystem::open(part.fs_type)?;
        filesystem.string("source", "cgroup")?;
        for option in part.options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some((key, value)) => filesystem.string(key, value)?,
                None => filesystem.flag(option)?,
            }
        }
        filesystem.mount(options.set)
    };
    if let [only] = parts.as_slice()
        && only.name.is_empty()
    {
        let target = root.ensure_directory(&mount.destination, 0o755).map_err(failed)?;
        return sys::mount::attach(make(only).map_err(failed)?, &target).map_err(failed);
    }
    let tmpfs = Filesystem::open("tmpfs").map_err(failed)?;
    tmpfs.string("mode", "755").map_err(failed)?;
    let base = tmpfs.mount(options.set & !sys::mount::attribute::RDONLY).map_err(failed)?;
    for part in &parts {
        rustix::fs::mkdirat(&base, part.name.as_str(), 0o755.into()).map_err(|errno| failed(errno.into()))?;
        for link in &part.links {
            rustix::fs::symlinkat(part.name.as_str(), &base, link.as_str()).map_err(|errno| failed(errno.into()))?;
        }
    }
    let target = root.ensure_directory(&mount.destination, 0o755).map_err(failed)?;
    sys::mount::attach(&base, &target).map_err(failed)?;
    let base_root = Root::new(base.as_fd());
    for part in &parts {
        let directory =
            base_root.open(&part.name, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW).map_err(failed)?;
        sys::mount::attach(make(part).map_err(failed)?, &directory).map_err(failed)?;
    }
    if options.set & sys::mount::attribute::RDONLY != 0 {
        sys::mount::set_attributes(&base, false, sys::mount::attribute::RDONLY, 0, 0).map_err(failed)?;
    }
    Ok(())
}
