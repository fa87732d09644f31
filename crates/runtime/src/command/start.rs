//! `start`: the word that lets a created container's program run.

use std::os::fd::OwnedFd;

use super::options::Given;
use super::record::SOCKET;
use super::{Entry, Error, Status, entry, io};
use crate::hooks;
use crate::report::ToParent;

pub fn command(given: &Given) -> Result<i32, Error> {
    start(&entry(given)?).map(|()| 0)
}

pub fn start(entry: &Entry) -> Result<(), Error> {
    match entry.status() {
        Status::Created => {}
        other => return Err(Error::Status { action: "start", status: other.word() }),
    }
    let socket = sys::socket::seqpacket_connect(&entry.directory, SOCKET).map_err(io(SOCKET))?;
    std::fs::remove_file(entry.path.join(SOCKET)).map_err(io(SOCKET))?;
    say(entry, &socket)
}

/// Says the word over a socket to a container's first process, and hears what becomes of it.
pub fn say(entry: &Entry, socket: &OwnedFd) -> Result<(), Error> {
    ToParent::go(socket, entry.record.pid).map_err(io("start"))?;
    match ToParent::receive(socket) {
        Ok(Some((ToParent::Failed { message, .. }, _))) => return Err(Error::Start(message)),
        Ok(_) => {}
        // The socket closed with the exec.
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => return Err(io("start")(error)),
    }
    let record = &entry.record;
    hooks::run(&record.hooks.poststart, &record.state(Status::Running), Some(&record.bundle)).map_err(|error| {
        // runtime-spec, "Lifecycle": the container is stopped then.
        let _ = sys::signal::kill(record.pid, sys::signal::SIGKILL);
        Error::Start(crate::shim::chain(&error))
    })
}
