//! Reading responses.

use std::io::{self, Read};
use std::sync::Arc;

use crate::connection::{Connection, Socket};
use crate::sender::{Failure, Idle};
use crate::{Error, Result};

/// Status line and headers.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// Reads a head, skipping interim 1xx answers other than 101.
pub(crate) fn read_head(connection: &mut Connection) -> Result<Head, Failure> {
    loop {
        let head = read_one_head(connection)?;
        if head.status >= 200 || head.status == 101 {
            return Ok(head);
        }
    }
}

fn read_one_head(connection: &mut Connection) -> Result<Head, Failure> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Response::new(&mut headers);
        match parsed.parse(connection.buffered()) {
            Ok(httparse::Status::Complete(length)) => {
                let head = Head {
                    status: parsed.code.unwrap_or(0),
                    headers: parsed
                        .headers
                        .iter()
                        .map(|h| (h.name.to_owned(), String::from_utf8_lossy(h.value).into_owned()))
                        .collect(),
                };
                connection.consume(length);
                return Ok(head);
            }
            Ok(httparse::Status::Partial) => {}
            Err(error) => return Err(Failure::Malformed(error.to_string())),
        }
        if connection.fill().map_err(Failure::Socket)? == 0 {
            return Err(Failure::Socket(io::Error::new(io::ErrorKind::UnexpectedEof, "EOF")));
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Framing {
    Length(u64),
    /// Bytes left of the current chunk; `first` before the first size line.
    Chunked {
        left: u64,
        first: bool,
    },
    UntilClose,
    Done,
}

/// An answer with its body still to be read.
#[derive(Debug)]
pub struct Response {
    head: Head,
    connection: Option<Connection>,
    framing: Framing,
    idle: Arc<Idle>,
}

impl Response {
    pub(crate) fn new(connection: Connection, head: Head, headless: bool, idle: Arc<Idle>) -> Response {
        let chunked = head.header("transfer-encoding").is_some_and(|v| v.to_ascii_lowercase().contains("chunked"));
        let framing = if headless || head.status == 204 || head.status == 304 {
            Framing::Done
        } else if chunked {
            Framing::Chunked { left: 0, first: true }
        } else if let Some(length) = head.header("content-length").and_then(|v| v.trim().parse().ok()) {
            if length == 0 { Framing::Done } else { Framing::Length(length) }
        } else {
            Framing::UntilClose
        };
        let mut response = Response { head, connection: Some(connection), framing, idle };
        if response.framing == Framing::Done {
            response.finish();
        }
        response
    }

    /// HTTP status, below 400.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// A header, by any spelling of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The whole body, at most `limit` bytes.
    pub fn bytes(mut self, limit: usize) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        let mut piece = [0u8; 16 * 1024];
        loop {
            let count = self.read(&mut piece).map_err(|e| Error::Malformed(e.to_string()))?;
            if count == 0 {
                return Ok(body);
            }
            if body.len() + count > limit {
                return Err(Error::TooLarge(limit));
            }
            body.extend_from_slice(&piece[..count]);
        }
    }

    /// The body as JSON (at most 512 MiB).
    pub fn json<T: serde::de::DeserializeOwned>(self) -> Result<T> {
        Ok(serde_json::from_slice(&self.bytes(512 << 20)?)?)
    }

    /// Reads the body to its end and forgets it, so that the connection can be used again.
    pub fn discard(self) -> Result<()> {
        self.bytes(1 << 20).map(drop)
    }

    /// A handle of the socket, to end the response from another thread.
    pub fn socket(&self) -> Option<io::Result<Socket>> {
        self.connection.as_ref().map(|c| c.socket.try_clone())
    }

    fn finish(&mut self) {
        self.framing = Framing::Done;
        let close = self.head.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        if let Some(connection) = self.connection.take()
            && !close
        {
            self.idle.put(connection);
        }
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl Read for Response {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            let Some(connection) = self.connection.as_mut() else { return Ok(0) };
            match self.framing {
                Framing::Done => return Ok(0),
                Framing::UntilClose => {
                    let count = connection.read(out)?;
                    if count == 0 {
                        self.framing = Framing::Done;
                        self.connection = None;
                    }
                    return Ok(count);
                }
                Framing::Length(left) => {
                    let most = out.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let count = connection.read(&mut out[..most])?;
                    if count == 0 {
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "unexpected EOF"));
                    }
                    self.framing = Framing::Length(left - count as u64);
                    if left == count as u64 {
                        self.finish();
                    }
                    return Ok(count);
                }
                Framing::Chunked { left: 0, first } => {
                    if !first && connection.line()?.is_none_or(|line| !line.is_empty()) {
                        return Err(broken("malformed chunked encoding"));
                    }
                    let line = connection
                        .line()?
                        .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "unexpected EOF"))?;
                    let digits = line.split(|b| *b == b';').next().unwrap_or_default();
                    let size = std::str::from_utf8(digits)
                        .ok()
                        .and_then(|d| u64::from_str_radix(d.trim(), 16).ok())
                        .ok_or_else(|| broken("malformed chunked encoding"))?;
                    if size == 0 {
                        while connection.line()?.is_some_and(|line| !line.is_empty()) {}
                        self.finish();
                        return Ok(0);
                    }
                    self.framing = Framing::Chunked { left: size, first: false };
                }
                Framing::Chunked { left, .. } => {
                    let most = out.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let count = connection.read(&mut out[..most])?;
                    if count == 0 {
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "unexpected EOF"));
                    }
                    self.framing = Framing::Chunked { left: left - count as u64, first: false };
                    return Ok(count);
                }
            }
        }
    }
}

/// The message of an error body, as Docker's client reads it.
pub(crate) fn error_message(status: u16, body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Message {
        message: Option<String>,
    }
    if let Ok(Message { message: Some(message) }) = serde_json::from_slice(body) {
        return message.trim().to_owned();
    }
    let text = String::from_utf8_lossy(body);
    if text.trim().is_empty() {
        return format!(
            "request returned status {status} with no message, check if the server supports the requested API version"
        );
    }
    text.trim().to_owned()
}

/// A connection after the upgrade: bytes go both ways, each direction ends by itself.
#[derive(Debug)]
pub struct Hijacked {
    socket: Socket,
    early: Vec<u8>,
    taken: usize,
    media_type: Option<String>,
}

impl Hijacked {
    pub(crate) fn new(connection: Connection, head: &Head) -> Hijacked {
        let early = connection.buffered().to_vec();
        let media_type = head.header("content-type").map(str::to_owned);
        Hijacked { socket: connection.socket, early, taken: 0, media_type }
    }

    /// Content-Type of the answer (`application/vnd.docker.multiplexed-stream` or `…raw-stream`).
    pub fn media_type(&self) -> Option<&str> {
        self.media_type.as_deref()
    }

    /// Second handle of the socket, for writing and for shutting down.
    pub fn writer(&self) -> io::Result<Socket> {
        self.socket.try_clone()
    }
}

impl Read for Hijacked {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.taken < self.early.len() {
            let count = out.len().min(self.early.len() - self.taken);
            out[..count].copy_from_slice(&self.early[self.taken..self.taken + count]);
            self.taken += count;
            return Ok(count);
        }
        self.socket.read(out)
    }
}
