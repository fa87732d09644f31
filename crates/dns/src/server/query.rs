//! Queries of containers: answered from the names, from the cache, or passed on.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Instant;

use rustix::event::epoll::{self, EventFlags};
use rustix::net::{RecvFlags, SendFlags, SocketFlags};

use super::table::{Entry, Stream};
use super::{FORWARDS, IDLE, STREAMS, STREAMS_OF_ONE, Server};
use crate::cache::Key;
use crate::forward::{Asker, Forward, Guard, Progress};
use crate::names::Found;
use crate::wire::{self, Code};

/// Seconds that an answer about a container counts, as Docker says it.
const TTL: u32 = 600;
/// The same for another host of the network: its clients hold on to it no longer.
const PEER_TTL: u32 = 5;
/// Datagrams that one sandbox may have answered before the next one's turn.
const TURN: usize = 32;
/// Longest query over TCP; nobody asks that much.
const LONGEST: usize = 4096;

/// What to do with a query.
enum Decision {
    Answer(Vec<u8>),
    Forwarded,
    Ignore,
}

impl Server {
    pub(super) fn datagrams(&mut self, sandbox: &str, token: u64) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..TURN {
            let Some(served) = self.sandboxes.get(sandbox) else { break };
            let received = rustix::net::recvfrom(&served.udp, &mut buffer[..], RecvFlags::DONTWAIT);
            let Ok((length, _, Some(from))) = received else { break };
            let Ok(from) = SocketAddr::try_from(from) else { continue };
            let message = &buffer[..length];
            if let Decision::Answer(answer) = self.decide(sandbox, message, Asker::Datagram { token, from }) {
                self.answer_datagram(sandbox, &answer, wire::parse(message).map_or(wire::UDP, |q| q.room()), from);
            }
        }
        self.buffer = buffer;
    }

    fn answer_datagram(&self, sandbox: &str, answer: &[u8], room: usize, to: SocketAddr) {
        let Some(served) = self.sandboxes.get(sandbox) else { return };
        // What cannot be sent is as good as lost on the way; the asker asks again.
        let _ = match answer.len() > room {
            true => rustix::net::sendto(&served.udp, &wire::truncate(answer), SendFlags::DONTWAIT, &to),
            false => rustix::net::sendto(&served.udp, answer, SendFlags::DONTWAIT, &to),
        };
    }

    fn decide(&mut self, id: &str, message: &[u8], asker: Asker) -> Decision {
        let query = match wire::parse(message) {
            Ok(query) => query,
            Err(wire::Refusal::Ignore) => return Decision::Ignore,
            Err(wire::Refusal::Answer { id, code }) => return Decision::Answer(wire::error(id, code)),
        };
        let Some(served) = self.sandboxes.get(id) else { return Decision::Ignore };
        let ttl = if served.sandbox.of_peers { PEER_TTL } else { TTL };
        if query.class == wire::IN {
            let name = query.name();
            if query.kind == wire::PTR {
                let known = wire::reverse(&name).and_then(|address| self.names.reverse(&served.sandbox, address));
                if let Some(name) = known {
                    let mut answer = query.answer(Code::Fine);
                    answer.pointer(&name, ttl);
                    return Decision::Answer(answer.finish());
                }
            } else if let Found::Addresses(all) = self.names.find(&served.sandbox, &name, query.kind == wire::AAAA) {
                // A name that is known, and perhaps nothing of the kind that was asked for.
                let mut answer = query.answer(Code::Fine);
                if matches!(query.kind, wire::A | wire::AAAA) {
                    all.into_iter().for_each(|address| answer.address(address, ttl));
                }
                return Decision::Answer(answer.finish());
            }
        }
        self.pass_on(id, &query, message, asker)
    }

    fn pass_on(&mut self, id: &str, query: &wire::Query<'_>, message: &[u8], asker: Asker) -> Decision {
        let fail = || Decision::Answer(query.answer(Code::ServerFailure).finish());
        let now = Instant::now();
        let Some(served) = self.sandboxes.get(id) else { return Decision::Ignore };
        // A name without a dot may be of a container on another host.
        let name = query.name();
        let peers = match query.class == wire::IN && !name.trim_end_matches('.').contains('.') {
            true => served.sandbox.peers.clone(),
            false => Vec::new(),
        };
        if !served.sandbox.forwards && peers.is_empty() {
            return fail();
        }
        let further = served.sandbox.forwards;
        let own: Vec<SocketAddr> =
            served.sandbox.servers.iter().map(|server| (*server, crate::resolv::PORT).into()).collect();
        let (servers, tag) = match own.is_empty() {
            false => {
                use std::hash::{DefaultHasher, Hash, Hasher};
                let mut hasher = DefaultHasher::new();
                own.hash(&mut hasher);
                // What a container's own loopback answers is nobody else's.
                if own.iter().any(|server| server.ip().is_loopback()) {
                    id.hash(&mut hasher);
                }
                (own, Some(hasher.finish()))
            }
            true => {
                let (servers, changed) = self.host.current(now);
                let servers = servers.to_vec();
                if changed {
                    self.cache.clear();
                }
                (servers, None)
            }
        };
        let question = query.question.to_ascii_lowercase();
        let key = Key { servers: tag, question, flavour: query.flavour() };
        // Whether a peer has the name may be another matter with the next query.
        if peers.is_empty()
            && let Some(answer) = self.cache.get(&key, query.id, now)
        {
            return Decision::Answer(answer);
        }
        let quick = peers.len();
        let servers: Vec<SocketAddr> = peers.into_iter().chain(servers.into_iter().filter(|_| further)).collect();
        if servers.is_empty() || self.forwards >= FORWARDS {
            return fail();
        }
        let mut random = [0; 2];
        if rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()) != Ok(2) {
            return fail();
        }
        let mut forward = Forward::new(asker, query, message, key, servers, u16::from_be_bytes(random), now);
        forward.quick = quick;
        self.forwards += 1;
        let token = self.table.insert(Entry::Forward(Box::new(forward)));
        self.ask_next(token);
        Decision::Forwarded
    }

    /// Asks the next server, or says that none has an answer.
    pub(super) fn ask_next(&mut self, token: u64) {
        let Some(Entry::Forward(mut forward)) = self.table.take(token) else { return };
        self.deadlines.remove(&(forward.try_until, token));
        let sandbox = self.sandbox_of(forward.asker);
        let own = rustix::io::fcntl_dupfd_cloexec(&self.own, 0).ok();
        let namespace = sandbox.and_then(|id| self.sandboxes.get(&id)).and_then(|served| {
            let namespace = served.namespace.as_ref()?;
            rustix::io::fcntl_dupfd_cloexec(namespace, 0).ok()
        });
        let enter = |server: &SocketAddr| match (&namespace, server.ip().is_loopback()) {
            (Some(namespace), true) => {
                let own = rustix::io::fcntl_dupfd_cloexec(own.as_ref()?, 0).ok()?;
                sys::process::join_network_namespace(namespace).ok()?;
                Some(Guard(Some(Box::new(move || {
                    // Without a way back every further socket would be the container's: better to end and be replaced.
                    if sys::process::join_network_namespace(&own).is_err() {
                        std::process::exit(1);
                    }
                }))))
            }
            _ => Some(Guard(None)),
        };
        let stream = forward.wants_to_write();
        let flags = if stream { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        let watched = match forward.next(enter, Instant::now()) {
            Some(socket) => epoll::add(&self.poll, socket, epoll::EventData::new_u64(token), flags).is_ok(),
            None => false,
        };
        if watched {
            self.deadlines.insert((forward.try_until, token));
            self.table.put(token, Entry::Forward(forward));
            return;
        }
        self.forwards -= 1;
        let mut failure = Vec::new();
        if let Ok(query) = wire::parse(forward.query()) {
            failure = query.answer(Code::ServerFailure).finish();
        }
        self.deliver(&forward, failure);
    }

    /// A server's socket has something.
    pub(super) fn forwarded(&mut self, token: u64) {
        let Some(Entry::Forward(mut forward)) = self.table.take(token) else { return };
        let mut buffer = std::mem::take(&mut self.buffer);
        let progress = forward.ready(&mut buffer);
        self.buffer = buffer;
        match progress {
            Progress::Waits => {
                if let Some(socket) = forward.socket().filter(|_| !forward.wants_to_write()) {
                    let _ = epoll::modify(&self.poll, socket, epoll::EventData::new_u64(token), EventFlags::IN);
                }
                self.table.put(token, Entry::Forward(forward));
            }
            Progress::Next => {
                self.table.put(token, Entry::Forward(forward));
                self.ask_next(token);
            }
            Progress::Answer(answer) => {
                self.deadlines.remove(&(forward.try_until, token));
                self.forwards -= 1;
                if forward.quick == 0 {
                    self.cache.put(forward.key.clone(), &answer, Instant::now());
                }
                self.deliver(&forward, answer);
            }
        }
    }

    fn sandbox_of(&self, asker: Asker) -> Option<String> {
        match (asker, self.table.get(asker.token())) {
            (Asker::Datagram { .. }, Some(Entry::Datagrams(id))) => Some(id.clone()),
            (Asker::Stream { .. }, Some(Entry::Stream(stream))) => Some(stream.sandbox.clone()),
            _ => None,
        }
    }

    fn deliver(&mut self, forward: &Forward, mut answer: Vec<u8>) {
        if answer.len() < wire::HEADER {
            return;
        }
        answer[..2].copy_from_slice(&forward.id.to_be_bytes());
        match forward.asker {
            Asker::Datagram { from, .. } => {
                if let Some(sandbox) = self.sandbox_of(forward.asker) {
                    self.answer_datagram(&sandbox, &answer, forward.room, from);
                }
            }
            Asker::Stream { token } => {
                self.answer_stream(token, &answer);
                self.stream(token);
            }
        }
    }

    pub(super) fn accept_stream(&mut self, sandbox: &str) {
        loop {
            let Some(served) = self.sandboxes.get_mut(sandbox) else { return };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let Ok(socket) = rustix::net::accept_with(&served.tcp, flags) else { return };
            if self.streams >= STREAMS || served.streams >= STREAMS_OF_ONE {
                continue; // closed at once
            }
            served.streams += 1;
            self.streams += 1;
            let until = Instant::now() + IDLE;
            let received = Vec::new();
            let stream = Stream { socket, sandbox: sandbox.to_owned(), received, busy: false, until };
            let token = self.table.insert(Entry::Stream(stream));
            self.deadlines.insert((until, token));
            let watched = match self.table.get(token) {
                Some(Entry::Stream(stream)) => self.watch(stream.socket.as_fd(), token, EventFlags::IN).is_ok(),
                _ => false,
            };
            if !watched {
                self.close_stream(token);
            }
        }
    }

    /// Reads from a container's connection and answers query after query.
    pub(super) fn stream(&mut self, token: u64) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut ended = false;
        if let Some(stream) = self.table.stream(token) {
            while !stream.busy && stream.received.len() <= LONGEST {
                match rustix::net::recv(&stream.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                    Ok((0, _)) => {
                        ended = true;
                        break;
                    }
                    Ok((length, _)) => stream.received.extend_from_slice(&buffer[..length]),
                    Err(error) => {
                        ended |= !crate::is_transient(error);
                        break;
                    }
                }
            }
        }
        self.buffer = buffer;
        loop {
            let Some(stream) = self.table.stream(token).filter(|stream| !stream.busy) else { return };
            let Some(header) = stream.received.first_chunk::<2>() else { break };
            let length = usize::from(u16::from_be_bytes(*header));
            if length > LONGEST {
                ended = true;
                break;
            }
            if stream.received.len() < 2 + length {
                break;
            }
            let message: Vec<u8> = stream.received.drain(..2 + length).skip(2).collect();
            let sandbox = stream.sandbox.clone();
            stream.busy = true;
            match self.decide(&sandbox, &message, Asker::Stream { token }) {
                Decision::Answer(answer) => self.answer_stream(token, &answer),
                // It is busy until the answer is there.
                Decision::Forwarded => return,
                Decision::Ignore => {
                    ended = true;
                    break;
                }
            }
        }
        if ended {
            self.close_stream(token);
        }
    }

    fn answer_stream(&mut self, token: u64, answer: &[u8]) {
        let Ok(length) = u16::try_from(answer.len()) else { return self.close_stream(token) };
        let mut whole = length.to_be_bytes().to_vec();
        whole.extend_from_slice(answer);
        let until = Instant::now() + IDLE;
        let Some(stream) = self.table.stream(token) else { return };
        stream.busy = false;
        self.deadlines.remove(&(stream.until, token));
        stream.until = until;
        self.deadlines.insert((until, token));
        // An answer fits into an empty socket's buffer; who does not read is hung up on.
        let sent = rustix::net::send(&stream.socket, &whole, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        if sent != Ok(whole.len()) {
            self.close_stream(token);
        }
    }

    pub(super) fn close_stream(&mut self, token: u64) {
        if let Some(Entry::Stream(stream)) = self.table.take(token) {
            self.deadlines.remove(&(stream.until, token));
            self.streams -= 1;
            if let Some(served) = self.sandboxes.get_mut(&stream.sandbox) {
                served.streams = served.streams.saturating_sub(1);
            }
        }
    }
}
