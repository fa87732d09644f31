//! The daemon's side.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::process::{Signal, pidfd_send_signal};
use sys::control::Caller;

use crate::protocol::{Answer, Forward, MAX_MESSAGE, Request, VERSION, Versioned};
use crate::{Error, failed};

/// How long an answer may take; the forwarder answers within microseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to the forwarder. Requests of several threads follow each other.
#[derive(Debug)]
pub struct Client {
    caller: Caller,
}

impl Client {
    /// Connects to the forwarder whose socket is at `path`.
    pub fn connect(path: &Path) -> Result<Client, Error> {
        let caller = Caller::connect(path, PATIENCE).map_err(failed("connect to"))?;
        Ok(Client { caller })
    }

    /// A descriptor of the forwarder's process, which becomes readable when it ends.
    pub fn process(&self) -> Result<OwnedFd, Error> {
        self.caller.process().map_err(failed("find the process behind"))
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
