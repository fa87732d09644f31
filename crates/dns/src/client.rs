//! The daemon's side.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Signal, pidfd_send_signal};
use sys::control::Caller;

use crate::protocol::{Answer, Endpoint, MAX_MESSAGE, Request, Sandbox, VERSION, Versioned};
use crate::{Error, failed};

/// How long an answer may take; the resolver answers within microseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to the resolver. Requests of several threads follow each other.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    caller: Caller,
}

impl Client {
    /// Connects to the resolver whose socket is at `path`.
    pub fn connect(path: &Path) -> Result<Client, Error> {
        let caller = Caller::connect(path, PATIENCE).map_err(failed("connect to"))?;
        Ok(Client { path: path.to_owned(), caller })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A descriptor of the resolver's process, which becomes readable when it ends.
    pub fn process(&self) -> Result<OwnedFd, Error> {
        self.caller.process().map_err(failed("find the process behind"))
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
        let message =
            serde_json::to_vec(&Versioned { version: VERSION, request }).map_err(failed("exchange messages over"))?;
        let answer =
            self.caller.exchange(&message, descriptors, MAX_MESSAGE).map_err(failed("exchange messages over"))?;
        serde_json::from_slice(&answer).map_err(failed("understand"))
    }
}

fn unexpected(answer: &Answer) -> Error {
    let answer = match answer {
        Answer::Refused(text) => text.clone(),
        other => format!("{other:?}"),
    };
    Error::Answer { answer }
}
