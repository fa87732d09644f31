//! Ending a blocking call of another thread.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

use crate::{Error, Result};

/// Ends the subscription or stream it came from: a thread that waits there returns, and from then on it gives nothing.
#[derive(Clone)]
pub struct Canceller(Arc<dyn Fn() + Send + Sync>);

impl Canceller {
    pub(crate) fn new(cancel: impl Fn() + Send + Sync + 'static) -> Canceller {
        Canceller(Arc::new(cancel))
    }

    /// Never blocks; may be repeated.
    pub fn cancel(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Canceller")
    }
}

/// A flag that can be polled beside other descriptors.
#[derive(Clone, Debug)]
pub(crate) struct Flag(Arc<OwnedFd>);

impl Flag {
    pub fn new() -> Result<Flag> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Error::system("make an eventfd", errno))?;
        Ok(Flag(Arc::new(fd)))
    }

    pub fn set(&self) {
        // It fails only when the counter is full, which is set as well.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    pub fn is_set(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }
}

impl AsFd for Flag {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
