//! The connection to hoistd: never waited for.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use shim_api::FromShim;

/// More messages than this wait for a hoistd that does not read: it is dropped, and finds out by connecting again.
const MAX_WAITING: usize = 4096;

/// A control socket and what it has not taken yet.
#[derive(Debug)]
pub struct Control {
    socket: OwnedFd,
    waiting: VecDeque<(Vec<u8>, Option<OwnedFd>)>,
    broken: bool,
}

impl Control {
    pub fn new(socket: OwnedFd) -> io::Result<Control> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Control { socket, waiting: VecDeque::new(), broken: false })
    }

    /// Sends a message now or as soon as the socket takes it.
    pub fn tell(&mut self, message: &FromShim) {
        self.queue(message, None);
    }

    /// The same with a descriptor.
    pub fn tell_with(&mut self, message: &FromShim, descriptor: &OwnedFd) {
        if let Ok(descriptor) = descriptor.try_clone() {
            self.queue(message, Some(descriptor));
        }
    }

    fn queue(&mut self, message: &FromShim, descriptor: Option<OwnedFd>) {
        if let Ok(bytes) = serde_json::to_vec(message) {
            self.waiting.push_back((bytes, descriptor));
            self.flush();
            self.broken |= self.waiting.len() > MAX_WAITING;
        }
    }

    /// Sends what waits, as far as the socket takes it.
    pub fn flush(&mut self) {
        while let Some((bytes, descriptor)) = self.waiting.front() {
            let descriptors: Vec<_> = descriptor.iter().map(AsFd::as_fd).collect();
            match sys::socket::send(&self.socket, bytes, &descriptors) {
                Ok(()) => drop(self.waiting.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    // Its messages may still be read; reading notices the end.
                    self.waiting.clear();
                    return;
                }
            }
        }
        self.waiting.shrink_to_fit();
    }

    /// The last chance of what waits, at most a second.
    pub fn flush_at_end(&mut self) {
        self.flush();
        if !self.waiting.is_empty() {
            let limit = rustix::event::Timespec { tv_sec: 1, tv_nsec: 0 };
            let mut ready = [rustix::event::PollFd::new(&self.socket, PollFlags::OUT)];
            let _ = rustix::event::poll(&mut ready, Some(&limit));
            self.flush();
        }
    }

    /// What to wait for.
    pub fn interest(&self) -> PollFlags {
        if self.waiting.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT }
    }

    /// The next message; `None` when there is none now, an error at the end.
    pub fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
        if self.broken {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
        match sys::socket::receive(&self.socket, buffer) {
            Ok((0, _)) => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            Ok(received) => Ok(Some(received)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the connection is not worth keeping.
    pub fn is_broken(&self) -> bool {
        self.broken
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
