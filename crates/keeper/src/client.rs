//! The daemon's side.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendFlags, SocketFlags, connect};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::protocol::{MAX_MESSAGE, VERSION, receive, send, valid_name};
use crate::{Error, listen};

/// How long an answer may take; the keeper answers within microseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to the keeper. Requests of several threads follow each other. When the keeper was restarted, the
/// next request connects again.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    socket: Mutex<Option<OwnedFd>>,
}

impl Keeper {
    /// Connects to the keeper that listens at `path`.
    ///
    /// # Errors
    /// [`Error::Socket`] with `ENOENT` or `ECONNREFUSED` when none is there.
    pub fn connect(path: &Path) -> Result<Keeper, Error> {
        let socket = dial(path)?;
        Ok(Keeper { path: path.to_owned(), socket: Mutex::new(Some(socket)) })
    }

    /// Ends the keeper that listens at `path`, and with it every mount that nothing else uses.
    ///
    /// # Errors
    /// [`Error::Socket`] when none is there.
    pub fn stop(path: &Path) -> Result<(), Error> {
        let failed = |errno| Error::Socket { op: "find the process behind", source: errno };
        let socket = dial(path)?;
        let peer = rustix::net::sockopt::socket_peercred(&socket).map_err(failed)?;
        // The connection stands, so the number still means the keeper when the descriptor is taken.
        let keeper = pidfd_open(peer.pid, PidfdFlags::empty()).map_err(failed)?;
        pidfd_send_signal(&keeper, Signal::TERM).map_err(failed)
    }

    /// Gives `fd` to the keeper under `name`. The caller's own descriptor stays open.
    ///
    /// # Errors
    /// [`Error::Taken`] when the name is held already.
    pub fn hold(&self, name: &str, fd: impl AsFd) -> Result<(), Error> {
        match self.ask("hold", name, Some(fd.as_fd()))? {
            (answer, _) if answer == b"ok" => Ok(()),
            (answer, _) if answer == b"taken" => Err(Error::Taken { name: name.to_owned() }),
            (answer, _) if answer == b"full" => Err(Error::Full),
            (answer, _) => Err(unexpected(&answer)),
        }
    }

    /// A descriptor of what is held under `name`.
    pub fn get(&self, name: &str) -> Result<Option<OwnedFd>, Error> {
        match self.ask("get", name, None)? {
            (answer, Some(fd)) if answer == b"ok" => Ok(Some(fd)),
            (answer, _) if answer == b"none" => Ok(None),
            (answer, _) => Err(unexpected(&answer)),
        }
    }

    /// Lets go of `name`; says whether it was held.
    pub fn release(&self, name: &str) -> Result<bool, Error> {
        match self.ask("release", name, None)?.0.as_slice() {
            b"ok" => Ok(true),
            b"none" => Ok(false),
            answer => Err(unexpected(answer)),
        }
    }

    /// All names, in order.
    pub fn list(&self) -> Result<Vec<String>, Error> {
        let mut names: Vec<String> = Vec::new();
        loop {
            let after = names.last().cloned().unwrap_or_default();
            let (answer, _) = self.ask("list", &after, None)?;
            let text = std::str::from_utf8(&answer).map_err(|_| unexpected(&answer))?;
            let mut lines = text.lines();
            if lines.next() != Some("names") {
                return Err(unexpected(&answer));
            }
            let before = names.len();
            names.extend(lines.map(str::to_owned));
            if names.len() == before {
                return Ok(names);
            }
        }
    }

    fn ask(
        &self,
        verb: &str,
        name: &str,
        fd: Option<std::os::fd::BorrowedFd<'_>>,
    ) -> Result<(Vec<u8>, Option<OwnedFd>), Error> {
        if !(valid_name(name) || (verb == "list" && name.is_empty())) {
            return Err(Error::Name { name: name.to_owned() });
        }
        let request = if name.is_empty() { format!("{VERSION} {verb}") } else { format!("{VERSION} {verb} {name}") };
        let mut slot = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fresh = false;
        loop {
            let socket = match slot.take() {
                Some(socket) => socket,
                None => {
                    fresh = true;
                    dial(&self.path)?
                }
            };
            match exchange(&socket, request.as_bytes(), fd) {
                Ok(answer) => {
                    *slot = Some(socket);
                    return Ok(answer);
                }
                // The keeper of before is gone; there may be a new one.
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) if !fresh => {}
                Err(source) => return Err(Error::Socket { op: "talk over", source }),
            }
        }
    }
}

fn dial(path: &Path) -> Result<OwnedFd, Error> {
    let failed = |op| move |source| Error::Socket { op, source };
    let socket = listen::seqpacket(SocketFlags::empty()).map_err(failed("create"))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE)).map_err(failed("configure"))?;
    set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE)).map_err(failed("configure"))?;
    let (address, _directory) = listen::address(path).map_err(failed("name"))?;
    connect(&socket, &address).map_err(failed("connect to"))?;
    Ok(socket)
}

fn exchange(
    socket: &OwnedFd,
    request: &[u8],
    fd: Option<std::os::fd::BorrowedFd<'_>>,
) -> Result<(Vec<u8>, Option<OwnedFd>), Errno> {
    send(socket, request, fd, SendFlags::empty())?;
    let mut buffer = vec![0; MAX_MESSAGE];
    let (length, fd) = receive(socket, &mut buffer, RecvFlags::empty())?;
    if length == 0 {
        return Err(Errno::CONNRESET);
    }
    buffer.truncate(length);
    Ok((buffer, fd))
}

fn unexpected(answer: &[u8]) -> Error {
    Error::Answer { answer: String::from_utf8_lossy(&answer[..answer.len().min(100)]).into_owned() }
}
