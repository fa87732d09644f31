//! Everything that is mounted into the root, made detached and attached by descriptor.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use oci::runtime::{Device, Mount};
use rustix::fs::OFlags;
use sys::mount::{Filesystem, attribute, propagation};
use sys::process::SingleThreaded;
use sys::root::Root;

use super::error::Error;
use super::user_namespace::UserNamespace;
use super::{copy_up, devices, label};
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
const HOST_INSTEAD: [(&str, &str); 5] = [
    ("sysfs", "/sys"),
    ("mqueue", "/dev/mqueue"),
    ("proc", "/proc"),
    ("cgroup", "/sys/fs/cgroup"),
    ("cgroup2", "/sys/fs/cgroup"),
];

/// A mount, and what of it was made before the root was there.
#[derive(Debug)]
pub struct Prepared<'a> {
    plan: &'a MountPlan<'a>,
    made: Option<OwnedFd>,
    /// The host's own mount of it, since this user namespace may not make one.
    instead: bool,
    /// A `/dev` whose nodes are empty files so far.
    unfinished: bool,
    /// Made before those that come earlier in the list.
    early: bool,
    /// SELinux label of its files, if it is a filesystem of the container's own.
    label: Option<&'a str>,
}

impl<'a> Prepared<'a> {
    fn new(plan: &'a MountPlan<'a>, label: Option<&'a str>) -> Prepared<'a> {
        Prepared { plan, made: None, instead: false, unfinished: false, early: false, label }
    }

    /// Makes the filesystem, in the namespaces that the process is in.
    fn make(&mut self, user: bool) -> Result<(), Error> {
        let MountPlan { mount, options } = self.plan;
        let made = match new_filesystem(mount, options, self.label) {
            Err(Error::Mount { source, .. })
                if user && source.kind() == std::io::ErrorKind::PermissionDenied && host_path(mount).is_some() =>
            {
                self.instead = true;
                host_instead(mount, options)?
            }
            other => other?,
        };
        if self.plan.is_dev() {
            self.unfinished = devices::populate(&made, None)?;
        }
        self.made = Some(made);
        Ok(())
    }
}

/// Opens the sources of bind mounts, while the host's mounts can still be seen with their propagation, and makes
/// filesystems in the order of the list, which is then the order of `/proc/self/mountinfo`.
///
/// `user`: the container's user namespace. Without `cgroup` this process has not entered the container's namespaces yet,
/// and makes what only the host may. `given`: what is bound where no path leads to it, by destination.
pub fn prepare<'a>(
    proof: SingleThreaded,
    plan: &'a Plan<'a>,
    devices: &[Device],
    user: Option<&UserNamespace>,
    mut cgroup: Option<&mut CgroupParts<'_>>,
    given: &[(&str, BorrowedFd<'_>)],
) -> Result<Vec<Prepared<'a>>, Error> {
    let outside = cgroup.is_none();
    let label = label::of_mounts(plan.mount_label);
    let mut later = false;
    let one = |plan: &'a MountPlan<'a>| {
        let mount = plan.mount;
        let made = if plan.options.remount {
            return Ok(Prepared::new(plan, label));
        } else if let Some(recursive) = plan.options.bind {
            let failed = |source| Error::Source { path: mount.source.clone(), source };
            let clone = match given.iter().find(|(destination, _)| *destination == mount.destination) {
                Some((_, given)) => given.try_clone_to_owned().map_err(failed)?,
                None => sys::mount::clone_path(&mount.source, recursive).map_err(failed)?,
            };
            if let Some(extent) = plan.options.idmap {
                idmap(proof, &clone, mount, extent, user)?;
            }
            change(&clone, &plan.options).map_err(failed)?;
            Some(clone)
        } else if outside && plan.is_dev() {
            let made = new_filesystem(mount, &plan.options, label)?;
            devices::populate(&made, user)?;
            if let Some(user) = user {
                devices::add_below_dev(&made, devices, user)?;
            }
            Some(made)
        } else if let Some(cgroup) = cgroup.as_deref_mut() {
            if plan.is_cgroup() {
                let made = match cgroup.base(mount, &plan.options) {
                    Err(Error::Mount { source, .. })
                        if user.is_some() && source.kind() == std::io::ErrorKind::PermissionDenied =>
                    {
                        host_instead(mount, &plan.options)?
                    }
                    other => other?,
                };
                return Ok(Prepared { made: Some(made), ..Prepared::new(plan, label) });
            }
            let mut prepared = Prepared::new(plan, label);
            prepared.make(user.is_some())?;
            return Ok(prepared);
        } else {
            None
        };
        later |= made.is_none();
        let early = later && made.is_some();
        Ok(Prepared { made, early, ..Prepared::new(plan, label) })
    };
    plan.mounts.iter().map(one).collect()
}

/// The host's mount of each hierarchy, from the container's cgroup on, as detached copies: as
/// [`cgroup::Hierarchies::mounts_for_container`] lists them.
pub fn copies_of(group: &cgroup::Cgroup) -> Result<Vec<OwnedFd>, Error> {
    group
        .directories()
        .map(|directory| match directory {
            Some(directory) => sys::mount::clone_descriptor(directory, false),
            None => Err(std::io::ErrorKind::NotFound.into()),
        })
        .collect::<std::io::Result<_>>()
        .map_err(Error::step("copy the mounts of the cgroup"))
}

/// Attaches a mount that was made too early as a copy of itself, which has its place in `/proc/self/mountinfo` by when it
/// was made. What is unbindable cannot be copied and stays what it was.
fn attach_late(made: OwnedFd, target: &OwnedFd) -> std::io::Result<OwnedFd> {
    // Only what is attached in this namespace can be copied in it.
    sys::mount::attach(&made, target)?;
    let Ok(copy) = sys::mount::clone_descriptor(&made, true) else { return Ok(made) };
    sys::mount::detach_path(format!("/proc/self/fd/{}", made.as_raw_fd()))?;
    sys::mount::attach(&copy, target)?;
    Ok(copy)
}

fn idmap(
    proof: SingleThreaded,
    clone: &OwnedFd,
    mount: &Mount,
    extent: Idmap,
    user: Option<&UserNamespace>,
) -> Result<(), Error> {
    let recursive = extent == Idmap::Recursive;
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::InvalidInput => Error::Unsupported(format!(
            "the file system of {} cannot be id-mapped (mount on {})",
            mount.source, mount.destination
        )),
        _ => Error::Path { path: format!("id-map the mount on {}", mount.destination), source },
    };
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
    cgroup: &mut CgroupParts<'_>,
    user: bool,
) -> Result<Known, Error> {
    let mut known = Known::default();
    for mut prepared in prepared {
        let plan = prepared.plan;
        let MountPlan { mount, options } = plan;
        if options.remount {
            remount(root, mount, options)?;
            continue;
        }
        if plan.is_cgroup() {
            let base = prepared.made.map_or_else(|| cgroup.base(mount, options), Ok)?;
            let target =
                root.ensure_directory(&mount.destination, 0o755).map_err(|error| failure(mount, None, error))?;
            sys::mount::attach(&base, &target).map_err(|error| failure(mount, None, error))?;
            cgroup.below(&base, mount)?;
            continue;
        }
        if prepared.made.is_none() {
            prepared.make(user)?;
        }
        let Prepared { made, instead, unfinished, early, .. } = prepared;
        let mut made = made.expect("it was made just now");
        let failed = |source| failure(mount, None, source);
        let target = target(root, mount, &made)?;
        if options.copy_up {
            copy_up::copy(&target, &made).map_err(failed)?;
        }
        if let Some((kind, recursive)) = options.propagation.filter(|_| options.bind.is_none()) {
            sys::mount::set_attributes(&made, recursive, 0, 0, kind).map_err(failed)?;
        }
        if early && user {
            made = attach_late(made, &target).map_err(failed)?;
        } else {
            sys::mount::attach(&made, &target).map_err(failed)?;
        }
        if options.bind.is_some() {
            continue;
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

/// Filesystems whose files have labels of the policy's own.
const UNLABELLED: [&str; 3] = ["proc", "sysfs", "mqueue"];

fn new_filesystem(mount: &Mount, options: &Options, label: Option<&str>) -> Result<OwnedFd, Error> {
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
        if let Some(label) = label.filter(|_| !UNLABELLED.contains(&mount.kind.as_str())) {
            filesystem.string("context", label)?;
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
    let found = rustix::fs::fstat(&target).map_err(|errno| failed(errno.into()))?;
    let is_directory = |mode| rustix::fs::FileType::from_raw_mode(mode) == rustix::fs::FileType::Directory;
    if is_directory(found.st_mode) != is_directory(stat.st_mode) {
        let hint = "are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path \
                    exists and is the expected type";
        return Err(failure(mount, Some(hint.to_owned()), rustix::io::Errno::NOTDIR.into()));
    }
    // What is written to /proc later has to land in a procfs (CVE-2019-16884).
    let is_proc = mount.destination.split('/').filter(|part| !part.is_empty() && *part != ".").eq(["proc"]);
    if is_proc && rustix::fs::fstatfs(made).map_err(|errno| failed(errno.into()))?.f_type as u64 != PROC_MAGIC {
        return Err(Error::Invalid("\"/proc\" cannot be mounted because it is not of type proc".to_owned()));
    }
    let filesystem = rustix::fs::fstatfs(&target).map_err(|errno| failed(errno.into()))?.f_type as u64;
    let allowed = mount.kind == "proc" || PROC_TARGETS.contains(&mount.destination.as_str());
    if filesystem == PROC_MAGIC && !allowed {
        return Err(Error::Invalid(format!("\"{}\" is inside /proc and cannot be mounted on", mount.destination)));
    }
    Ok(target)
}

/// What shows the container's cgroups: a mount of each hierarchy. With version 1 they are below a tmpfs.
#[derive(Debug)]
pub struct CgroupParts<'h> {
    pub hierarchies: &'h cgroup::Hierarchies,
    /// A copy of each hierarchy's mount that begins at the container's cgroup. Without them the container's cgroup
    /// namespace shows its cgroup as the root of what is mounted.
    pub own: Option<std::vec::IntoIter<OwnedFd>>,
    /// What is made and not attached yet.
    pub made: Vec<OwnedFd>,
}

impl CgroupParts<'_> {
    fn make(&mut self, part: &cgroup::ContainerMount, options: &Options) -> std::io::Result<OwnedFd> {
        if let Some(own) = &mut self.own {
            let copy = own.next().ok_or(std::io::ErrorKind::NotFound)?;
            let (set, clear) = (options.set | options.recursive_set, options.clear | options.recursive_clear);
            // What the host has forbidden on its mount stays forbidden.
            sys::mount::set_attributes(&copy, false, set, clear & attribute::RDONLY, propagation::PRIVATE)?;
            return Ok(copy);
        }
        let filesystem = Filesystem::open(part.fs_type)?;
        filesystem.string("source", "cgroup")?;
        for option in part.options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some((key, value)) => filesystem.string(key, value)?,
                None => filesystem.flag(option)?,
            }
        }
        filesystem.mount(options.set | options.recursive_set)
    }

    /// The one mount, or the tmpfs with a directory for each.
    fn base(&mut self, mount: &Mount, options: &Options) -> Result<OwnedFd, Error> {
        let failed = |source| failure(mount, None, source);
        let parts = self.hierarchies.mounts_for_container();
        if let [only] = parts.as_slice()
            && only.name.is_empty()
        {
            return self.make(only, options).map_err(failed);
        }
        let tmpfs = Filesystem::open("tmpfs").map_err(failed)?;
        tmpfs.string("mode", "755").map_err(failed)?;
        let read_only = (options.set | options.recursive_set) & attribute::RDONLY != 0;
        let base = tmpfs.mount((options.set | options.recursive_set) & !attribute::RDONLY).map_err(failed)?;
        for part in &parts {
            rustix::fs::mkdirat(&base, part.name.as_str(), 0o755.into()).map_err(|errno| failed(errno.into()))?;
            for link in &part.links {
                rustix::fs::symlinkat(part.name.as_str(), &base, link.as_str())
                    .map_err(|errno| failed(errno.into()))?;
            }
        }
        if read_only {
            sys::mount::set_attributes(&base, false, attribute::RDONLY, 0, 0).map_err(failed)?;
        }
        self.made = parts.iter().map(|part| self.make(part, options)).collect::<Result<_, _>>().map_err(failed)?;
        Ok(base)
    }

    /// Attaches the others below the tmpfs, which is attached itself.
    fn below(&mut self, base: &OwnedFd, mount: &Mount) -> Result<(), Error> {
        let failed = |source| failure(mount, None, source);
        let root = Root::new(base.as_fd());
        for (part, made) in self.hierarchies.mounts_for_container().iter().zip(std::mem::take(&mut self.made)) {
            let directory =
                root.open(&part.name, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW).map_err(failed)?;
            sys::mount::attach(made, &directory).map_err(failed)?;
        }
        Ok(())
    }
}
