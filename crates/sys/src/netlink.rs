//! Options of netlink sockets (netlink(7)) that rustix does not wrap.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Asks the kernel to explain errors in words (`NETLINK_EXT_ACK`) and not to send our request back with an
/// acknowledgement (`NETLINK_CAP_ACK`).
pub fn explain_errors(socket: impl AsFd) -> io::Result<()> {
    set(&socket, libc::NETLINK_EXT_ACK)?;
    set(&socket, libc::NETLINK_CAP_ACK)
}

fn set(socket: &impl AsFd, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open for the duration of the borrow; the value is a live c_int and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
