//! The daemon's side.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::protocol::{Answer, Endpoint, MAX_MESSAGE, Request, Sandbox, VERSION, Versioned};
use crate::{Error, failed};

/// How long an answer may take; the resolver answers within microseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to the resolver. Requests of several threads follow each other.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    socket: Mutex<OwnedFd>,
}

impl Client {
    /// Connects to the resolver whose socket is at `path`.
    pub fn connect(path: &Path) -> Result<Client, Error> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let directory = std::fs::File::open(parent).map_err(failed("find"))?;
        let socket = sys::socket::seqpacket_connect(&directory, name).map_err(failed("connect to"))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE)).map_err(failed("configure"))?;
        set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE)).map_err(failed("configure"))?;
        Ok(Client { path: path.to_owned(), socket: Mutex::new(socket) })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A descriptor of the resolver's process, which becomes readable when it ends.
    pub fn process(&self) -> Result<OwnedFd, Error> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = rustix::net::sockopt::socket_peercred(socket.as_fd()).map_err(failed("find the process behind"))?;
        pidfd_open(peer.pid, PidfdFlags::empty()).map_err(failed("find the process behind"))
    }

    /// Ends the resolver.
    pub fn stop(&self) -> Result<(), Error> {
        pidfd_send_signal(self.process()?, Signal::TERM).map_err(failed("end the process behind"))
    }

    /// Serves a sandbox: `udp` and `tcp` (listening) were made in it, `namespace` is its network namespace.
    pub fn serve(
        &self,
        sandbox: Sandbox,
        udp: BorrowedFd<'_>,
        tcp: BorrowedFd<'_>,
        namespace: BorrowedFd<'_>,
    ) -> Result<(), Error> {
        self.ask(Request::Serve { sandbox }, &[udp, tcp, namespace])
    }

    /// Changes what a sandbox that is served may ask; of one that is not, nothing.
    pub fn change(&self, sandbox: Sandbox) -> Result<(), Error> {
        self.ask(Request::Serve { sandbox }, &[])
    }

    /// Closes a sandbox's sockets.
    pub fn drop_sandbox(&self, id: &str) -> Result<(), Error> {
        self.ask(Request::Drop { sandbox: id.to_owned() }, &[])
    }

    /// Adds or changes an endpoint's names.
    pub fn set(&self, endpoint: Endpoint) -> Result<(), Error> {
        self.ask(Request::Set { endpoint }, &[])
    }

    /// Removes an endpoint's names.
    pub fn remove(&self, endpoint: &str) -> Result<(), Error> {
        self.ask(Request::Remove { endpoint: endpoint.to_owned() }, &[])
    }

    /// Makes the names exactly these, without a moment in which one of them is missing.
    pub fn set_all(&self, endpoints: Vec<Endpoint>) -> Result<(), Error> {
        self.ask(Request::Begin, &[])?;
        for endpoint in endpoints {
            self.set(endpoint)?;
        }
        self.ask(Request::Settle, &[])
    }

    /// Ids of the sandboxes that are served.
    pub fn sandboxes(&self) -> Result<Vec<String>, Error> {
        let mut all: Vec<String> = Vec::new();
        loop {
            let after = all.last().cloned().unwrap_or_default();
            match self.exchange(Request::List { after }, &[])? {
                Answer::Sandboxes(some) if some.is_empty() => return Ok(all),
                Answer::Sandboxes(some) => all.extend(some),
                other => return Err(unexpected(&other)),
            }
        }
    }

    fn ask(&self, request: Request, descriptors: &[BorrowedFd<'_>]) -> Result<(), Error> {
        match self.exchange(request, descriptors)? {
            Answer::Done => Ok(()),
            other => Err(unexpected(&other)),
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
