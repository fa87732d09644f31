//! A query on its way to another server: datagram or stream, server after server until the deadline.

use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};

use crate::cache::Key;
use crate::wire;

/// For one server.
pub(crate) const TRY: Duration = Duration::from_millis(2000);
/// For one peer, which is near or away.
const QUICK_TRY: Duration = Duration::from_millis(300);
/// For the whole query.
pub(crate) const WHOLE: Duration = Duration::from_millis(6000);

/// Who waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// Of the sandbox with this UDP token.
    Datagram { token: u64, from: SocketAddr },
    /// On the connection with this token.
    Stream { token: u64 },
}

impl Asker {
    pub fn token(self) -> u64 {
        match self {
            Asker::Datagram { token, .. } | Asker::Stream { token } => token,
        }
    }
}

/// A query that was passed on.
pub(crate) struct Forward {
    pub asker: Asker,
    /// The asker's number.
    pub id: u16,
    pub key: Key,
    pub room: usize,
    /// Our number, random.
    own: u16,
    message: Vec<u8>,
    question: Vec<u8>,
    servers: Vec<SocketAddr>,
    /// So many of them are peers, which are not waited for as long.
    pub quick: usize,
    at: usize,
    stream: bool,
    socket: Option<OwnedFd>,
    sent: usize,
    received: Vec<u8>,
    pub try_until: Instant,
    pub until: Instant,
}

/// What came of an event.
pub(crate) enum Progress {
    Waits,
    Answer(Vec<u8>),
    /// This server is of no use.
    Next,
}

impl Forward {
    #[allow(clippy::too_many_arguments, reason = "each is a different thing, and there is one caller")]
    pub fn new(
        asker: Asker,
        query: &wire::Query<'_>,
        message: &[u8],
        key: Key,
        servers: Vec<SocketAddr>,
        own: u16,
        now: Instant,
    ) -> Forward {
        let mut copy = message.to_vec();
        copy[..2].copy_from_slice(&own.to_be_bytes());
        Forward {
            asker,
            id: query.id,
            key,
            room: query.room(),
            own,
            message: copy,
            question: query.question.to_vec(),
            servers,
            quick: 0,
            at: 0,
            stream: matches!(asker, Asker::Stream { .. }),
            socket: None,
            sent: 0,
            received: Vec::new(),
            try_until: now + TRY,
            until: now + WHOLE,
        }
    }

    /// The query as it was passed on.
    pub fn query(&self) -> &[u8] {
        &self.message
    }

    /// Asks the next server; its socket, to be waited for. `None` when there is no further one.
    pub fn next(&mut self, mut make: impl FnMut(&SocketAddr) -> Option<Guard>, now: Instant) -> Option<BorrowedFd<'_>> {
        loop {
            let server = *self.servers.get(self.at)?;
            self.at += 1;
            self.socket = None;
            self.sent = 0;
            self.received.clear();
            let patience = if self.at <= self.quick { QUICK_TRY } else { TRY };
            self.try_until = (now + patience).min(self.until);
            if now >= self.until {
                return None;
            }
            // The namespace in which the socket is made is left again when the guard goes.
            let Some(guard) = make(&server) else { continue };
            let opened = self.open(&server);
            drop(guard);
            if let Ok(socket) = opened {
                self.socket = Some(socket);
                break;
            }
        }
        self.socket.as_ref().map(std::os::fd::AsFd::as_fd)
    }

    fn open(&mut self, server: &SocketAddr) -> Result<OwnedFd, Errno> {
        let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let kind = if self.stream { SocketType::STREAM } else { SocketType::DGRAM };
        let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
        match rustix::net::connect(&socket, server) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error),
        }
        if !self.stream {
            rustix::net::send(&socket, &self.message, SendFlags::NOSIGNAL)?;
        }
        Ok(socket)
    }

    /// The socket of the present try.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(std::os::fd::AsFd::as_fd)
    }

    /// Whether the socket is to be waited for until it takes bytes.
    pub fn wants_to_write(&self) -> bool {
        self.stream && self.sent < self.message.len() + 2
    }

    /// The socket has something, or takes something.
    pub fn ready(&mut self, buffer: &mut [u8]) -> Progress {
        let Some(socket) = &self.socket else { return Progress::Next };
        if !self.stream {
            return match rustix::net::recv(socket, &mut *buffer, rustix::net::RecvFlags::DONTWAIT) {
                // Something else than an answer to this query is passed over.
                Ok((length, _)) if !wire::answers(&buffer[..length], self.own, &self.question) => Progress::Waits,
                Ok((length, _)) => self.judge(buffer[..length].to_vec()),
                Err(error) if crate::is_transient(error) => Progress::Waits,
                Err(_) => Progress::Next,
            };
        }
        if self.wants_to_write() {
            let length = u16::try_from(self.message.len()).unwrap_or(u16::MAX);
            let mut whole = length.to_be_bytes().to_vec();
            whole.extend_from_slice(&self.message);
            return match rustix::net::send(socket, &whole[self.sent..], SendFlags::NOSIGNAL) {
                Ok(count) => {
                    self.sent += count;
                    Progress::Waits
                }
                Err(error) if crate::is_transient(error) => Progress::Waits,
                Err(_) => Progress::Next,
            };
        }
        match rustix::net::recv(socket, &mut *buffer, rustix::net::RecvFlags::DONTWAIT) {
            Ok((0, _)) => Progress::Next,
            Ok((length, _)) => {
                self.received.extend_from_slice(&buffer[..length]);
                let Some(header) = self.received.first_chunk::<2>() else { return Progress::Waits };
                let wanted = usize::from(u16::from_be_bytes(*header));
                match self.received.get(2..2 + wanted) {
                    Some(answer) if wire::answers(answer, self.own, &self.question) => {
                        let answer = answer.to_vec();
                        self.judge(answer)
                    }
                    Some(_) => Progress::Next,
                    None => Progress::Waits,
                }
            }
            Err(error) if crate::is_transient(error) => Progress::Waits,
            Err(_) => Progress::Next,
        }
    }

    /// A server that fails or refuses is asked no more, as long as there are others.
    fn judge(&self, answer: Vec<u8>) -> Progress {
        let (code, _) = wire::outcome(&answer);
        match code {
            2 | 4 | 5 if self.at < self.servers.len() => Progress::Next,
            _ => Progress::Answer(answer),
        }
    }
}

/// Runs what brings the process back into its own namespace.
pub(crate) struct Guard(pub Option<Box<dyn FnOnce()>>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(back) = self.0.take() {
            back();
        }
    }
}
