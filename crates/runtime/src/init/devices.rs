//! Device nodes and links of `/dev` (runtime-spec, "Default Devices" and "Dev symbolic links").

use std::os::fd::{AsFd, OwnedFd};

use oci::runtime::Device;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use sys::root::Root;

use super::error::Error;

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

/// Fills the detached tmpfs that will be `/dev`: nobody else can see it yet, so names need no care.
pub fn populate(dev: &OwnedFd) -> Result<(), Error> {
    let failed = |errno: rustix::io::Errno| Error::Step { what: "populate /dev", source: errno.into() };
    for (name, major, minor) in DEFAULT {
        let device = rustix::fs::makedev(major, minor);
        rustix::fs::mknodat(dev, name, FileType::CharacterDevice, Mode::from_raw_mode(0o666), device)
            .map_err(failed)?;
    }
    for (target, name) in LINKS {
        rustix::fs::symlinkat(target, dev, name).map_err(failed)?;
    }
    if rustix::fs::access("/proc/kcore", rustix::fs::Access::EXISTS).is_ok() {
        rustix::fs::symlinkat("/proc/kcore", dev, "core").map_err(failed)?;
    }
    for name in ["pts", "shm", "mqueue"] {
        rustix::fs::mkdirat(dev, name, Mode::from_raw_mode(0o755)).map_err(failed)?;
    }
    Ok(())
}

/// Makes the devices that the configuration adds. One that is already there is replaced.
pub fn add(root: &Root<'_>, devices: &[Device]) -> Result<(), Error> {
    for device in devices {
        let failed = |source| Error::Path { path: device.path.clone(), source };
        let os = |errno: rustix::io::Errno| failed(errno.into());
        let kind = match device.kind.as_str() {
            "c" | "u" => FileType::CharacterDevice,
            "b" => FileType::BlockDevice,
            "p" => FileType::Fifo,
            other => return Err(Error::Invalid(format!("device type \"{other}\" of {}", device.path))),
        };
        let (parent, name) = sys::root::split(&device.path).map_err(failed)?;
        let parent = root.ensure_directory(parent, 0o755).map_err(failed)?;
        let number = rustix::fs::makedev(device.major as u32, device.minor as u32);
        let mode = Mode::from_raw_mode(device.file_mode.unwrap_or(0o666) & 0o7777);
        match rustix::fs::mknodat(&parent, name, kind, mode, number) {
            Err(rustix::io::Errno::EXIST) => {
                rustix::fs::unlinkat(&parent, name, AtFlags::empty()).map_err(os)?;
                rustix::fs::mknodat(&parent, name, kind, mode, number).map_err(os)?;
            }
            other => other.map_err(os)?,
        }
        if device.uid.unwrap_or(0) != 0 || device.gid.unwrap_or(0) != 0 {
            let (uid, gid) = (Uid::from_raw(device.uid.unwrap_or(0)), Gid::from_raw(device.gid.unwrap_or(0)));
            rustix::fs::chownat(&parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(os)?;
        }
    }
    Ok(())
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
