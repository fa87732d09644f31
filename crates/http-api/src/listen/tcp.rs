//! TCP: on loopback addresses, or with clients that prove themselves, or where somebody insists.

use super::{Error, Kind, Listener, Tcp, io_error};
use std::net::{IpAddr, TcpListener, ToSocketAddrs};

pub(super) fn open(host: &str, port: Option<u16>, tcp: &Tcp) -> Result<Vec<Listener>, Error> {
    let port = port.unwrap_or(if tcp.tls.is_some() { 2376 } else { 2375 });
    let address = format!("tcp://{host}:{port}");
    let found: Vec<_> = (host, port).to_socket_addrs().map_err(io_error(format!("look up {host}")))?.collect();
    if found.is_empty() {
        return Err(Error::Unknown { address });
    }
    for one in &found {
        allowed(one.ip(), &address, tcp)?;
    }
    let listener = TcpListener::bind(found.as_slice()).map_err(io_error(format!("listen on {address}")))?;
    Ok(vec![Listener { kind: Kind::Tcp(listener, tcp.tls.clone()), path: None }])
}

/// Whether the API may be had at an address.
pub(super) fn allowed(ip: IpAddr, address: &str, tcp: &Tcp) -> Result<(), Error> {
    let proven = tcp.tls.as_ref().is_some_and(super::Tls::verifies);
    if ip.is_loopback() || proven {
        return Ok(());
    }
    if !tcp.insist {
        return Err(Error::NotLoopback { address: address.to_owned() });
    }
    tracing::warn!(
        "{address} has no protection: whoever reaches this port is root on this machine (--insecure-tcp was given)"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_unless_insisted_on() {
        let plain = Tcp::default();
        assert!(matches!(open("0.0.0.0", Some(0), &plain), Err(Error::NotLoopback { .. })));
        assert!(matches!(open("192.0.2.1", Some(0), &plain), Err(Error::NotLoopback { .. })));
        assert_eq!(open("127.0.0.1", Some(0), &plain).unwrap().len(), 1);
        let insisting = Tcp { insist: true, ..Tcp::default() };
        assert!(allowed("0.0.0.0".parse().unwrap(), "x", &insisting).is_ok());
    }
}
