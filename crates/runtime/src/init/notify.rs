//! `SCMP_ACT_NOTIFY`: the filter's listener goes to whoever listens at `listenerPath`.
//!
//! ```text
//!  process ──clone, same descriptors──▶ helper            the agent at listenerPath
//!     │ installs the filter                │                      ▲
//!     └────number of the listener─────────▶└──state, listener─────┘
//! ```
//!
//! The process that has the filter cannot send it itself: sendmsg(2) may be among the calls that wait for the agent.
//! It needs write(2) alone, which therefore must not (as with runc).
//! Source: runtime-spec config-linux.md, "Seccomp" and "The Container Process State".

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use oci::runtime::State;
use sys::process::{Clone, Side, SingleThreaded};

use super::error::Error;

/// A connection to the agent, and what it is told.
#[derive(Debug)]
pub struct Notify {
    proof: SingleThreaded,
    agent: OwnedFd,
    metadata: String,
    path: String,
    state: State,
}

impl Notify {
    /// Connects, while the host's paths can be seen.
    pub fn connect(proof: SingleThreaded, path: &str, metadata: &str, state: State) -> Result<Notify, Error> {
        let failed = |source| Error::Path { path: format!("seccomp listenerPath {path}"), source };
        let agent = std::os::unix::net::UnixStream::connect(path).map_err(failed)?;
        Ok(Notify { proof, agent: agent.into(), metadata: metadata.to_owned(), path: path.to_owned(), state })
    }

    /// What the agent is told of the process, once that is known.
    pub fn set_pid(&mut self, pid: i32) {
        self.state.pid = pid;
    }

    /// Makes the helper, before the filter forbids it.
    pub(super) fn prepare(self) -> Result<Sender, Error> {
        let failed = Error::step("prepare to hand over the seccomp listener");
        let (ours, theirs) = sys::socket::stream_pair().map_err(&failed)?;
        let document = serde_json::json!({
            "ociVersion": oci::runtime::VERSION,
            "fds": ["seccompFd"],
            "pid": self.state.pid,
            "metadata": self.metadata,
            "state": self.state,
        });
        let bytes = serde_json::to_vec(&document).map_err(|error| failed(error.into()))?;
        // A child: the first process of a pid namespace can have no sisters.
        let options = Clone { share_descriptors: true, ..Clone::default() };
        match sys::process::clone(self.proof, &options).map_err(&failed)? {
            Side::Parent { pid } => {
                Ok(Sender { helper: pid, socket: ours, _kept: [self.agent, theirs], path: self.path })
            }
            Side::Child => {
                let mut number = [0; 4];
                let errno = match rustix::io::read(&theirs, &mut number[..]) {
                    Ok(4) => match sys::socket::send_number(&self.agent, &bytes, i32::from_le_bytes(number)) {
                        Ok(()) => 0,
                        Err(error) => error.raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error()),
                    },
                    _ => sys::process::exit(1),
                };
                let _ = rustix::io::write(&theirs, &errno.to_le_bytes());
                // The descriptors are the other's as well: nothing is closed here.
                sys::process::exit(0)
            }
        }
    }
}

/// The way to the helper.
#[derive(Debug)]
pub(super) struct Sender {
    helper: i32,
    socket: OwnedFd,
    /// What the helper uses, in the table that both have.
    _kept: [OwnedFd; 2],
    path: String,
}

impl Sender {
    /// Hands the listener over and waits until that is done. With the filter in place: write, read, wait4 and close only.
    pub(super) fn send(self, listener: &OwnedFd) -> Result<(), Error> {
        let failed = |source| Error::Path { path: format!("seccomp listenerPath {}", self.path), source };
        let number = listener.as_fd().as_raw_fd().to_le_bytes();
        rustix::io::write(&self.socket, &number).map_err(|errno| failed(errno.into()))?;
        let mut answer = [0; 4];
        let length = rustix::io::read(&self.socket, &mut answer[..]).map_err(|errno| failed(errno.into()))?;
        // Where the filter refuses it, the program is left with a child that has ended.
        let _ = sys::process::reap(Some(self.helper), true);
        match (length, i32::from_le_bytes(answer)) {
            (4, 0) => Ok(()),
            (4, errno) => Err(failed(io::Error::from_raw_os_error(errno))),
            _ => Err(failed(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}
