//! Plain TCP, on loopback addresses only.

use super::{Error, Kind, Listener, io_error};
use std::net::{TcpListener, ToSocketAddrs};

pub(super) fn open(host: &str, port: u16) -> Result<Vec<Listener>, Error> {
    let address = format!("tcp://{host}:{port}");
    let found: Vec<_> = (host, port).to_socket_addrs().map_err(io_error(format!("look up {host}")))?.collect();
    if found.is_empty() || found.iter().any(|address| !address.ip().is_loopback()) {
        return Err(Error::NotLoopback { address });
    }
    let listener = TcpListener::bind(found.as_slice()).map_err(io_error(format!("listen on {address}")))?;
    Ok(vec![Listener { kind: Kind::Tcp(listener), path: None }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback() {
        assert!(matches!(open("0.0.0.0", 0), Err(Error::NotLoopback { .. })));
        assert!(matches!(open("192.0.2.1", 0), Err(Error::NotLoopback { .. })));
        assert_eq!(open("127.0.0.1", 0).unwrap().len(), 1);
    }
}
