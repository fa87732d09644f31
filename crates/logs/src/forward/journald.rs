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
    /// Changes whenever `sent` begins anew.
    epoch: String,
    /// Entries that the journal took.
    sent: u64,
    /// Of a line that came in pieces and goes on, by stream.
    piece: [Option<Piece>; 2],
}

/// A piece of a line that was too long for one entry.
#[derive(Clone, Debug)]
struct Piece {
    /// The line's, the same for all of its pieces.
    id: String,
    /// From 1 on.
    number: u64,
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
        Journald { socket_path, fields: encoded, socket: None, epoch: random_id(), sent: 0, piece: [None, None] }
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

/// 32 hexadecimal digits.
fn random_id() -> String {
    let mut bytes = [0; 16];
    let length = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).unwrap_or(0);
    bytes[..length].iter().map(|byte| format!("{byte:02x}")).collect()
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
        // In Docker's words: a whole line has none of them, the last piece says that it is.
        let piece = match &self.piece[usize::from(entry.stream == Stream::Stderr)] {
            Some(before) => Some(Piece { id: before.id.clone(), number: before.number + 1 }),
            None => partial.then(|| Piece { id: random_id(), number: 1 }),
        };
        if let Some(piece) = &piece {
            if partial {
                append(&mut datagram, "CONTAINER_PARTIAL_MESSAGE", b"true");
            }
            append(&mut datagram, "CONTAINER_PARTIAL_ID", piece.id.as_bytes());
            append(&mut datagram, "CONTAINER_PARTIAL_ORDINAL", piece.number.to_string().as_bytes());
            append(&mut datagram, "CONTAINER_PARTIAL_LAST", if partial { b"false" } else { b"true" });
        }
        append(&mut datagram, "CONTAINER_LOG_EPOCH", self.epoch.as_bytes());
        append(&mut datagram, "CONTAINER_LOG_ORDINAL", (self.sent + 1).to_string().as_bytes());
        datagram.extend_from_slice(&self.fields);
        let fail = |source| Error::Peer { address: "send to the journal".to_owned(), source };
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => self.connect().map_err(fail)?,
        };
        socket.send(&datagram).map_err(fail)?;
        self.socket = Some(socket);
        self.sent += 1;
        self.piece[usize::from(entry.stream == Stream::Stderr)] = piece.filter(|_| partial);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a journal gets of these entries; an entry without a newline is a piece.
    #[test]
    fn pieces_of_long_lines() {
        let directory = std::env::temp_dir().join(format!("hoist-journal-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("socket");
        let mut peer = Journald::at(path.clone(), &[("CONTAINER_NAME".to_owned(), "box".to_owned())]);
        let entry = |stream, bytes| Entry { stream, time_ns: 1, bytes, attrs: b"" };
        let first = entry(Stream::Stdout, b"a");
        assert!(peer.send(&first).is_err(), "there is no journal yet");
        let journal = UnixDatagram::bind(&path).unwrap();
        let mut heard = |stream, bytes| -> Vec<(String, String)> {
            peer.send(&entry(stream, bytes)).unwrap();
            let mut buffer = [0; 4096];
            let length = journal.recv(&mut buffer).unwrap();
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            text.lines().map(|line| line.split_once('=').unwrap()).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
        };
        let mut ids = Vec::new();
        for (ordinal, (stream, bytes, expected)) in [
            (Stream::Stdout, &b"a"[..], "true 1 false"),
            (Stream::Stderr, b"whole\n", ""),
            (Stream::Stdout, b"b", "true 2 false"),
            (Stream::Stdout, b"c\n", " 3 true"),
            (Stream::Stdout, b"whole\n", ""),
            (Stream::Stdout, b"d", "true 1 false"),
        ]
        .into_iter()
        .enumerate()
        {
            let fields = heard(stream, bytes);
            let get = |name: &str| fields.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
            let partial = ["MESSAGE", "ORDINAL", "LAST"].map(|name| get(&format!("CONTAINER_PARTIAL_{name}")));
            let expected: Vec<&str> = if expected.is_empty() { vec![""; 3] } else { expected.split(' ').collect() };
            assert_eq!(partial[..], expected[..], "{ordinal}");
            assert_eq!(get("CONTAINER_LOG_ORDINAL"), (ordinal + 1).to_string());
            assert_eq!(get("CONTAINER_LOG_EPOCH").len(), 32);
            assert_eq!(get("CONTAINER_NAME"), "box");
            ids.push(get("CONTAINER_PARTIAL_ID").to_owned());
        }
        assert!(ids[0].len() == 32 && ids[0] == ids[2] && ids[0] == ids[3] && ids[0] != ids[5], "{ids:?}");
        assert!(ids[1].is_empty() && ids[4].is_empty(), "{ids:?}");
        std::fs::remove_dir_all(&directory).unwrap();
    }

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
