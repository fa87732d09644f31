//! The daemon's side.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::protocol::{Answer, Forward, MAX_MESSAGE, Request, VERSION, Versioned};
use crate::{Error, failed};

/// How long an answer may take; the forwarder answers within microseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to the forwarder. Requests of several threads follow each other.
#[derive(Debug)]
pub struct Client {
    socket: Mutex<OwnedFd>,
}

impl Client {
    /// Connects to the forwarder whose socket is at `path`.
    pub fn connect(path: &Path) -> Result<Client, Error> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let directory = std::fs::File::open(parent).map_err(failed("find"))?;
        let socket = sys::socket::seqpacket_connect(&directory, name).map_err(failed("connect to"))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE)).map_err(failed("configure"))?;
        set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE)).map_err(failed("configure"))?;
        Ok(Client { socket: Mutex::new(socket) })
    }

    /// A descriptor of the forwarder's process, which becomes readable when it ends.
    pub fn process(&self) -> Result<OwnedFd, Error> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = rustix::net::sockopt::socket_peercred(socket.as_fd()).map_err(failed("find the process behind"))?;
        pidfd_open(peer.pid, PidfdFlags::empty()).map_err(failed("find the process behind"))
    }

    /// Ends the forwarder.
    pub fn stop(&self) -> Result<(), Error> {
        pidfd_send_signal(self.process()?, Signal::TERM).map_err(failed("end the process behind"))
    }

    /// Serves `socket`, which is bound and, for TCP, listens.
    pub fn serve(&self, forward: &Forward, socket: BorrowedFd<'_>) -> Result<(), Error> {
        match self.exchange(Request::Serve { forward: *forward }, &[socket])? {
            Answer::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// What is served leads elsewhere; `false` when it is not served.
    pub fn redirect(&self, forward: &Forward) -> Result<bool, Error> {
        match self.exchange(Request::Serve { forward: *forward }, &[])? {
            Answer::Done => Ok(true),
            Answer::Unknown => Ok(false),
            other => Err(unexpected(&other)),
        }
    }

    /// Serves it no more. What is not served is no error.
    pub fn withdraw(&self, id: &str) -> Result<(), Error> {
        match self.exchange(Request::Drop { id: id.to_owned() }, &[])? {
            Answer::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// What is served, by [`Forward::id`].
    pub fn served(&self) -> Result<Vec<String>, Error> {
        let mut all: Vec<String> = Vec::new();
        loop {
            let after = all.last().cloned().unwrap_or_default();
            match self.exchange(Request::List { after }, &[])? {
                Answer::Served(some) if some.is_empty() => return Ok(all),
                Answer::Served(some) => all.extend(some),
                other => return Err(unexpected(&other)),
            }
        }
    }

    fn exchange(&self, request: Request, descriptors: &[BorrowedFd<'_>]) -> Result<Answer, Error> {
        let message = serde_json::to_vec(&Versioned { version: VERSION, request }).map_err(failed("write to"))?;
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        sys::socket::send(socket.as_fd(), &message, descriptors).map_err(failed("write to"))?;
        let mut buffer = vec![0; MAX_MESSAGE];
        let (length, _) = sys::socket::receive(socket.as_fd(), &mut buffer).map_err(failed("read from"))?;
        if length == 0 {
            return Err(failed("read from")(std::io::Error::from(std::io::ErrorKind::ConnectionReset)));
        }
        serde_json::from_slice(&buffer[..length]).map_err(failed("understand"))
    }
}

fn unexpected(answer: &Answer) -> Error {
    let answer = match answer {
        Answer::Refused(text) => text.clone(),
        other => format!("{other:?}"),
    };
    Error::Answer { answer }
}
