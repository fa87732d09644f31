//! A connection: the handshake, calls and their answers, signals in between.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Error;
use crate::wire::{self, Header, Kind, Reader, Writer};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Connection {
    stream: BufReader<UnixStream>,
    is_bus: bool,
    serial: u32,
    /// Came while an answer was waited for.
    signals: VecDeque<(Header, Vec<u8>)>,
}

impl Connection {
    /// To the first of the sockets that answers. On a bus (not systemd's private socket) a name has to be asked for.
    pub fn open(sockets: &[(PathBuf, bool)]) -> Result<Connection, Error> {
        let mut last = Error::Invalid("no socket is known");
        for (path, is_bus) in sockets {
            match UnixStream::connect(path) {
                Ok(stream) => return Connection::begin(stream, *is_bus),
                Err(source) => last = Error::Connect { path: path.display().to_string(), source },
            }
        }
        Err(last)
    }

    fn begin(stream: UnixStream, is_bus: bool) -> Result<Connection, Error> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut connection = Connection { stream: BufReader::new(stream), is_bus, serial: 0, signals: VecDeque::new() };
        // D-Bus specification, "Authentication Protocol": EXTERNAL is "as the kernel says who I am".
        let user = rustix::process::geteuid().as_raw().to_string();
        let hex: String = user.bytes().map(|byte| format!("{byte:02x}")).collect();
        connection.stream.get_mut().write_all(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes())?;
        let mut answer = String::new();
        (&mut connection.stream).take(4096).read_line(&mut answer)?;
        if !answer.starts_with("OK ") {
            return Err(Error::Refused { answer: answer.trim().to_owned() });
        }
        connection.stream.get_mut().write_all(b"BEGIN\r\n")?;
        if is_bus {
            let bus = "org.freedesktop.DBus";
            let path = "/org/freedesktop/DBus";
            connection.call(bus, path, bus, "Hello", ("", Writer::default()))?;
            let mut rule = Writer::default();
            rule.string("type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'");
            connection.call(bus, path, bus, "AddMatch", ("s", rule))?;
        }
        Ok(connection)
    }

    /// Whether others are on it too.
    pub fn is_bus(&self) -> bool {
        self.is_bus
    }

    /// Calls a method; the body of its answer.
    pub fn call(
        &mut self,
        destination: &str,
        path: &str,
        interface: &str,
        member: &str,
        body: (&str, Writer),
    ) -> Result<Vec<u8>, Error> {
        self.serial += 1;
        let serial = self.serial;
        let message = wire::call(serial, destination, path, interface, member, body);
        self.stream.get_mut().write_all(&message)?;
        loop {
            let (header, body) = self.receive()?;
            match header.kind {
                Some(Kind::Return) if header.reply_to == serial => return Ok(body),
                Some(Kind::Error) if header.reply_to == serial => {
                    let text = header.signature.starts_with('s').then(|| Reader::new(&body).string());
                    let message = text.transpose()?.unwrap_or_default();
                    return Err(Error::Answer { name: header.error, message });
                }
                Some(Kind::Signal) => self.keep(header, body),
                _ => {}
            }
        }
    }

    /// The next signal, at the latest at `end`; `None` when none came.
    pub fn signal(&mut self, end: Instant) -> Result<Option<(Header, Vec<u8>)>, Error> {
        loop {
            if let Some(signal) = self.signals.pop_front() {
                return Ok(Some(signal));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.get_ref().set_read_timeout(Some(left))?;
            let received = self.receive();
            self.stream.get_ref().set_read_timeout(Some(PATIENCE))?;
            match received {
                Ok((header, body)) if header.kind == Some(Kind::Signal) => self.keep(header, body),
                Ok(_) => {}
                Err(Error::Io(error)) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Others' jobs on a busy machine must not fill the memory: the oldest goes.
    fn keep(&mut self, header: Header, body: Vec<u8>) {
        if self.signals.len() == 1024 {
            self.signals.pop_front();
        }
        self.signals.push_back((header, body));
    }

    fn receive(&mut self) -> Result<(Header, Vec<u8>), Error> {
        let mut start = [0; 16];
        self.stream.read_exact(&mut start)?;
        let mut message = vec![0; wire::length(&start)?];
        message[..16].copy_from_slice(&start);
        self.stream.read_exact(&mut message[16..])?;
        let (header, body) = wire::parse(&message)?;
        Ok((header, body.to_vec()))
    }
}

/// Where systemd listens: the bus, else its private socket, which needs no bus daemon.
pub fn sockets(user: bool) -> Vec<(PathBuf, bool)> {
    if !user {
        return vec![
            (PathBuf::from("/run/dbus/system_bus_socket"), true),
            (PathBuf::from("/run/systemd/private"), false),
        ];
    }
    let own = format!("/run/user/{}", rustix::process::geteuid().as_raw());
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(|| PathBuf::from(own), PathBuf::from);
    let mut sockets = Vec::new();
    let address = std::env::var("DBUS_SESSION_BUS_ADDRESS").unwrap_or_default();
    if let Some(path) = address.split(';').find_map(|one| one.strip_prefix("unix:path=")) {
        sockets.push((Path::new(path.split(',').next().unwrap_or(path)).to_path_buf(), true));
    }
    sockets.extend([(runtime.join("bus"), true), (runtime.join("systemd/private"), false)]);
    sockets
}
