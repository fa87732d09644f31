//! What is waited for, by the number that epoll hands back.

use std::os::fd::OwnedFd;

use super::datagram::Session;

/// One descriptor's meaning.
pub(super) enum Entry {
    Listener,
    /// A daemon.
    Control(OwnedFd),
    /// Of a TCP port, by its name.
    Connections(String),
    /// Of a UDP port.
    Datagrams(String),
    /// One of the two sockets of a relay, by the relay's number.
    Side(u64),
    Session(Session),
}

/// The entries. A number is not used again, so an event of something that has ended finds nothing.
#[derive(Default)]
pub(super) struct Table {
    entries: std::collections::HashMap<u64, Entry>,
    last: u64,
}

impl Table {
    /// A number that means nothing yet.
    pub fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub fn insert(&mut self, entry: Entry) -> u64 {
        let number = self.number();
        self.entries.insert(number, entry);
        number
    }

    pub fn get(&self, token: u64) -> Option<&Entry> {
        self.entries.get(&token)
    }

    pub fn session(&mut self, token: u64) -> Option<&mut Session> {
        match self.entries.get_mut(&token) {
            Some(Entry::Session(session)) => Some(session),
            _ => None,
        }
    }

    pub fn take(&mut self, token: u64) -> Option<Entry> {
        self.entries.remove(&token)
    }

    pub fn put(&mut self, token: u64, entry: Entry) {
        self.entries.insert(token, entry);
    }
}
