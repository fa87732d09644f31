//! The journal's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram of fields per entry.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use super::{Peer, text};
use crate::{Entry, Error, Result, Stream, time};

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// The systemd journal.
#[derive(Debug)]
pub struct Journald {
    socket_path: PathBuf,
    /// The same for every entry, encoded.
    fields: Vec<u8>,
    socket: Option<UnixDatagram>,
}

impl Journald {
    /// `fields`: upper-case names (`CONTAINER_NAME`) with their values.
    pub fn new(fields: &[(String, String)]) -> Journald {
        Journald::at(SOCKET.into(), fields)
    }

    /// At another socket.
    pub fn at(socket_path: PathBuf, fields: &[(String, String)]) -> Journald {
        let mut encoded = Vec::new();
        for (name, value) in fields {
            append(&mut encoded, name, value.as_bytes());
        }
        Journald { socket_path, fields: encoded, socket: None }
    }

    /// Whether this machine has a journal that takes entries.
    pub fn is_there() -> bool {
        UnixDatagram::unbound().and_then(|socket| socket.connect(SOCKET)).is_ok()
    }

    fn connect(&self) -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(&self.socket_path)?;
        socket.set_write_timeout(Some(Duration::from_secs(10)))?;
        Ok(socket)
    }
}

/// A field name that the journal takes: upper-case letters, digits and underscores, not first a digit or underscore.
pub(crate) fn field_name(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    let clean: String =
        upper.chars().map(|c| if c.is_ascii_uppercase() || c.is_ascii_digit() { c } else { '_' }).collect();
    clean.trim_start_matches('_').to_owned()
}

impl Journald {
    /// Turns an attribute into a field, as Docker does; `None` when nothing of its name is left.
    pub fn attribute(name: &str, value: &str) -> Option<(String, String)> {
        let name = field_name(name);
        let usable = name.bytes().next().is_some_and(|first| first.is_ascii_uppercase());
        usable.then(|| (name, value.to_owned()))
    }
}

/// A value with a newline goes with its length in front.
fn append(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if memchr::memchr(b'\n', value).is_some() {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

impl Peer for Journald {
    fn send(&mut self, entry: &Entry<'_>) -> Result<()> {
        let (text, partial) = text(entry);
        let mut datagram = Vec::with_capacity(text.len() + self.fields.len() + 128);
        append(&mut datagram, "MESSAGE", text);
        append(&mut datagram, "PRIORITY", if entry.stream == Stream::Stdout { b"6" } else { b"3" });
        append(&mut datagram, "SYSLOG_TIMESTAMP", time::format_rfc3339_nano(entry.time_ns).as_bytes());
        if partial {
            append(&mut datagram, "CONTAINER_PARTIAL_MESSAGE", b"true");
        }
        datagram.extend_from_slice(&self.fields);
        let fail = |source| Error::Peer { address: "send to the journal".to_owned(), source };
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => self.connect().map_err(fail)?,
        };
        socket.send(&datagram).map_err(fail)?;
        self.socket = Some(socket);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let mut out = Vec::new();
        append(&mut out, "A", b"b");
        append(&mut out, "C", b"d\ne");
        assert_eq!(out, b"A=b\nC\n\x03\0\0\0\0\0\0\0d\ne\n");
        assert_eq!(field_name("com.example.some-label"), "COM_EXAMPLE_SOME_LABEL");
        assert_eq!(Journald::attribute("_x", "1"), Some(("X".to_owned(), "1".to_owned())));
        assert_eq!(Journald::attribute("___", "1"), None);
    }
}
