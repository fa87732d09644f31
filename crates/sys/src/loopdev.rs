//! Loop devices (loop(4)): a file as a block device, for file systems that cannot mount from a file.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;
const LOOP_GET_STATUS64: libc::c_ulong = 0x4c05;
const LOOP_CONFIGURE: libc::c_ulong = 0x4c0a;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// Another process can take the device that was free a moment ago.
const ATTEMPTS: usize = 32;

/// `struct loop_info64` of linux/loop.h.
#[repr(C)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of linux/loop.h.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

/// A loop device with a file behind it. It is detached by the kernel when its last user is gone: this descriptor, and
/// whatever was mounted from it.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
    _device: OwnedFd,
}

impl LoopDevice {
    /// The device node, `/dev/loop<n>`.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Attaches `file` to a free loop device, read-only and autoclear.
pub fn attach_read_only(file: BorrowedFd<'_>) -> io::Result<LoopDevice> {
    attach(file, true)
}

/// The loop device that has all of `file` behind it already, or a free one. Two devices of one file would be two caches of
/// it, and a file system that is mounted from both is lost. That also happens one after the other: an unmounted file system
/// lives on until the last mount namespace that has seen it is gone.
///
/// One call at a time, since nothing keeps two from finding no device.
pub fn attach_shared(file: BorrowedFd<'_>, read_only: bool) -> io::Result<LoopDevice> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    match find(file, read_only)? {
        Some(device) => Ok(device),
        None => attach(file, read_only),
    }
}

fn find(file: BorrowedFd<'_>, read_only: bool) -> io::Result<Option<LoopDevice>> {
    let wanted = rustix::fs::fstat(file)?;
    for entry in std::fs::read_dir("/sys/block")?.flatten() {
        // The directory is there while a file is.
        if !entry.path().join("loop").exists() {
            continue;
        }
        let path = Path::new("/dev").join(entry.file_name());
        // It may be let go of this moment. Once it is open and has told what is behind it, it stays.
        let Ok(device) = File::options().read(true).open(&path) else { continue };
        let Some(info) = status(&device) else { continue };
        let whole = info.offset == 0 && info.size_limit == 0;
        if (info.device, info.inode) != (wanted.st_dev, wanted.st_ino) || !whole {
            continue;
        }
        if info.flags & LO_FLAGS_READ_ONLY != 0 && !read_only {
            let text = format!("{} has this file already, for reading only", path.display());
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
        }
        return Ok(Some(LoopDevice { path, _device: device.into() }));
    }
    Ok(None)
}

fn status(device: &File) -> Option<Info> {
    let mut info = std::mem::MaybeUninit::<Info>::zeroed();
    // SAFETY: the kernel fills a `struct loop_info64`, whose layout `Info` has; all zeroes and all else are valid values.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_GET_STATUS64, info.as_mut_ptr()) };
    // SAFETY: it was zeroed, and every byte pattern is an `Info`.
    (result == 0).then(|| unsafe { info.assume_init() })
}

/// Attaches `file` to a free loop device, autoclear. For writing the sectors have 512 bytes, which every file system that
/// was made in a file can live with.
fn attach(file: BorrowedFd<'_>, read_only: bool) -> io::Result<LoopDevice> {
    let control = File::options().read(true).write(true).open("/dev/loop-control")?;
    let mut failure = io::Error::from_raw_os_error(libc::EBUSY);
    for _ in 0..ATTEMPTS {
        // SAFETY: the request takes no argument; the descriptor is open.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = OwnedFd::from(File::options().read(true).write(!read_only).open(&path)?);
        let config = Config {
            fd: file.as_raw_fd() as u32,
            block_size: if read_only { 4096 } else { 512 },
            info: Info {
                device: 0,
                inode: 0,
                rdevice: 0,
                offset: 0,
                size_limit: 0,
                number: 0,
                encrypt_type: 0,
                encrypt_key_size: 0,
                flags: LO_FLAGS_AUTOCLEAR | if read_only { LO_FLAGS_READ_ONLY } else { 0 },
                file_name: [0; 64],
                crypt_name: [0; 64],
                encrypt_key: [0; 32],
                init: [0; 2],
            },
            reserved: [0; 8],
        };
        // SAFETY: `config` has the layout of `struct loop_config` and outlives the call; both descriptors are open.
        if unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) } == 0 {
            return Ok(LoopDevice { path, _device: device });
        }
        failure = io::Error::last_os_error();
        if failure.raw_os_error() != Some(libc::EBUSY) {
            return Err(failure);
        }
    }
    Err(failure)
}

const _: () = assert!(size_of::<Info>() == 232 && size_of::<Config>() == 304);

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn users_of_a_file_share_its_device() {
        if !rustix::process::geteuid().is_root() || !Path::new("/dev/loop-control").exists() {
            println!("skipped: needs root and loop devices");
            return;
        }
        let path = std::env::temp_dir().join(format!("hoist-loopdev-{}", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).expect("a file");
        file.set_len(1 << 20).expect("its size");
        let first = attach_shared(file.as_fd(), false).expect("a device");
        let again = File::options().read(true).write(true).open(&path).expect("opened again");
        let second = attach_shared(again.as_fd(), false).expect("the same device");
        assert_eq!(first.path(), second.path());
        // It stays with the second user, and another file gets another one.
        drop(first);
        let other = File::open("/proc/self/exe");
        let other = attach_shared(other.expect("another file").as_fd(), true).expect("another device");
        assert_ne!(other.path(), second.path());
        let reader = attach_shared(file.as_fd(), true).expect("for reading");
        assert_eq!(reader.path(), second.path());
        drop((second, reader, other));
        std::fs::remove_file(path).expect("removed");
    }
}
