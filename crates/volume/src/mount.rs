//! Mounting what a volume's options name on its data directory.

use std::ffi::CString;
use std::fs;
use std::io;
use std::net::ToSocketAddrs;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use sys::mount::{attribute, propagation};

use crate::options::Options;
use crate::{Error, Result};

/// Words of `o` that are flags of mount(2).
const FLAGS: [(&str, MountFlags); 12] = [
    ("ro", MountFlags::RDONLY),
    ("noexec", MountFlags::NOEXEC),
    ("nosuid", MountFlags::NOSUID),
    ("nodev", MountFlags::NODEV),
    ("noatime", MountFlags::NOATIME),
    ("nodiratime", MountFlags::NODIRATIME),
    ("relatime", MountFlags::RELATIME),
    ("strictatime", MountFlags::STRICTATIME),
    ("sync", MountFlags::SYNCHRONOUS),
    ("dirsync", MountFlags::DIRSYNC),
    ("lazytime", MountFlags::LAZYTIME),
    ("silent", MountFlags::SILENT),
];

/// Words that say what is so anyway.
const NOTHING: [&str; 9] = ["rw", "exec", "suid", "dev", "atime", "async", "defaults", "loop", "diratime"];

/// Whether something is mounted on a directory. A server that does not answer is not asked.
pub(crate) fn is_mounted(target: &Path) -> Result<bool> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
    match rustix::fs::statx(CWD, target, flags, StatxFlags::empty()) {
        Ok(stat) => Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(Error::io("look at", target)(errno.into())),
    }
}

/// Mounts it. The target is the daemon's own directory.
pub(crate) fn mount(options: &Options, target: &Path) -> Result<()> {
    let failed = |source: io::Error| match source.raw_os_error() {
        Some(code) if code == rustix::io::Errno::NODEV.raw_os_error() && !options.is_bind() => {
            Error::NoFilesystem { kind: options.kind.clone() }
        }
        _ => Error::Mount {
            device: options.device.clone(),
            target: target.display().to_string(),
            options: options.words.join(","),
            source,
        },
    };
    if options.is_bind() {
        return bind(options, target).map_err(failed);
    }
    let (flags, data) = split(&options.words);
    let data = resolve(options, data)?;
    let data = CString::new(data.join(",")).map_err(|error| failed(error.into()))?;
    let attached = loop_device(options, flags).map_err(failed)?;
    let device = attached.as_ref().map_or(Path::new(&options.device), |attached| attached.path());
    let data = (!data.is_empty()).then_some(data.as_c_str());
    rustix::mount::mount(device, target, options.kind.as_str(), flags, data).map_err(|errno| failed(errno.into()))
}

/// Takes it away; a directory on which nothing is mounted is left as it is. Programs that still have files of it open keep
/// them.
pub(crate) fn unmount(target: &Path) -> Result<()> {
    let flags = UnmountFlags::NOFOLLOW | UnmountFlags::DETACH;
    // The kernel says when there is no more; a look at a dead server's root would be an error or a wait.
    loop {
        match rustix::mount::unmount(target, flags) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(Error::io("unmount", target)(errno.into())),
        }
    }
}

fn bind(options: &Options, target: &Path) -> io::Result<()> {
    let recursive = options.words.iter().any(|word| word == "rbind");
    let clone = sys::mount::clone_path(options.device.as_str(), recursive)?;
    let mut set = 0;
    for word in &options.words {
        set |= match word.as_str() {
            "bind" | "rbind" | "private" | "rprivate" => 0,
            "ro" => attribute::RDONLY,
            "noexec" => attribute::NOEXEC,
            "nosuid" => attribute::NOSUID,
            "nodev" => attribute::NODEV,
            word if NOTHING.contains(&word) => 0,
            word => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("the option \"{word}\" has no meaning for a bind mount"),
                ));
            }
        };
    }
    sys::mount::set_attributes(&clone, recursive, set, 0, propagation::PRIVATE)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = rustix::fs::open(target, flags, Mode::empty())?;
    sys::mount::attach(&clone, &place)
}

/// Flags, and what the file system itself is told.
fn split(words: &[String]) -> (MountFlags, Vec<String>) {
    let mut flags = MountFlags::empty();
    let mut data = Vec::new();
    for word in words {
        match FLAGS.iter().find(|(name, _)| name == word) {
            Some((_, flag)) => flags |= *flag,
            None if NOTHING.contains(&word.as_str()) => {}
            None => data.push(word.clone()),
        }
    }
    (flags, data)
}

/// The kernel knows no names of hosts.
fn resolve(options: &Options, data: Vec<String>) -> Result<Vec<String>> {
    if !matches!(options.kind.as_str(), "nfs" | "nfs4" | "cifs" | "smb3") {
        return Ok(data);
    }
    let one = |word: String| match word.strip_prefix("addr=") {
        Some(name) if name.parse::<std::net::IpAddr>().is_err() => {
            let failed = |source| Error::Address { name: name.to_owned(), source };
            let found = (name, 0).to_socket_addrs().map_err(failed)?.next();
            let found = found.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
            Ok(format!("addr={}", found.ip()))
        }
        _ => Ok(word),
    };
    data.into_iter().map(one).collect()
}

/// A file that holds a file system becomes a block device, which ends with the mount.
fn loop_device(options: &Options, flags: MountFlags) -> io::Result<Option<sys::loopdev::LoopDevice>> {
    let wanted = options.words.iter().any(|word| word == "loop");
    let block = !matches!(options.kind.as_str(), "tmpfs" | "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "overlay");
    if !options.device.starts_with('/') || !(block || wanted) {
        return Ok(None);
    }
    let kind = fs::metadata(&options.device)?.file_type();
    if !kind.is_file() || kind.is_block_device() {
        return Ok(None);
    }
    let read_only = flags.contains(MountFlags::RDONLY);
    let nonblock = OFlags::NONBLOCK.bits() as i32;
    let file = fs::OpenOptions::new().read(true).write(!read_only).custom_flags(nonblock).open(&options.device)?;
    sys::loopdev::attach_shared(file.as_fd(), read_only).map(Some)
}
