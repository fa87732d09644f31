//! sync_file_range(2): begins to write a file's data to the disk without waiting for it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Asks the kernel to begin writing `length` bytes from `offset`. Nothing is durable by it; the `fdatasync` that
/// follows later has less to wait for.
pub fn begin(file: BorrowedFd<'_>, offset: u64, length: u64) -> io::Result<()> {
    let number = |value: u64| i64::try_from(value).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL));
    let (offset, length) = (number(offset)?, number(length)?);
    // SAFETY: the call takes numbers only; the descriptor is open.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
