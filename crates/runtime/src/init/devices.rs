//! Device nodes and links of `/dev` (runtime-spec, "Default Devices" and "Dev symbolic links").
//!
//! Nodes are made where that is allowed. Inside a user namespace it never is: nodes are then made outside, on a
//! filesystem of the host's, or are the host's own, and each is mounted on an empty file.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use oci::runtime::Device;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use sys::mount::Filesystem;
use sys::root::Root;

use super::error::Error;
use super::user_namespace::{self, UserNamespace};

/// Character devices that every container has.
const DEFAULT: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

const FAILED: &str = "populate /dev";

/// Fills the detached tmpfs that will be `/dev`: nobody else can see it yet, so names need no care.
///
/// `user`: whose root everything belongs to. Where nodes cannot be made there are empty files, for
/// [`bind_default`] once it is attached; `true` then.
pub fn populate(dev: &OwnedFd, user: Option<&UserNamespace>) -> Result<bool, Error> {
    let failed = |errno: rustix::io::Errno| Error::Step { what: FAILED, source: errno.into() };
    let owner = user.map(UserNamespace::root).transpose()?;
    let own = |name: &str| match owner {
        Some((uid, gid)) => {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            rustix::fs::chownat(dev, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
        }
        None => Ok(()),
    };
    let mut refused = false;
    for (name, major, minor) in DEFAULT {
        let device = rustix::fs::makedev(major, minor);
        match rustix::fs::mknodat(dev, name, FileType::CharacterDevice, Mode::from_raw_mode(0o666), device) {
            Err(rustix::io::Errno::PERM) => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                rustix::fs::openat(dev, name, flags, Mode::from_raw_mode(0o644)).map_err(failed)?;
                refused = true;
            }
            other => other.map_err(failed)?,
        }
        own(name)?;
    }
    for (target, name) in LINKS {
        rustix::fs::symlinkat(target, dev, name).map_err(failed)?;
        own(name)?;
    }
    if rustix::fs::access("/proc/kcore", rustix::fs::Access::EXISTS).is_ok() {
        rustix::fs::symlinkat("/proc/kcore", dev, "core").map_err(failed)?;
    }
    for name in ["pts", "shm", "mqueue"] {
        rustix::fs::mkdirat(dev, name, Mode::from_raw_mode(0o755)).map_err(failed)?;
        own(name)?;
    }
    if let Some((uid, gid)) = owner {
        rustix::fs::fchown(open_directory(dev)?, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(failed)?;
    }
    Ok(refused)
}

/// fchown(2) does not take the descriptor of a mount as it is.
fn open_directory(dev: &OwnedFd) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(dev, ".", flags, Mode::empty())
        .map_err(|errno| Error::Step { what: FAILED, source: errno.into() })
}

/// Mounts the host's own devices on the files that [`populate`] left for them. `dev` is attached.
pub fn bind_default(dev: &OwnedFd) -> Result<(), Error> {
    for (name, major, minor) in DEFAULT {
        let path = format!("/dev/{name}");
        let failed = |source| Error::Path { path: path.clone(), source };
        let node = host_node(&path, FileType::CharacterDevice, rustix::fs::makedev(major, minor)).map_err(failed)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = rustix::fs::openat(dev, name, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        sys::mount::attach(&node, &target).map_err(failed)?;
    }
    Ok(())
}

/// A detached mount of a device of the host's, of which it is made sure that it is this device.
fn host_node(path: &str, kind: FileType, number: u64) -> io::Result<OwnedFd> {
    let node = sys::mount::clone_path(path, false)?;
    let stat = rustix::fs::fstat(&node)?;
    match is(&stat, kind, number) {
        true => Ok(node),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "the host's file is another device")),
    }
}

fn kind_of(device: &Device) -> Result<(FileType, u64), Error> {
    let kind = match device.kind.as_str() {
        "c" | "u" => FileType::CharacterDevice,
        "b" => FileType::BlockDevice,
        "p" => return Ok((FileType::Fifo, 0)),
        other => return Err(Error::Invalid(format!("device type \"{other}\" of {}", device.path))),
    };
    match (u32::try_from(device.major), u32::try_from(device.minor)) {
        (Ok(major), Ok(minor)) => Ok((kind, rustix::fs::makedev(major, minor))),
        _ => Err(Error::Invalid(format!("device {} has the number {}:{}", device.path, device.major, device.minor))),
    }
}

/// The part of a device's path below `/dev`, if it is there.
fn below_dev(device: &Device) -> Option<&str> {
    device.path.strip_prefix("/dev/").filter(|rest| !rest.split('/').any(|part| part == ".."))
}

/// Makes the devices below `/dev` on the detached tmpfs that will be there, before a user namespace forbids it.
pub fn add_below_dev(dev: &OwnedFd, devices: &[Device], user: &UserNamespace) -> Result<(), Error> {
    let root = Root::new(dev.as_fd());
    devices.iter().filter_map(|device| Some((device, below_dev(device)?))).try_for_each(|(device, path)| {
        match make(&root, device, path, Some(user)) {
            // Not even root may, in a container for one: the host's own node then takes its place.
            Err(Error::Path { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            made => made,
        }
    })
}

/// Nodes for a container in a user namespace, each a detached mount, for those devices that are elsewhere.
///
/// By a process that still has the rights of the host, if it has any: else the host's nodes of the same path.
pub fn outside(devices: &[Device], user: &UserNamespace, with_dev: bool) -> Result<Vec<Node>, Error> {
    let failed = Error::step("make device nodes");
    let mut scratch: Option<OwnedFd> = None;
    let mut nodes = Vec::new();
    for (index, device) in devices.iter().enumerate() {
        if with_dev && below_dev(device).is_some() {
            continue;
        }
        let at = |source| Error::Path { path: device.path.clone(), source };
        let (kind, number) = kind_of(device)?;
        let filesystem = match &scratch {
            Some(filesystem) => filesystem,
            None => scratch.insert(Filesystem::open("tmpfs").and_then(|tmpfs| tmpfs.mount(0)).map_err(&failed)?),
        };
        let name = index.to_string();
        let own = make(&Root::new(filesystem.as_fd()), device, &name, Some(user)).ok().and_then(|()| {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let node = rustix::fs::openat(filesystem, name.as_str(), flags, Mode::empty()).ok()?;
            // Kernels before 6.15 clone no part of a mount that is attached nowhere.
            sys::mount::clone_descriptor(&node, false).ok()
        });
        let node = own.map_or_else(|| host_node(&device.path, kind, number).map_err(at), Ok)?;
        nodes.push(Node { index, node });
    }
    Ok(nodes)
}

/// A device that is mounted instead of made.
#[derive(Debug)]
pub struct Node {
    /// In the configuration's list.
    index: usize,
    node: OwnedFd,
}

/// Makes the devices that the configuration adds; in a user namespace, mounts what was made outside for them.
pub fn add(root: &Root<'_>, devices: &[Device], nodes: Option<&[Node]>) -> Result<(), Error> {
    let Some(nodes) = nodes else {
        return devices.iter().try_for_each(|device| make(root, device, &device.path, None));
    };
    for (index, device) in devices.iter().enumerate() {
        let failed = |source| Error::Path { path: device.path.clone(), source };
        let (kind, number) = kind_of(device)?;
        let node = match nodes.iter().find(|node| node.index == index) {
            Some(node) => node.node.try_clone().map_err(failed)?,
            None => {
                let there =
                    root.open(&device.path, OFlags::PATH | OFlags::NOFOLLOW).and_then(|fd| Ok(rustix::fs::fstat(fd)?));
                if there.is_ok_and(|stat| is(&stat, kind, number)) {
                    continue;
                }
                host_node(&device.path, kind, number).map_err(failed)?
            }
        };
        let target = root.ensure_file(&device.path).map_err(failed)?;
        sys::mount::attach(&node, &target).map_err(failed)?;
    }
    Ok(())
}

fn is(stat: &rustix::fs::Stat, kind: FileType, number: u64) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind && (kind == FileType::Fifo || stat.st_rdev == number)
}

/// Makes one node. What is there already has to be the very device (runtime-spec, "Devices").
fn make(root: &Root<'_>, device: &Device, path: &str, user: Option<&UserNamespace>) -> Result<(), Error> {
    let failed = |source| Error::Path { path: device.path.clone(), source };
    let os = |errno: rustix::io::Errno| failed(errno.into());
    let (kind, number) = kind_of(device)?;
    let (parent, name) = sys::root::split(path).map_err(failed)?;
    let parent = root.ensure_directory(parent, 0o755).map_err(failed)?;
    let mode = Mode::from_raw_mode(device.file_mode.unwrap_or(0o666) & 0o7777);
    match rustix::fs::mknodat(&parent, name, kind, mode, number) {
        Err(rustix::io::Errno::EXIST) => {
            let stat = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(os)?;
            if !is(&stat, kind, number) {
                return Err(Error::Invalid(format!("{} exists and is not the device asked for", device.path)));
            }
            // Made anew, so that a link that takes its place meanwhile changes nothing.
            rustix::fs::unlinkat(&parent, name, AtFlags::empty()).map_err(os)?;
            rustix::fs::mknodat(&parent, name, kind, mode, number).map_err(os)?;
        }
        other => other.map_err(os)?,
    }
    let (uid, gid) = (device.uid.unwrap_or(0), device.gid.unwrap_or(0));
    let (uid, gid) = match user {
        Some(user) => {
            let mapped = (user_namespace::outside(&user.uids, uid), user_namespace::outside(&user.gids, gid));
            let (Some(uid), Some(gid)) = mapped else {
                return Err(Error::Invalid(format!("the owner of {} is not mapped", device.path)));
            };
            (uid, gid)
        }
        None => (uid, gid),
    };
    if (uid, gid) == (0, 0) {
        return Ok(());
    }
    rustix::fs::chownat(&parent, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(os)
}

/// The container's `/dev`, whatever it is, as a directory.
pub fn directory(root: &Root<'_>) -> Result<OwnedFd, Error> {
    root.open("/dev", OFlags::PATH | OFlags::DIRECTORY).map_err(Error::step("open /dev"))
}

/// The node `/dev/null` of the container, of which it is made sure that it is the null device.
pub fn null(dev: impl AsFd) -> Result<OwnedFd, Error> {
    let failed = |errno: rustix::io::Errno| Error::Step { what: "open /dev/null", source: errno.into() };
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let null = rustix::fs::openat(dev, "null", flags, Mode::empty()).map_err(failed)?;
    let stat = rustix::fs::fstat(&null).map_err(failed)?;
    let is_null =
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == rustix::fs::makedev(1, 3);
    if is_null { Ok(null) } else { Err(Error::Invalid("/dev/null is not the null device".to_owned())) }
}
