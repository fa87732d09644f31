//! The daemon's requests.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::EventFlags;

use super::{Served, Server};
use crate::protocol::{Answer, LISTED, Request, Sandbox, VERSION, Versioned};
use crate::server::table::Entry;

impl Server {
    pub(super) fn accept_control(&mut self, listener: &OwnedFd) {
        while let Some(connection) = sys::control::accept_own(listener) {
            let token = self.table.insert(Entry::Listener);
            if self.watch(connection.as_fd(), token, EventFlags::IN).is_ok() {
                self.table.put(token, Entry::Control(connection));
            } else {
                self.table.take(token);
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
                return Answer::Sandboxes(self.sandboxes.range(range).take(LISTED).map(|(id, _)| id.clone()).collect());
            }
            Request::Serve { sandbox } => return self.serve_sandbox(sandbox, descriptors),
            Request::Drop { sandbox } => self.drop_sandbox(&sandbox),
            Request::Set { endpoint } => {
                if let Some(fresh) = &mut self.fresh {
                    fresh.insert(endpoint.id.clone());
                }
                self.names.set(endpoint);
            }
            Request::Remove { endpoint } => self.names.remove(&endpoint),
            Request::Begin => self.fresh = Some(Default::default()),
            Request::Settle => {
                if let Some(fresh) = self.fresh.take() {
                    self.names.keep(&fresh);
                }
            }
            Request::Stop => self.stop = true,
        }
        Answer::Done
    }

    fn serve_sandbox(&mut self, sandbox: Sandbox, descriptors: Vec<OwnedFd>) -> Answer {
        if descriptors.is_empty() {
            // Of one that is not served, nothing.
            if let Some(served) = self.sandboxes.get_mut(&sandbox.id) {
                served.sandbox = sandbox;
            }
            return Answer::Done;
        }
        let Ok([udp, tcp, namespace]) = <[OwnedFd; 3]>::try_from(descriptors) else {
            return Answer::Refused("three descriptors are needed".to_owned());
        };
        self.drop_sandbox(&sandbox.id);
        let id = sandbox.id.clone();
        let tokens =
            [self.table.insert(Entry::Datagrams(id.clone())), self.table.insert(Entry::Connections(id.clone()))];
        let watched = self
            .watch(udp.as_fd(), tokens[0], EventFlags::IN)
            .and_then(|()| self.watch(tcp.as_fd(), tokens[1], EventFlags::IN));
        if let Err(error) = watched {
            tokens.into_iter().for_each(|token| drop(self.table.take(token)));
            return Answer::Refused(error.to_string());
        }
        let namespace = sandbox.servers.iter().any(std::net::IpAddr::is_loopback).then_some(namespace);
        self.sandboxes.insert(id, Served { sandbox, udp, tcp, namespace, tokens, streams: 0 });
        Answer::Done
    }

    fn drop_sandbox(&mut self, id: &str) {
        if let Some(served) = self.sandboxes.remove(id) {
            served.tokens.into_iter().for_each(|token| drop(self.table.take(token)));
            for token in self.table.streams_of(id) {
                self.close_stream(token);
            }
        }
    }
}
