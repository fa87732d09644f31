//! The host's ports: which of them are published, and the sockets that keep others away from them.
//!
//! A reserved port is a bound socket: for TCP one that does not listen, so that a packet which nftables does not
//! redirect is refused. The kernel then tells us about processes of the host, and tells them about us.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use crate::address::Protocol;
use crate::endpoint::{BoundPort, HostPort, PortBinding};
use crate::error::{Error, Result};

/// How often the kernel is asked for a free port before we give up: it may name one of ours whose hold is gone.
const EPHEMERAL_ATTEMPTS: usize = 64;

/// The published ports.
#[derive(Debug, Default)]
pub struct Ports {
    taken: HashMap<(Protocol, u16), Vec<(IpAddr, String)>>,
}

impl Ports {
    /// Reserves a port for an endpoint, at the binding's address or at any of IPv4. `serves`: the socket is not only to keep
    /// others away, it listens.
    pub fn reserve(&mut self, binding: &PortBinding, endpoint: &str, serves: bool) -> Result<(BoundPort, OwnedFd)> {
        let protocol = binding.protocol;
        let address = binding.host_address.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let (port, hold) = match binding.host_port {
            HostPort::Ephemeral | HostPort::Fixed(0) => self.ephemeral(address, protocol, serves)?,
            HostPort::Fixed(port) => (port, self.fixed(address, port, protocol, serves)?),
            HostPort::Range(first, last) => {
                let candidates = (first.max(1)..=last).map(|port| (port, self.fixed(address, port, protocol, serves)));
                let free = candidates.filter_map(|(port, result)| match result {
                    Ok(hold) => Some(Ok((port, hold))),
                    Err(Error::PortAllocated { .. } | Error::AddressInUse { .. }) => None,
                    Err(error) => Some(Err(error)),
                });
                let exhausted = Error::PortsExhausted { address, first, last, protocol };
                free.take(1).next().unwrap_or(Err(exhausted))?
            }
        };
        self.taken.entry((protocol, port)).or_default().push((address, endpoint.to_owned()));
        let bound =
            BoundPort { container_port: binding.container_port, protocol, host_address: address, host_port: port };
        Ok((bound, hold))
    }

    /// Notes a port whose hold is elsewhere.
    pub fn restore(&mut self, port: &BoundPort, endpoint: &str) {
        let holders = self.taken.entry((port.protocol, port.host_port)).or_default();
        holders.push((port.host_address, endpoint.to_owned()));
    }

    /// Gives a port back, unless it has become another's.
    pub fn release(&mut self, port: &BoundPort, endpoint: &str) {
        let key = (port.protocol, port.host_port);
        if let Some(holders) = self.taken.get_mut(&key) {
            holders.retain(|(address, holder)| *address != port.host_address || holder != endpoint);
            if holders.is_empty() {
                self.taken.remove(&key);
            }
        }
    }

    /// Whether the endpoint holds the port.
    pub fn holds(&self, port: &BoundPort, endpoint: &str) -> bool {
        let holders = self.taken.get(&(port.protocol, port.host_port)).into_iter().flatten();
        holders.into_iter().any(|(address, holder)| *address == port.host_address && holder == endpoint)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.taken.clear();
    }

    /// A socket that listens on the port at a further address, which is no reservation.
    pub fn beside(&self, address: IpAddr, port: u16, protocol: Protocol) -> Result<OwnedFd> {
        self.fixed(address, port, protocol, true)
    }

    fn fixed(&self, address: IpAddr, port: u16, protocol: Protocol, serves: bool) -> Result<OwnedFd> {
        if self.is_taken(address, port, protocol) {
            return Err(Error::PortAllocated { address, port });
        }
        bind(address, port, protocol, serves)
    }

    fn ephemeral(&self, address: IpAddr, protocol: Protocol, serves: bool) -> Result<(u16, OwnedFd)> {
        for _ in 0..EPHEMERAL_ATTEMPTS {
            let hold = bind(address, 0, protocol, serves)?;
            let bound = rustix::net::getsockname(&hold).and_then(SocketAddr::try_from);
            let port = bound.map_err(|errno| bind_error(errno, address, 0, protocol))?.port();
            if !self.is_taken(address, port, protocol) {
                return Ok((port, hold));
            }
        }
        Err(Error::PortsExhausted { address, first: 0, last: 0, protocol })
    }

    fn is_taken(&self, address: IpAddr, port: u16, protocol: Protocol) -> bool {
        let holders = self.taken.get(&(protocol, port)).into_iter().flatten();
        let meets = |other: &IpAddr| {
            other.is_ipv6() == address.is_ipv6()
                && (*other == address || other.is_unspecified() || address.is_unspecified())
        };
        holders.into_iter().any(|(other, _)| meets(other))
    }
}

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// A socket bound to the port, which nobody else can bind while it is open.
fn bind(address: IpAddr, port: u16, protocol: Protocol, serves: bool) -> Result<OwnedFd> {
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, None),
        Protocol::Udp => (SocketType::DGRAM, None),
        Protocol::Sctp => (SocketType::STREAM, Some(ipproto::SCTP)),
    };
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let attempt = |reuse: bool| -> rustix::io::Result<OwnedFd> {
        let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, number)?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        if kind == SocketType::DGRAM && !serves {
            sockopt::set_socket_recv_buffer_size(&socket, 0)?; // nobody reads what strays in here
        }
        if reuse {
            sockopt::set_socket_reuseaddr(&socket, true)?;
        }
        rustix::net::bind(&socket, &SocketAddr::new(address, port))?;
        if serves && kind == SocketType::STREAM {
            // A listener keeps others away whatever it allows; its connections have to allow the next one of this port.
            sockopt::set_socket_reuseaddr(&socket, true)?;
            rustix::net::listen(&socket, BACKLOG)?;
        } else if reuse {
            sockopt::set_socket_reuseaddr(&socket, false)?;
        }
        Ok(socket)
    };
    let result = match attempt(false) {
        // Connections of a server that is gone (TIME_WAIT) keep a port from being bound, unless both sides allow the
        // reuse of addresses; a living listener does so even then. Allowing it during our bind alone lets no one else in.
        Err(Errno::ADDRINUSE) if kind == SocketType::STREAM => attempt(true),
        result => result,
    };
    result.map_err(|errno| bind_error(errno, address, port, protocol))
}

fn bind_error(errno: Errno, address: IpAddr, port: u16, protocol: Protocol) -> Error {
    match errno {
        Errno::PROTONOSUPPORT if protocol == Protocol::Sctp => Error::UnsupportedProtocol { protocol },
        Errno::ADDRINUSE => Error::AddressInUse { address, port, protocol },
        errno => Error::Bind { address, port, protocol, source: errno.into() },
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn binding(protocol: Protocol, address: &str, host_port: HostPort) -> PortBinding {
        let address = if address.is_empty() { "127.0.0.1" } else { address };
        let host_address = Some(address.parse().unwrap());
        PortBinding { container_port: 80, protocol, host_address, host_port }
    }

    #[test]
    fn ours_and_the_hosts_are_told_apart() {
        let mut ports = Ports::default();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let (bound, hold) = ports.reserve(&binding(protocol, "", HostPort::Ephemeral), "a", false).unwrap();
            let fixed = binding(protocol, "127.0.0.1", HostPort::Fixed(bound.host_port));
            assert!(matches!(ports.reserve(&fixed, "b", false), Err(Error::PortAllocated { .. })));
            let any = binding(protocol, "0.0.0.0", HostPort::Fixed(bound.host_port));
            assert!(matches!(ports.reserve(&any, "b", false), Err(Error::PortAllocated { .. })));
            let other = binding(protocol, "127.0.0.2", HostPort::Fixed(bound.host_port));
            let (other, _hold) = ports.reserve(&other, "b", false).unwrap();
            ports.release(&other, "b");
            ports.release(&bound, "someone else");
            assert!(ports.holds(&bound, "a"));
            ports.release(&bound, "a");
            assert!(matches!(ports.reserve(&fixed, "b", false), Err(Error::AddressInUse { .. })), "still held");
            drop(hold);
            let (again, _hold) = ports.reserve(&fixed, "b", false).unwrap();
            assert_eq!(again.host_port, bound.host_port);
        }
    }

    #[test]
    fn processes_of_the_host_win() {
        let listener = TcpListener::bind((LOOPBACK, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut ports = Ports::default();
        let fixed = binding(Protocol::Tcp, "127.0.0.1", HostPort::Fixed(port));
        assert!(matches!(ports.reserve(&fixed, "a", false), Err(Error::AddressInUse { .. })));
        let socket = UdpSocket::bind((LOOPBACK, 0)).unwrap();
        let fixed = binding(Protocol::Udp, "127.0.0.1", HostPort::Fixed(socket.local_addr().unwrap().port()));
        assert!(matches!(ports.reserve(&fixed, "a", false), Err(Error::AddressInUse { .. })));
    }

    #[test]
    fn a_server_that_is_gone_leaves_the_port_and_no_other_gets_in() {
        let listener = TcpListener::bind((LOOPBACK, 0)).unwrap(); // std sets SO_REUSEADDR
        let port = listener.local_addr().unwrap().port();
        let mut client = TcpStream::connect((LOOPBACK, port)).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"x").unwrap();
        drop((server, listener)); // the server closes first: TIME_WAIT is on its side
        let mut text = Vec::new();
        client.read_to_end(&mut text).unwrap();
        drop(client);
        let fixed = binding(Protocol::Tcp, "127.0.0.1", HostPort::Fixed(port));
        let (_, _hold) = Ports::default().reserve(&fixed, "a", false).unwrap();
        assert!(TcpListener::bind((LOOPBACK, port)).is_err());
    }

    #[test]
    fn ranges_skip_what_is_taken() {
        let mut ports = Ports::default();
        let (first, _hold) = ports.reserve(&binding(Protocol::Tcp, "", HostPort::Ephemeral), "a", false).unwrap();
        let start = first.host_port;
        let range = binding(Protocol::Tcp, "", HostPort::Range(start, start.saturating_add(50)));
        let (next, _hold) = ports.reserve(&range, "b", false).unwrap();
        assert!(next.host_port > start);
        let range = binding(Protocol::Tcp, "", HostPort::Range(start, start));
        assert!(matches!(ports.reserve(&range, "b", false), Err(Error::PortsExhausted { .. })));
    }

    #[test]
    fn what_cannot_be_published_is_named() {
        let mut ports = Ports::default();
        let mut reserve = |protocol, address: &str| {
            ports.reserve(&binding(protocol, address, HostPort::Ephemeral), "a", false).map(|_| ())
        };
        // Where the kernel has no SCTP, that is what the error says.
        assert!(matches!(reserve(Protocol::Sctp, ""), Ok(()) | Err(Error::UnsupportedProtocol { .. })));
        assert!(matches!(reserve(Protocol::Tcp, "192.0.2.200"), Err(Error::Bind { .. })));
    }
}
