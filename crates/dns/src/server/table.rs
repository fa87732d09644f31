//! What is waited for, by the number that epoll hands back.

use std::os::fd::OwnedFd;
use std::time::Instant;

use crate::forward::Forward;

/// One descriptor's meaning.
pub(super) enum Entry {
    Listener,
    /// A daemon.
    Control(OwnedFd),
    /// UDP of a sandbox.
    Datagrams(String),
    /// TCP of a sandbox.
    Connections(String),
    Stream(Stream),
    Forward(Box<Forward>),
}

/// A container's connection.
pub(super) struct Stream {
    pub socket: OwnedFd,
    pub sandbox: String,
    /// What came and is no whole query yet.
    pub received: Vec<u8>,
    /// A query of it is on its way; the next one waits.
    pub busy: bool,
    pub until: Instant,
}

/// The entries. A number is not used again, so an event of something that has ended finds nothing.
#[derive(Default)]
pub(super) struct Table {
    entries: std::collections::HashMap<u64, Entry>,
    last: u64,
}

impl Table {
    pub fn insert(&mut self, entry: Entry) -> u64 {
        self.last += 1;
        self.entries.insert(self.last, entry);
        self.last
    }

    pub fn get(&self, token: u64) -> Option<&Entry> {
        self.entries.get(&token)
    }

    pub fn stream(&mut self, token: u64) -> Option<&mut Stream> {
        match self.entries.get_mut(&token) {
            Some(Entry::Stream(stream)) => Some(stream),
            _ => None,
        }
    }

    pub fn take(&mut self, token: u64) -> Option<Entry> {
        self.entries.remove(&token)
    }

    pub fn put(&mut self, token: u64, entry: Entry) {
        self.entries.insert(token, entry);
    }

    /// Of a sandbox's connections.
    pub fn streams_of(&self, sandbox: &str) -> Vec<u64> {
        let of = |(token, entry): (&u64, &Entry)| match entry {
            Entry::Stream(stream) if stream.sandbox == sandbox => Some(*token),
            _ => None,
        };
        self.entries.iter().filter_map(of).collect()
    }
}
