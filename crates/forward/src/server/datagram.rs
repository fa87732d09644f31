//! Datagrams: a socket of its own for each sender, so that answers find the way back.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::table::Entry;
use super::{SESSIONS, SESSIONS_OF_ONE, SILENCE, Server};

/// The longest there is.
pub(super) const LONGEST: usize = 64 * 1024;
/// Datagrams before something else has its turn.
const TURN: usize = 64;
/// How exact the end of a silence is, so that not every datagram moves it.
const GRAIN: Duration = Duration::from_secs(1);

/// A sender, and the socket by which it speaks with the target.
pub(super) struct Session {
    port: String,
    sender: (SocketAddr, Option<IpAddr>),
    socket: OwnedFd,
    until: Instant,
}

impl Server {
    pub(super) fn datagrams(&mut self, id: &str) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..TURN {
            let Some(served) = self.served.get(id) else { break };
            let received = match sys::datagram::receive(&served.socket, &mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => continue,
            };
            let sender = (received.from, received.to);
            let known = served.sessions.get(&sender).copied();
            // What cannot be passed on is as good as lost on the way.
            if let Some(token) = known.or_else(|| self.open_session(id, sender).ok())
                && let Some(session) = self.table.session(token)
            {
                let _ = rustix::net::send(&session.socket, &buffer[..received.length], SendFlags::DONTWAIT);
                self.heard_of(token);
            }
        }
        self.buffer = buffer;
    }

    fn open_session(&mut self, id: &str, sender: (SocketAddr, Option<IpAddr>)) -> Result<u64, Errno> {
        let Some(served) = self.served.get(id) else { return Err(Errno::NOENT) };
        let of_one = served.sessions.len() >= SESSIONS_OF_ONE;
        if of_one || self.sessions >= SESSIONS {
            let of = |token: &u64| matches!(self.table.get(*token), Some(Entry::Session(s)) if !of_one || s.port == id);
            let silent = self.deadlines.iter().map(|(_, token)| *token).find(of);
            silent.into_iter().for_each(|token| self.close_session(token));
        }
        let Some(served) = self.served.get(id) else { return Err(Errno::NOENT) };
        let target = served.forward.target;
        let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
        rustix::net::connect(&socket, &target)?;
        let token = self.table.number();
        self.watch(socket.as_fd(), token, EventFlags::IN)?;
        let until = Instant::now() + SILENCE;
        self.deadlines.insert((until, token));
        self.table.put(token, Entry::Session(Session { port: id.to_owned(), sender, socket, until }));
        self.sessions += 1;
        if let Some(served) = self.served.get_mut(id) {
            served.sessions.insert(sender, token);
        }
        Ok(token)
    }

    /// What the target has to say.
    pub(super) fn answers(&mut self, token: u64) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..TURN {
            let Some(Entry::Session(session)) = self.table.get(token) else { break };
            let Some(served) = self.served.get(&session.port) else { break };
            match rustix::net::recv(&session.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => {
                    let (to, from) = session.sender;
                    let _ = sys::datagram::send(&served.socket, &buffer[..length], to, from);
                }
                // A target that refuses (ICMP) is told once, and may listen later.
                Err(Errno::CONNREFUSED | Errno::INTR) => {}
                Err(_) => break,
            }
        }
        self.buffer = buffer;
        self.heard_of(token);
    }

    fn heard_of(&mut self, token: u64) {
        let until = Instant::now() + SILENCE;
        if let Some(session) = self.table.session(token)
            && until > session.until + GRAIN
        {
            let before = std::mem::replace(&mut session.until, until);
            self.deadlines.remove(&(before, token));
            self.deadlines.insert((until, token));
        }
    }

    pub(super) fn close_session(&mut self, token: u64) {
        let Some(Entry::Session(session)) = self.table.take(token) else { return };
        self.deadlines.remove(&(session.until, token));
        self.sessions -= 1;
        if let Some(served) = self.served.get_mut(&session.port) {
            served.sessions.remove(&session.sender);
        }
    }
}
