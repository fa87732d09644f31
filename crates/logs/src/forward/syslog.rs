//! Syslog over a unix socket, UDP or TCP: RFC 3164, RFC 5424, and the short form of local sockets.

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::time::Duration;

use super::{Peer, text};
use crate::{Entry, Error, Result, Stream, time};

/// Local sockets that are tried without an address, as Docker does.
const LOCAL: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

/// How long a peer may take to accept a connection or an entry before it counts as gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// How entries get there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The first local socket that there is.
    Local,
    Unix(String),
    Unixgram(String),
    /// `host:port`.
    Udp(String),
    Tcp(String),
}

impl Transport {
    /// `[tcp|udp]://host[:port]`, `unix://path`, `unixgram://path`; empty is [`Transport::Local`]. Port 514 is the
    /// default.
    pub fn parse(address: &str) -> Result<Transport> {
        if address.is_empty() {
            return Ok(Transport::Local);
        }
        let form = || Error::Option(format!("syslog-address should be in form proto://address, got {address}"));
        let (scheme, rest) = address.split_once("://").ok_or_else(form)?;
        let host = || -> Result<String> {
            let rest = rest.trim_end_matches('/');
            if rest.is_empty() {
                return Err(form());
            }
            let has_port = rest.rsplit_once(':').is_some_and(|(host, port)| {
                port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']'))
            });
            Ok(if has_port { rest.to_owned() } else { format!("{rest}:514") })
        };
        let path = || {
            if rest.starts_with('/') { Ok(rest.to_owned()) } else { Err(form()) }
        };
        match scheme {
            "tcp" => Ok(Transport::Tcp(host()?)),
            "udp" => Ok(Transport::Udp(host()?)),
            "unix" => Ok(Transport::Unix(path()?)),
            "unixgram" => Ok(Transport::Unixgram(path()?)),
            "tcp+tls" => Err(Error::Option("hoist does not support syslog over tcp+tls yet".to_owned())),
            _ => Err(Error::Option(format!("unsupported scheme: '{scheme}'"))),
        }
    }

    /// Local sockets answer at once whether they are there.
    pub fn check(&self) -> Result<()> {
        match self {
            Transport::Local | Transport::Unix(_) | Transport::Unixgram(_) => self.connect().map(drop),
            Transport::Udp(_) | Transport::Tcp(_) => Ok(()),
        }
    }

    fn connect(&self) -> Result<Connection> {
        let fail = |address: String| move |source| Error::Peer { address, source };
        match self {
            Transport::Local => {
                let found = LOCAL.iter().find_map(|path| datagram(path).or_else(|_| stream(path)).ok());
                let none = io::Error::from(io::ErrorKind::NotFound);
                found.ok_or(none).map_err(fail("no local syslog socket".to_owned()))
            }
            Transport::Unix(path) => stream(path).map_err(fail(format!("dial unix {path}"))),
            Transport::Unixgram(path) => datagram(path).map_err(fail(format!("dial unixgram {path}"))),
            Transport::Udp(address) => udp(address).map_err(fail(format!("dial udp {address}"))),
            Transport::Tcp(address) => tcp(address).map_err(fail(format!("dial tcp {address}"))),
        }
    }
}

fn datagram(path: impl AsRef<Path>) -> io::Result<Connection> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(Connection::Unixgram(socket))
}

fn stream(path: impl AsRef<Path>) -> io::Result<Connection> {
    let socket = UnixStream::connect(path)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(Connection::Unix(socket))
}

fn udp(address: &str) -> io::Result<Connection> {
    let peer = first_address(address)?;
    let socket = UdpSocket::bind(if peer.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.connect(peer)?;
    Ok(Connection::Udp(socket))
}

fn tcp(address: &str) -> io::Result<Connection> {
    let socket = TcpStream::connect_timeout(&first_address(address)?, PATIENCE)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(Connection::Tcp(socket))
}

fn first_address(address: &str) -> io::Result<std::net::SocketAddr> {
    address.to_socket_addrs()?.next().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

#[derive(Debug)]
enum Connection {
    Unix(UnixStream),
    Unixgram(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Connection {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Connection::Unix(socket) => socket.write_all(message),
            Connection::Tcp(socket) => {
                // A peer that has closed its side takes one more message without an error: look first.
                closed(socket)?;
                socket.write_all(message)
            }
            Connection::Unixgram(socket) => socket.send(message).map(drop),
            // Nobody listening is not known before the next datagram, as everywhere with UDP.
            Connection::Udp(socket) => match socket.send(message) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => socket.send(message).map(drop),
                outcome => outcome.map(drop),
            },
        }
    }
}

fn closed(socket: &TcpStream) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let looked = socket.peek(&mut [0]);
    socket.set_nonblocking(false)?;
    match looked {
        Ok(0) => Err(io::ErrorKind::ConnectionReset.into()),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

/// RFC 5424, section 6.2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(u8);

impl Facility {
    /// By name or number; empty is `daemon`.
    pub fn parse(text: &str) -> Result<Facility> {
        const NAMES: [&str; 24] = [
            "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "",
            "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
        ];
        if text.is_empty() {
            return Ok(Facility(3));
        }
        let found = NAMES.iter().position(|name| *name == text).or_else(|| text.parse().ok().filter(|n| *n < 24));
        let number = found.and_then(|number| u8::try_from(number).ok());
        number.map(Facility).ok_or_else(|| Error::Option("invalid syslog facility".to_owned()))
    }
}

/// How a message looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Without a host name, as local sockets expect it.
    #[default]
    Local,
    Rfc3164,
    Rfc5424,
    /// With microseconds.
    Rfc5424Micro,
}

impl Format {
    pub fn parse(text: &str) -> Result<Format> {
        match text {
            "" => Ok(Format::Local),
            "rfc3164" => Ok(Format::Rfc3164),
            "rfc5424" => Ok(Format::Rfc5424),
            "rfc5424micro" => Ok(Format::Rfc5424Micro),
            _ => Err(Error::Option("Invalid syslog format".to_owned())),
        }
    }
}

/// A syslog server.
#[derive(Debug)]
pub struct Syslog {
    pub transport: Transport,
    pub facility: Facility,
    pub format: Format,
    pub tag: String,
    pub hostname: String,
    /// Seconds east of UTC at a time in nanoseconds.
    pub utc_offset: fn(u64) -> i64,
    connection: Option<Connection>,
}

impl Syslog {
    pub fn new(transport: Transport, facility: Facility, format: Format, tag: String, hostname: String) -> Syslog {
        Syslog { transport, facility, format, tag, hostname, utc_offset: |_| 0, connection: None }
    }

    fn message(&self, entry: &Entry<'_>) -> Vec<u8> {
        let severity = if entry.stream == Stream::Stdout { 6 } else { 3 };
        let priority = self.facility.0 * 8 + severity;
        let pid = std::process::id();
        let offset = (self.utc_offset)(entry.time_ns);
        let (tag, hostname) = (&self.tag, &self.hostname);
        let mut message = match self.format {
            Format::Local => format!("<{priority}>{} {tag}[{pid}]: ", stamp(entry.time_ns, offset)),
            Format::Rfc3164 => format!("<{priority}>{} {hostname} {tag}[{pid}]: ", stamp(entry.time_ns, offset)),
            Format::Rfc5424 | Format::Rfc5424Micro => {
                let digits = if self.format == Format::Rfc5424 { 19 } else { 26 };
                let time = rfc3339(entry.time_ns, offset, digits);
                format!("<{priority}>1 {time} {hostname} {tag} {pid} {tag} - ")
            }
        }
        .into_bytes();
        message.extend_from_slice(text(entry).0);
        message.push(b'\n');
        message
    }
}

impl Peer for Syslog {
    fn send(&mut self, entry: &Entry<'_>) -> Result<()> {
        let message = self.message(entry);
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.transport.connect()?,
        };
        connection.send(&message).map_err(|source| Error::Peer { address: "send to syslog".to_owned(), source })?;
        self.connection = Some(connection);
        Ok(())
    }
}

fn local(ns: u64, offset: i64) -> [u8; time::FORMATTED_LEN] {
    time::format(ns.saturating_add_signed(offset * 1_000_000_000))
}

/// `Jan  2 15:04:05`.
fn stamp(ns: u64, offset: i64) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = local(ns, offset);
    let number = |at: usize| usize::from(text[at] - b'0') * 10 + usize::from(text[at + 1] - b'0');
    let clock = String::from_utf8_lossy(&text[11..19]);
    format!("{} {:>2} {clock}", MONTHS[number(5).clamp(1, 12) - 1], number(8))
}

/// RFC 3339 with an offset, the first `digits` bytes of the time.
fn rfc3339(ns: u64, offset: i64, digits: usize) -> String {
    let text = local(ns, offset);
    let time = String::from_utf8_lossy(&text[..digits]);
    if offset == 0 {
        return format!("{time}Z");
    }
    let minutes = offset.unsigned_abs() / 60;
    format!("{time}{}{:02}:{:02}", if offset < 0 { '-' } else { '+' }, minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (address, expected) in [
            ("", Ok(Transport::Local)),
            ("tcp://host", Ok(Transport::Tcp("host:514".to_owned()))),
            ("udp://1.2.3.4:99", Ok(Transport::Udp("1.2.3.4:99".to_owned()))),
            ("tcp://[::1]", Ok(Transport::Tcp("[::1]:514".to_owned()))),
            ("tcp://[::1]:5", Ok(Transport::Tcp("[::1]:5".to_owned()))),
            ("unixgram:///dev/log", Ok(Transport::Unixgram("/dev/log".to_owned()))),
            ("unix://dev", Err("syslog-address should be in form proto://address, got unix://dev")),
            ("host", Err("syslog-address should be in form proto://address, got host")),
            ("http://host", Err("unsupported scheme: 'http'")),
            ("tcp+tls://host", Err("hoist does not support syslog over tcp+tls yet")),
        ] {
            assert_eq!(Transport::parse(address).map_err(|error| error.to_string()), expected.map_err(str::to_owned));
        }
        assert_eq!(Facility::parse("local7").unwrap(), Facility(23));
        assert_eq!(Facility::parse("4").unwrap(), Facility(4));
        assert!(Facility::parse("nowhere").is_err());
    }

    #[test]
    fn messages() {
        let entry = Entry { stream: Stream::Stderr, time_ns: 1_767_323_045_123_456_789, bytes: b"hi\n", attrs: b"" };
        let pid = std::process::id();
        for (format, expected) in [
            (Format::Local, format!("<27>Jan  2 03:04:05 t[{pid}]: hi\n")),
            (Format::Rfc3164, format!("<27>Jan  2 03:04:05 h t[{pid}]: hi\n")),
            (Format::Rfc5424, format!("<27>1 2026-01-02T03:04:05Z h t {pid} t - hi\n")),
            (Format::Rfc5424Micro, format!("<27>1 2026-01-02T03:04:05.123456Z h t {pid} t - hi\n")),
        ] {
            let facility = Facility::parse("").unwrap();
            let syslog = Syslog::new(Transport::Local, facility, format, "t".to_owned(), "h".to_owned());
            assert_eq!(String::from_utf8(syslog.message(&entry)).unwrap(), expected);
        }
        assert_eq!(rfc3339(1_767_323_045_000_000_000, -5400, 19), "2026-01-02T01:34:05-01:30");
    }
}
