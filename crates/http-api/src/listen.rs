//! Where clients come in: `unix://`, `tcp://`, `fd://`.

mod activation;
mod group;
mod tcp;
mod tls;
mod unix;

use crate::socket::Socket;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

pub use activation::are_passed as are_sockets_passed;
pub use group::Group;
pub use tls::{Files, Tls};

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A socket of this path.
    Unix(PathBuf),
    /// `host:port`; without a port Docker's, which depends on TLS.
    Tcp { host: String, port: Option<u16> },
    /// Sockets that the service manager has opened: all of them, or one by its descriptor's number.
    Activation(Option<u32>),
}

/// How TCP is protected.
#[derive(Clone, Debug, Default)]
pub struct Tcp {
    pub tls: Option<Tls>,
    /// Anybody may come in, from anywhere.
    pub insist: bool,
}

/// Why an address cannot be listened on.
#[derive(Debug)]
pub enum Error {
    /// Not an address of ours.
    Unknown { address: String },
    /// Plain TCP would give root on this machine to everyone who reaches the port.
    NotLoopback { address: String },
    /// A certificate or key that cannot be used.
    Tls { path: PathBuf, reason: String },
    /// Another daemon answers there.
    InUse { path: PathBuf },
    /// Something that is no socket has the path.
    NotSocket { path: PathBuf },
    /// `--group` names nobody.
    NoSuchGroup { group: String },
    /// `fd://` without a service manager that passes sockets, or without this number.
    NotPassed { number: Option<u32> },
    /// The kernel says no.
    Io { doing: String, source: io::Error },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { address } => {
                write!(f, "cannot listen on {address:?}: give unix://PATH, tcp://HOST:PORT or fd://")
            }
            Self::NotLoopback { address } => write!(
                f,
                "refused to listen on {address}: whoever reaches the port is root on this machine; let clients prove \
                 themselves (--tlsverify with --tlscacert, --tlscert and --tlskey), use a loopback address \
                 (tcp://127.0.0.1:2375), a unix socket or ssh, or insist with --insecure-tcp"
            ),
            Self::Tls { path, reason } => write!(f, "TLS: {}: {reason}", path.display()),
            Self::InUse { path } => write!(f, "another daemon listens on {}", path.display()),
            Self::NotSocket { path } => write!(f, "{} exists and is not a socket", path.display()),
            Self::NoSuchGroup { group } => write!(f, "group {group} not found"),
            Self::NotPassed { number: None } => {
                write!(f, "fd:// was given, but the service manager passed no sockets (LISTEN_FDS)")
            }
            Self::NotPassed { number: Some(number) } => {
                write!(f, "fd://{number} was given, but the service manager did not pass it (LISTEN_FDS)")
            }
            Self::Io { doing, .. } => f.write_str(doing),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

fn io_error(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let doing = doing.into();
    move |source| Error::Io { doing, source }
}

impl Address {
    /// dockerd's forms; without a scheme it is TCP.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let unknown = || Error::Unknown { address: text.to_owned() };
        if let Some(path) = text.strip_prefix("unix://") {
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(unknown()) };
        }
        if let Some(number) = text.strip_prefix("fd://") {
            return match number {
                "" | "*" => Ok(Self::Activation(None)),
                _ => number.parse().map(|number| Self::Activation(Some(number))).map_err(|_| unknown()),
            };
        }
        let rest = match text.split_once("://") {
            Some(("tcp", rest)) => rest,
            Some(_) => return Err(unknown()),
            None => text,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') && (!host.contains(':') || host.ends_with(']')) => {
                (host, Some(port.parse().map_err(|_| unknown())?))
            }
            _ => (rest, None),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.contains(['/', ' ']) || rest.is_empty() {
            return Err(unknown());
        }
        Ok(Self::Tcp { host: if host.is_empty() { "127.0.0.1" } else { host }.to_owned(), port })
    }
}

/// A socket that accepts.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    /// Removed at the end, if it is still ours.
    path: Option<unix::Path>,
}

#[derive(Debug)]
enum Kind {
    Unix(std::os::unix::net::UnixListener),
    Tcp(std::net::TcpListener, Option<Tls>),
}

/// Opens an address. From here on clients can connect; they wait until [`crate::serve`] accepts them.
pub fn open(address: &Address, group: &Group, security: &Tcp) -> Result<Vec<Listener>, Error> {
    match address {
        Address::Unix(path) => Ok(vec![unix::open(path, group)?]),
        Address::Tcp { host, port } => tcp::open(host, *port, security),
        Address::Activation(number) => activation::open(*number, security),
    }
}

impl Listener {
    /// Of a socket that was opened elsewhere.
    fn adopt(socket: OwnedFd, tls: Option<Tls>) -> io::Result<Self> {
        let address = rustix::net::getsockname(&socket)?;
        let kind = if address.address_family() == rustix::net::AddressFamily::UNIX {
            Kind::Unix(socket.into())
        } else {
            Kind::Tcp(socket.into(), tls)
        };
        Ok(Self { kind, path: None })
    }

    /// Of a TCP socket.
    fn tcp_address(&self) -> Option<std::net::SocketAddr> {
        match &self.kind {
            Kind::Tcp(listener, _) => listener.local_addr().ok(),
            Kind::Unix(_) => None,
        }
    }

    /// The path of a unix socket, else the address.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::Unix(listener) => match listener.local_addr().ok().as_ref().and_then(|a| a.as_pathname()) {
                Some(path) => path.display().to_string(),
                None => "unix socket".to_owned(),
            },
            Kind::Tcp(listener, _) => listener.local_addr().map_or_else(|_| "tcp".to_owned(), |a| a.to_string()),
        }
    }

    pub(crate) fn into_acceptor(self) -> io::Result<Acceptor> {
        let kind = match self.kind {
            Kind::Unix(listener) => {
                listener.set_nonblocking(true)?;
                AcceptorKind::Unix(tokio::net::UnixListener::from_std(listener)?)
            }
            Kind::Tcp(listener, tls) => {
                listener.set_nonblocking(true)?;
                AcceptorKind::Tcp(tokio::net::TcpListener::from_std(listener)?, tls)
            }
        };
        Ok(Acceptor { kind, _path: self.path })
    }
}

/// A [`Listener`] inside of the async runtime.
pub(crate) struct Acceptor {
    kind: AcceptorKind,
    _path: Option<unix::Path>,
}

enum AcceptorKind {
    Unix(tokio::net::UnixListener),
    Tcp(tokio::net::TcpListener, Option<Tls>),
}

impl Acceptor {
    pub async fn accept(&self) -> io::Result<Socket> {
        match &self.kind {
            AcceptorKind::Unix(listener) => Ok(Socket::Unix(listener.accept().await?.0)),
            AcceptorKind::Tcp(listener, tls) => {
                let turn = match tls {
                    Some(tls) => Some((tls, tls.turn().await)),
                    None => None,
                };
                let stream = listener.accept().await?.0;
                stream.set_nodelay(true)?;
                match turn {
                    Some((tls, turn)) => tls.bridge(stream, turn).map(Socket::Unix),
                    None => Ok(Socket::Tcp(stream)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let tcp = |host: &str, port| Some(Address::Tcp { host: host.into(), port });
        for (text, expect) in [
            ("unix:///run/hoist.sock", Some(Address::Unix("/run/hoist.sock".into()))),
            ("unix://run/x", None),
            ("fd://", Some(Address::Activation(None))),
            ("fd://*", Some(Address::Activation(None))),
            ("fd://3", Some(Address::Activation(Some(3)))),
            ("fd://x", None),
            ("tcp://127.0.0.1:2375", tcp("127.0.0.1", Some(2375))),
            ("tcp://[::1]:80", tcp("::1", Some(80))),
            ("tcp://[::1]", tcp("::1", None)),
            ("tcp://localhost", tcp("localhost", None)),
            ("tcp://:1", tcp("127.0.0.1", Some(1))),
            ("127.0.0.1:99", tcp("127.0.0.1", Some(99))),
            ("tcp://", None),
            ("tcp://a:b", None),
            ("tcp://a/b", None),
            ("http://x", None),
            ("", None),
        ] {
            assert_eq!(Address::parse(text).ok(), expect, "{text}");
        }
    }
}
