//! The resolver's process: one thread, one epoll loop.

mod control;
mod query;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cache::Cache;
use crate::names::Names;
use crate::protocol::{MAX_MESSAGE, Sandbox};
use crate::resolv::HostServers;
use crate::{Error, failed};
use table::{Entry, Table};

/// Events taken at once.
const EVENTS: usize = 256;
/// Queries to others at the same time.
const FORWARDS: usize = 1024;
/// Connections of containers at the same time: together, and of one.
const STREAMS: usize = 1024;
const STREAMS_OF_ONE: usize = 64;
/// Longest silence of a container's connection.
const IDLE: Duration = Duration::from_secs(10);

/// A sandbox and its sockets.
struct Served {
    sandbox: Sandbox,
    udp: OwnedFd,
    tcp: OwnedFd,
    /// For servers at a loopback address of the container's own.
    namespace: Option<OwnedFd>,
    tokens: [u64; 2],
    streams: usize,
}

/// Everything that the process knows.
struct Server {
    poll: OwnedFd,
    table: Table,
    sandboxes: BTreeMap<String, Served>,
    names: Names,
    /// Endpoints that were set since the last `Begin`, if there was one.
    fresh: Option<BTreeSet<String>>,
    host: HostServers,
    cache: Cache,
    /// When something has to be given up: time and token.
    deadlines: BTreeSet<(Instant, u64)>,
    forwards: usize,
    streams: usize,
    /// The namespace of the process.
    own: OwnedFd,
    buffer: Vec<u8>,
    stop: bool,
}

/// Makes the control socket at `path`, mode 0600 in a directory of mode 0700; replaces one that is left there.
pub fn listen(path: &Path) -> Result<OwnedFd, Error> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed("replace")(error)),
        _ => {}
    }
    let directory = File::open(parent).map_err(failed("find"))?;
    sys::socket::seqpacket_listen(&directory, name).map_err(failed("listen on"))
}

/// Serves until the process is told to end. Returns only when the listener breaks, or on request.
pub fn serve(listener: OwnedFd) -> Result<(), Error> {
    // A sandbox takes two descriptors or three.
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let mut server = Server {
        poll: epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed("poll"))?,
        table: Table::default(),
        sandboxes: BTreeMap::new(),
        names: Names::default(),
        fresh: None,
        host: HostServers::default(),
        cache: Cache::default(),
        deadlines: BTreeSet::new(),
        forwards: 0,
        streams: 0,
        own: File::open("/proc/self/ns/net").map_err(failed("find the namespace of"))?.into(),
        buffer: vec![0; MAX_MESSAGE],
        stop: false,
    };
    rustix::io::ioctl_fionbio(&listener, true).map_err(failed("configure"))?;
    let token = server.table.insert(Entry::Listener);
    server.watch(listener.as_fd(), token, epoll::EventFlags::IN).map_err(failed("poll"))?;
    let mut events = Vec::with_capacity(EVENTS);
    while !server.stop {
        let timeout = server.deadlines.first().map(|(at, _)| at.saturating_duration_since(Instant::now()));
        let timeout = timeout
            .map(|left| Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: i64::from(left.subsec_nanos()) });
        events.clear();
        match epoll::wait(&server.poll, spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(failed("poll")(errno)),
        }
        for event in &events {
            server.handle(event.data.u64(), &listener);
        }
        server.expire(Instant::now());
    }
    Ok(())
}

impl Server {
    fn watch(
        &self,
        descriptor: std::os::fd::BorrowedFd<'_>,
        token: u64,
        flags: epoll::EventFlags,
    ) -> Result<(), rustix::io::Errno> {
        epoll::add(&self.poll, descriptor, epoll::EventData::new_u64(token), flags)
    }

    fn handle(&mut self, token: u64, listener: &OwnedFd) {
        match self.table.get(token) {
            Some(Entry::Listener) => self.accept_control(listener),
            Some(Entry::Control(_)) => self.control(token),
            Some(Entry::Datagrams(sandbox)) => {
                let sandbox = sandbox.clone();
                self.datagrams(&sandbox, token);
            }
            Some(Entry::Connections(sandbox)) => {
                let sandbox = sandbox.clone();
                self.accept_stream(&sandbox);
            }
            Some(Entry::Stream(_)) => self.stream(token),
            Some(Entry::Forward(_)) => self.forwarded(token),
            // Of something that has ended meanwhile.
            None => {}
        }
    }

    /// Gives up what has waited too long.
    fn expire(&mut self, now: Instant) {
        while let Some((at, token)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, token));
            match self.table.get(token) {
                Some(Entry::Stream(_)) => self.close_stream(token),
                Some(Entry::Forward(_)) => self.ask_next(token),
                _ => {}
            }
        }
    }
}
