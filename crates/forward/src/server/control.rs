//! The daemon's requests.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::EventFlags;

use super::table::Entry;
use super::{Served, Server};
use crate::protocol::{Answer, Forward, LISTED, Protocol, Request, VERSION, Versioned};

impl Server {
    pub(super) fn accept_control(&mut self, listener: &OwnedFd) {
        while let Some(connection) = sys::control::accept_own(listener) {
            let token = self.table.number();
            if self.watch(connection.as_fd(), token, EventFlags::IN).is_ok() {
                self.table.put(token, Entry::Control(connection));
            }
        }
    }

    pub(super) fn control(&mut self, token: u64) {
        let Some(Entry::Control(connection)) = self.table.take(token) else { return };
        let mut buffer = std::mem::take(&mut self.buffer);
        let keep = sys::control::answer(&connection, &mut buffer, |message, descriptors| {
            let answer = match serde_json::from_slice::<Versioned>(message) {
                Ok(request) if request.version > VERSION => Answer::Refused("a later version".to_owned()),
                Ok(request) => self.carry_out(request.request, descriptors),
                Err(error) => Answer::Refused(error.to_string()),
            };
            serde_json::to_vec(&answer).ok()
        });
        self.buffer = buffer;
        if keep {
            self.table.put(token, Entry::Control(connection));
        }
    }

    fn carry_out(&mut self, request: Request, descriptors: Vec<OwnedFd>) -> Answer {
        match request {
            Request::List { after } => {
                let range = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
                Answer::Served(self.served.range(range).take(LISTED).map(|(id, _)| id.clone()).collect())
            }
            Request::Serve { forward } => self.take_up(forward, descriptors),
            Request::Drop { id } => {
                self.close(&id);
                Answer::Done
            }
        }
    }

    fn take_up(&mut self, forward: Forward, mut descriptors: Vec<OwnedFd>) -> Answer {
        let id = forward.id();
        let Some(socket) = descriptors.pop() else {
            // Connections that are there stay where they are; senders of datagrams are led to the new target.
            let Some(served) = self.served.get_mut(&id) else { return Answer::Unknown };
            if served.forward.target != forward.target {
                served.forward = forward;
                let sessions: Vec<u64> = served.sessions.values().copied().collect();
                sessions.into_iter().for_each(|token| self.close_session(token));
            }
            return Answer::Done;
        };
        self.close(&id);
        let entry = match forward.protocol {
            Protocol::Tcp => Entry::Connections(id.clone()),
            Protocol::Udp => Entry::Datagrams(id.clone()),
        };
        let token = self.table.insert(entry);
        let prepared = rustix::io::ioctl_fionbio(&socket, true)
            .map_err(std::io::Error::from)
            .and_then(|()| match forward.protocol {
                Protocol::Udp if forward.listen.ip().is_unspecified() => {
                    sys::datagram::tell_destinations(&socket, forward.listen.is_ipv6())
                }
                _ => Ok(()),
            })
            .and_then(|()| Ok(self.watch(socket.as_fd(), token, EventFlags::IN)?));
        if let Err(error) = prepared {
            self.table.take(token);
            return Answer::Refused(error.to_string());
        }
        let served = Served { forward, socket, token, paused: false, streams: 0, sessions: HashMap::new() };
        self.served.insert(id, served);
        Answer::Done
    }

    /// The port is served no more, and what came through it ends.
    fn close(&mut self, id: &str) {
        let Some(served) = self.served.remove(id) else { return };
        self.table.take(served.token);
        // Others have this socket open too, and as long as they do epoll would go on about it.
        let _ = rustix::event::epoll::delete(&self.poll, &served.socket);
        served.sessions.values().for_each(|token| self.close_session(*token));
        let relays: Vec<u64> =
            self.relays.iter().filter(|(_, relay)| relay.port == id).map(|(number, _)| *number).collect();
        relays.into_iter().for_each(|number| self.close_relay(number));
    }
}
