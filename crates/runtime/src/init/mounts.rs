//! Everything that is mounted into the root, made detached and attached by descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oci::runtime::{Device, Mount};
use rustix::fs::OFlags;
use sys::mount::{Filesystem, attribute, propagation};
use sys::process::SingleThreaded;
use sys::root::Root;

use super::error::Error;
use super::user_namespace::UserNamespace;
use super::{copy_up, devices};
use crate::mount_option::{Idmap, Options};
use crate::plan::{MountPlan, Plan};

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

/// Filesystems that a user namespace may mount only together with a namespace of its own, and the host's instead.
const HOST_INSTEAD: [(&str, &str); 3] = [("sysfs", "/sys"), ("mqueue", "/dev/mqueue"), ("proc", "/proc")];

/// A mount, and what of it was made before the container's namespaces were.
#[derive(Debug)]
pub struct Prepared<'a> {
    plan: &'a MountPlan<'a>,
    made: Option<OwnedFd>,
}

/// Opens the sources of bind mounts, while the host's mounts can still be seen with their propagation.
///
/// `user`: the container's user namespace. `outside`: this process has not entered it yet, and makes what only the host may.
/// `shm`: what is bound on `/dev/shm`, where no path leads to it.
pub fn prepare<'a>(
    proof: SingleThreaded,
    plan: &'a Plan<'a>,
    devices: &[Device],
    user: Option<&UserNamespace>,
    outside: bool,
    shm: Option<BorrowedFd<'_>>,
) -> Result<Vec<Prepared<'a>>, Error> {
    let one = |plan: &'a MountPlan<'a>| {
        let mount = plan.mount;
        let made = if plan.options.remount {
            None
        } else if let Some(recursive) = plan.options.bind {
            let failed = |source| Error::Source { path: mount.source.clone(), source };
            let clone = match shm.filter(|_| mount.destination == "/dev/shm") {
                Some(given) => given.try_clone_to_owned().map_err(failed)?,
                None => sys::mount::clone_path(&mount.source, recursive).map_err(failed)?,
            };
            if let Some(extent) = plan.options.idmap {
                idmap(proof, &clone, mount, extent, user)?;
            }
            change(&clone, &plan.options).map_err(failed)?;
            Some(clone)
        } else if outside && plan.is_dev() {
            let made = new_filesystem(mount, &plan.options)?;
            devices::populate(&made, user)?;
            if let Some(user) = user {
                devices::add_below_dev(&made, devices, user)?;
            }
            Some(made)
        } else {
            None
        };
        Ok(Prepared { plan, made })
    };
    plan.mounts.iter().map(one).collect()
}

fn idmap(
    proof: SingleThreaded,
    clone: &OwnedFd,
    mount: &Mount,
    extent: Idmap,
    user: Option<&UserNamespace>,
) -> Result<(), Error> {
    let recursive = extent == Idmap::Recursive;
    let failed = |source| Error::Path { path: format!("id-map the mount on {}", mount.destination), source };
    if mount.uid_mappings.is_empty() {
        let user = user.ok_or_else(|| Error::Invalid("an id-mapped mount without mappings".to_owned()))?;
        return sys::mount::set_idmap(clone, recursive, &user.descriptor).map_err(failed);
    }
    let own = UserNamespace::make(proof, &mount.uid_mappings, &mount.gid_mappings)?;
    sys::mount::set_idmap(clone, recursive, &own.descriptor).map_err(failed)
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

/// Makes and attaches every mount. `user`: this process is in a user namespace of the container's.
pub fn attach_all(
    root: &Root<'_>,
    prepared: Vec<Prepared<'_>>,
    cgroup: Option<&cgroup::Hierarchies>,
    user: bool,
) -> Result<Known, Error> {
    let mut known = Known::default();
    for Prepared { plan, made } in prepared {
        let MountPlan { mount, options } = plan;
        if options.remount {
            remount(root, mount, options)?;
            continue;
        }
        let is_cgroup = matches!(mount.kind.as_str(), "cgroup" | "cgroup2");
        let mut instead = false;
        let mut unfinished = false;
        let made = match made {
            Some(made) => made,
            None if is_cgroup => {
                if let Some(hierarchies) = cgroup {
                    cgroup_mount(root, mount, options, hierarchies)?;
                }
                continue;
            }
            None => {
                let made = match new_filesystem(mount, options) {
                    Err(Error::Mount { source, .. })
                        if user
                            && source.kind() == std::io::ErrorKind::PermissionDenied
                            && host_path(mount).is_some() =>
                    {
                        instead = true;
                        host_instead(mount, options)?
                    }
                    other => other?,
                };
                if plan.is_dev() {
                    unfinished = devices::populate(&made, None)?;
                }
                made
            }
        };
        let failed = |source| failure(mount, None, source);
        let target = target(root, mount, &made)?;
        if options.copy_up {
            copy_up::copy(&target, &made).map_err(failed)?;
        }
        sys::mount::attach(&made, &target).map_err(failed)?;
        if options.bind.is_some() {
            continue;
        }
        if let Some((kind, recursive)) = options.propagation {
            sys::mount::set_attributes(&made, recursive, 0, 0, kind).map_err(failed)?;
        }
        if unfinished {
            devices::bind_default(&made)?;
        }
        if mount.kind == "proc" && !instead {
            known.proc = Some(made);
        } else if plan.is_dev() {
            known.dev = Some(made);
        }
    }
    Ok(known)
}

fn failure(mount: &Mount, complaint: Option<String>, source: std::io::Error) -> Error {
    let kind = if mount.kind.is_empty() { "bind".to_owned() } else { mount.kind.clone() };
    Error::Mount { kind, target: mount.destination.clone(), complaint, source }
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

/// Changes what is mounted: attributes of the mount, and options of the filesystem if any are given.
///
/// `ro` is the mount's alone: the filesystem of `/sys`, for one, is everybody's.
fn remount(root: &Root<'_>, mount: &Mount, options: &Options) -> Result<(), Error> {
    let failed = |source| failure(mount, None, source);
    let target = root.open(&mount.destination, OFlags::PATH).map_err(failed)?;
    if options.set | options.clear != 0 {
        sys::mount::set_attributes(&target, false, options.set, options.clear, 0).map_err(failed)?;
    }
    if options.recursive_set | options.recursive_clear != 0 {
        sys::mount::set_attributes(&target, true, options.recursive_set, options.recursive_clear, 0).map_err(failed)?;
    }
    if let Some((kind, recursive)) = options.propagation {
        sys::mount::set_attributes(&target, recursive, 0, 0, kind).map_err(failed)?;
    }
    match options.data.is_empty() {
        true => Ok(()),
        false => sys::mount::reconfigure(&target, &options.data).map_err(failed),
    }
}

fn new_filesystem(mount: &Mount, options: &Options) -> Result<OwnedFd, Error> {
    let filesystem = Filesystem::open(&mount.kind).map_err(|source| failure(mount, None, source))?;
    let made = || -> std::io::Result<OwnedFd> {
        let source = if mount.source.is_empty() { mount.kind.as_str() } else { mount.source.as_str() };
        filesystem.string("source", source)?;
        for (key, value) in &options.data {
            match value {
                Some(value) => filesystem.string(key, value.as_str())?,
                // devpts makes a new instance for every mount; the option is of older kernels.
                None if key == "newinstance" => {}
                None => filesystem.flag(key)?,
            }
        }
        for hint in &options.hints {
            match filesystem.flag(hint) {
                Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {}
                other => other?,
            }
        }
        filesystem.mount(options.set | options.recursive_set)
    };
    made().map_err(|error| failure(mount, filesystem.complaint(), error))
}

fn host_path(mount: &Mount) -> Option<&'static str> {
    HOST_INSTEAD.iter().find(|(kind, _)| *kind == mount.kind).map(|(_, path)| *path)
}

/// The host's mount of a filesystem that this user namespace may not mount itself.
fn host_instead(mount: &Mount, options: &Options) -> Result<OwnedFd, Error> {
    let failed = |source| failure(mount, None, source);
    let clone = sys::mount::clone_path(host_path(mount).unwrap_or_default(), true).map_err(failed)?;
    sys::mount::set_attributes(&clone, true, options.set | options.recursive_set, 0, propagation::PRIVATE)
        .map_err(failed)?;
    Ok(clone)
}

/// The directory or file to mount on, made when missing.
fn target(root: &Root<'_>, mount: &Mount, made: &OwnedFd) -> Result<OwnedFd, Error> {
    let failed = |source| failure(mount, None, source);
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
    let failed = |source| failure(mount, None, source);
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
        filesystem.mount(options.set | options.recursive_set)
    };
    if let [only] = parts.as_slice()
        && only.name.is_empty()
    {
        let target = root.ensure_directory(&mount.destination, 0o755).map_err(failed)?;
        return sys::mount::attach(make(only).map_err(failed)?, &target).map_err(failed);
    }
    let tmpfs = Filesystem::open("tmpfs").map_err(failed)?;
    tmpfs.string("mode", "755").map_err(failed)?;
    let read_only = (options.set | options.recursive_set) & attribute::RDONLY != 0;
    let base = tmpfs.mount((options.set | options.recursive_set) & !attribute::RDONLY).map_err(failed)?;
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
    if read_only {
        sys::mount::set_attributes(&base, false, attribute::RDONLY, 0, 0).map_err(failed)?;
    }
    Ok(())
}
