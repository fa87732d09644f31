//! `start`: the word that lets a created container's program run.

use super::options::Given;
use super::record::SOCKET;
use super::{Entry, Error, Status, entry, io};
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
    ToParent::go(&socket).map_err(io("start"))?;
    match ToParent::receive(&socket) {
        Ok(Some((ToParent::Failed { message, .. }, _))) => Err(Error::Start(message)),
        Ok(_) => Ok(()),
        // The socket closed with the exec.
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(io("start")(error)),
    }
}
