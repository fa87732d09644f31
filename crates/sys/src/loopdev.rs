//! Loop devices (loop(4)): a file as a block device, for file systems that cannot mount from a file.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;
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

/// Attaches `file` to a free loop device, autoclear. For writing the sectors have 512 bytes, which every file system that
/// was made in a file can live with.
pub fn attach(file: BorrowedFd<'_>, read_only: bool) -> io::Result<LoopDevice> {
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
