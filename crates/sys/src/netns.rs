//! A network namespace of the calling thread's own (unshare(2), network_namespaces(7)).
//!
//! Only the network namespace is changed, which each thread has for itself: nothing that threads share (memory,
//! descriptors, file system attributes) is touched. A thread that has called this is for one purpose; let it end.

use std::io;

/// unshare(2) with `CLONE_NEWNET`: the calling thread moves into a new, empty network namespace.
pub fn unshare_network() -> io::Result<()> {
    // SAFETY: CLONE_NEWNET alone; in particular the table of descriptors stays shared (no CLONE_FILES).
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// setns(2) with `CLONE_NEWNET`: the calling thread moves into a network namespace.
pub fn enter(namespace: impl std::os::fd::AsFd) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open; CLONE_NEWNET concerns the calling thread alone.
    let result = unsafe { libc::setns(namespace.as_fd().as_raw_fd(), libc::CLONE_NEWNET) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
