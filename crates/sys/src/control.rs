//! What a daemon asks of a process of its own: one message there, one back, over `SOCK_SEQPACKET`.
//!
//! ```text
//!  Caller ── message, descriptors ──▶ accept_own, answer
//!         ◀── message ──────────────
//! ```

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::process::{PidfdFlags, getuid, pidfd_open};

use crate::socket;

/// The side that asks. Requests of several threads follow each other.
#[derive(Debug)]
pub struct Caller(Mutex<OwnedFd>);

impl Caller {
    /// Connects to the socket at `path`. An answer may take as long as `patience`.
    pub fn connect(path: &Path, patience: Duration) -> io::Result<Caller> {
        let directory = std::fs::File::open(path.parent().unwrap_or(Path::new("/")))?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let socket = socket::seqpacket_connect(&directory, name)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(patience))?;
        set_socket_timeout(&socket, Timeout::Send, Some(patience))?;
        Ok(Caller(Mutex::new(socket)))
    }

    fn socket(&self) -> MutexGuard<'_, OwnedFd> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A descriptor of the other process, which becomes readable when it ends.
    pub fn process(&self) -> io::Result<OwnedFd> {
        let peer = socket_peercred(self.socket().as_fd())?;
        Ok(pidfd_open(peer.pid, PidfdFlags::empty())?)
    }

    /// The answer, of at most `longest` bytes.
    ///
    /// # Errors
    /// `ConnectionReset` when the other process ended.
    pub fn exchange(&self, message: &[u8], descriptors: &[BorrowedFd<'_>], longest: usize) -> io::Result<Vec<u8>> {
        let socket = self.socket();
        socket::send(socket.as_fd(), message, descriptors)?;
        let mut buffer = vec![0; longest];
        let (length, _) = socket::receive(socket.as_fd(), &mut buffer)?;
        if length == 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        buffer.truncate(length);
        Ok(buffer)
    }
}

/// Takes one connection that does not block, of this process's own user: the socket's directory keeps others out already,
/// a descriptor handed around does not. `None` when none waits.
pub fn accept_own(listener: impl AsFd) -> Option<OwnedFd> {
    while let Ok(Some(connection)) = socket::accept(listener.as_fd()) {
        if socket_peercred(&connection).is_ok_and(|peer| peer.uid == getuid())
            && rustix::io::ioctl_fionbio(&connection, true).is_ok()
        {
            return Some(connection);
        }
    }
    None
}

/// Answers one request that has come; false when the connection is over.
pub fn answer(
    connection: &OwnedFd,
    buffer: &mut [u8],
    carry_out: impl FnOnce(&[u8], Vec<OwnedFd>) -> Option<Vec<u8>>,
) -> bool {
    match socket::receive(connection, buffer) {
        Ok((0, _)) => false,
        Ok((length, descriptors)) => carry_out(&buffer[..length], descriptors)
            .is_some_and(|message| socket::send(connection, &message, &[]).is_ok()),
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}
