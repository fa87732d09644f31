//! fs-verity (`Documentation/filesystems/fsverity.rst`): a file that can never be written again, each block of which the
//! kernel checks when it is read.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// `_IOW('f', 133, struct fsverity_enable_arg)`.
const FS_IOC_ENABLE_VERITY: libc::c_ulong = 0x4080_6685;
const FS_VERITY_HASH_ALG_SHA256: u32 = 1;

/// `struct fsverity_enable_arg` of linux/fsverity.h.
#[repr(C)]
struct Enable {
    version: u32,
    hash_algorithm: u32,
    block_size: u32,
    salt_size: u32,
    salt: u64,
    signature_size: u32,
    reserved: u32,
    signature: u64,
    reserved2: [u64; 11],
}

/// Makes a file unchangeable, with SHA-256 over blocks of 4 KiB. `file` is open for reading, and nobody has it open for
/// writing. Says whether the file is so now: not where the kernel or the file system cannot do it.
///
/// # Errors
/// What goes wrong where it could be done; `ETXTBSY` when somebody can write to it.
pub fn seal(file: &File) -> io::Result<bool> {
    let argument = Enable {
        version: 1,
        hash_algorithm: FS_VERITY_HASH_ALG_SHA256,
        block_size: 4096,
        salt_size: 0,
        salt: 0,
        signature_size: 0,
        reserved: 0,
        signature: 0,
        reserved2: [0; 11],
    };
    // SAFETY: the descriptor is open for the whole call, and the argument is a struct of the size that the number of the
    // request says, which the kernel only reads; its pointers are null with lengths of 0.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_ENABLE_VERITY, &raw const argument) };
    if result == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EEXIST) => Ok(true),
        Some(libc::ENOTTY | libc::EOPNOTSUPP | libc::ENOSYS) => Ok(false),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_is_the_kernels() {
        assert_eq!(std::mem::size_of::<Enable>(), 128);
    }

    #[test]
    fn a_kernel_file_system_refuses() {
        assert!(!seal(&File::open("/proc/version").expect("there is one")).expect("it is no failure"));
    }
}
