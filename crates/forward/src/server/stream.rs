//! Connections: accepted, connected to the target, and passed on through pipes, without a copy into this process.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, sockopt};
use rustix::pipe::{PipeFlags, SpliceFlags};

use super::table::Entry;
use super::{PATIENCE, STREAMS_OF_ONE, Server};

/// Bytes that one direction holds at most: a pipe's capacity.
const ROOM: usize = 64 * 1024;
/// Rounds before the next connection's turn.
const TURNS: usize = 16;
/// Connections accepted before something else has its turn.
const ACCEPTED: usize = 64;

/// Two sockets, and what is on its way between them.
pub(super) struct Relay {
    /// Name of the port that it came through.
    pub port: String,
    client: OwnedFd,
    target: OwnedFd,
    tokens: [u64; 2],
    /// Until when the target has to accept; `None` when it has.
    connecting: Option<Instant>,
    /// From the client, and to it.
    ways: [Way; 2],
}

/// One direction.
struct Way {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
    /// Nothing more comes.
    ended: bool,
    /// The other side was told so.
    told: bool,
}

impl Way {
    fn new() -> Result<Way, Errno> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Way { read, write, held: 0, ended: false, told: false })
    }

    /// Moves what can be moved. Says whether there may be more at once.
    fn pump(&mut self, from: &OwnedFd, to: &OwnedFd) -> Result<bool, Errno> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        for _ in 0..TURNS {
            let mut moved = false;
            if !self.ended && self.held < ROOM {
                match rustix::pipe::splice(from, None, &self.write, None, ROOM - self.held, flags) {
                    Ok(0) => self.ended = true,
                    Ok(count) => (self.held, moved) = (self.held + count, true),
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(errno) => return Err(errno),
                }
            }
            if self.held > 0 {
                match rustix::pipe::splice(&self.read, None, to, None, self.held, flags) {
                    Ok(count) => (self.held, moved) = (self.held - count, moved || count > 0),
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(errno) => return Err(errno),
                }
            }
            if self.ended && self.held == 0 && !self.told {
                self.told = true;
                // A side that is gone already hears nothing.
                let _ = rustix::net::shutdown(to, Shutdown::Write);
            }
            if !moved {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Server {
    pub(super) fn accept_streams(&mut self, id: &str) {
        for _ in 0..ACCEPTED {
            let full = self.streams >= self.most_streams;
            let Some(served) = self.served.get_mut(id) else { return };
            if full || served.streams >= STREAMS_OF_ONE {
                return self.pause(id);
            }
            match rustix::net::accept_with(&served.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(client) => {
                    let target = served.forward.target;
                    // Without the means to pass it on the connection ends here.
                    let _ = self.relay(id, client, target);
                }
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => return self.pause(id),
                Err(Errno::AGAIN) => return,
                // Errors of one connection, accept(2).
                Err(_) => {}
            }
        }
    }

    fn relay(&mut self, id: &str, client: OwnedFd, to: SocketAddr) -> Result<(), Errno> {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let target = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        for socket in [&client, &target] {
            sockopt::set_tcp_nodelay(socket, true)?;
            sockopt::set_socket_keepalive(socket, true)?;
        }
        let connecting = match rustix::net::connect(&target, &to) {
            Ok(()) => None,
            Err(Errno::INPROGRESS) => Some(Instant::now() + PATIENCE),
            Err(errno) => {
                reset(&client);
                return Err(errno);
            }
        };
        let ways = [Way::new()?, Way::new()?];
        let number = self.table.number();
        let tokens = [self.table.insert(Entry::Side(number)), self.table.insert(Entry::Side(number))];
        let both = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let watched =
            self.watch(client.as_fd(), tokens[0], both).and_then(|()| self.watch(target.as_fd(), tokens[1], both));
        if let Err(errno) = watched {
            tokens.into_iter().for_each(|token| drop(self.table.take(token)));
            return Err(errno);
        }
        if let Some(until) = connecting {
            self.deadlines.insert((until, number));
        }
        self.relays.insert(number, Relay { port: id.to_owned(), client, target, tokens, connecting, ways });
        self.streams += 1;
        if let Some(served) = self.served.get_mut(id) {
            served.streams += 1;
        }
        Ok(())
    }

    /// Passes on what can be passed on.
    pub(super) fn pump(&mut self, number: u64) {
        let Some(relay) = self.relays.get_mut(&number) else { return };
        if let Some(until) = relay.connecting {
            match connected(&relay.target) {
                Ok(false) => return,
                Ok(true) => {
                    relay.connecting = None;
                    self.deadlines.remove(&(until, number));
                }
                Err(_) => return self.close_relay(number),
            }
        }
        let [up, down] = &mut relay.ways;
        let outcome =
            up.pump(&relay.client, &relay.target).and_then(|more| Ok(down.pump(&relay.target, &relay.client)? || more));
        match outcome {
            Ok(_) if relay.ways.iter().all(|way| way.told) => self.close_relay(number),
            Ok(true) => self.eager.push(number),
            Ok(false) => {}
            Err(_) => self.close_relay(number),
        }
    }

    /// Ends a connection on both sides; one that is not at its end is cut off, so that nobody takes it for whole.
    pub(super) fn close_relay(&mut self, number: u64) {
        let Some(relay) = self.relays.remove(&number) else { return };
        relay.tokens.into_iter().for_each(|token| drop(self.table.take(token)));
        if let Some(until) = relay.connecting {
            self.deadlines.remove(&(until, number));
        }
        if !relay.ways.iter().all(|way| way.told) {
            reset(&relay.client);
            reset(&relay.target);
        }
        self.streams -= 1;
        if let Some(served) = self.served.get_mut(&relay.port) {
            served.streams -= 1;
        }
        drop(relay);
        self.resume();
    }

    /// No further connection through this port until another one ends.
    fn pause(&mut self, id: &str) {
        if let Some(served) = self.served.get_mut(id)
            && !served.paused
            && (served.streams > 0 || self.streams > 0)
        {
            served.paused = true;
            let _ = epoll::delete(&self.poll, &served.socket);
        }
    }

    fn resume(&mut self) {
        for served in self.served.values_mut().filter(|served| served.paused && served.streams < STREAMS_OF_ONE) {
            let data = epoll::EventData::new_u64(served.token);
            served.paused = epoll::add(&self.poll, &served.socket, data, EventFlags::IN).is_err();
        }
    }
}

/// Whether a connection has come about that was under way.
fn connected(socket: &OwnedFd) -> Result<bool, Errno> {
    sockopt::socket_error(socket)??;
    match rustix::net::getpeername(socket) {
        Ok(_) => Ok(true),
        Err(Errno::NOTCONN) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// The other side learns that the connection has failed, instead of a peaceful end.
fn reset(socket: &OwnedFd) {
    let _ = sockopt::set_socket_linger(socket, Some(std::time::Duration::ZERO));
}
