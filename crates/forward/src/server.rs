//! The forwarder's process: one thread, one epoll loop.

mod control;
mod datagram;
mod stream;
mod table;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::protocol::{Forward, MAX_MESSAGE};
use crate::{Error, failed};
use stream::Relay;
use table::{Entry, Table};

/// Events taken at once.
const EVENTS: usize = 256;
/// Connections at the same time: together, and through one port.
const STREAMS: usize = 8192;
const STREAMS_OF_ONE: usize = 4096;
/// Senders of datagrams at the same time: together, and through one port.
const SESSIONS: usize = 8192;
const SESSIONS_OF_ONE: usize = 2048;
/// Descriptors of a connection: two sockets, two pipes. And those that are for everything else.
const DESCRIPTORS: u64 = 6;
const SPARE: u64 = 4096;
/// Longest silence of a sender of datagrams, as connection tracking has it for those that are answered.
const SILENCE: Duration = Duration::from_secs(120);
/// How long a target may take to accept.
const PATIENCE: Duration = Duration::from_secs(30);

/// A port and what came through it.
struct Served {
    forward: Forward,
    socket: OwnedFd,
    token: u64,
    /// Not watched: there is no room for another connection.
    paused: bool,
    streams: usize,
    /// By the sender and by the address of this host that it has sent to.
    sessions: HashMap<(SocketAddr, Option<IpAddr>), u64>,
}

/// Everything that the process knows.
struct Server {
    poll: OwnedFd,
    table: Table,
    served: BTreeMap<String, Served>,
    relays: HashMap<u64, Relay>,
    /// Relays that have had their turn and could go on.
    eager: Vec<u64>,
    /// When something has to be given up: time and token.
    deadlines: BTreeSet<(Instant, u64)>,
    streams: usize,
    most_streams: usize,
    sessions: usize,
    buffer: Vec<u8>,
}

/// Makes the control socket at `path`, mode 0600 in a directory of mode 0700; replaces one that is left there.
pub fn listen(path: &Path) -> Result<OwnedFd, Error> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let directory = File::open(parent).map_err(failed("find"))?;
    sys::socket::seqpacket_listen(&directory, name).map_err(failed("listen on"))
}

/// Serves until the process is told to end by a signal. Returns only when the listener breaks.
pub fn serve(listener: OwnedFd) -> Result<(), Error> {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let room = limit.maximum.map_or(STREAMS as u64, |most| most.saturating_sub(SPARE) / DESCRIPTORS);
    let mut server = Server {
        poll: epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed("poll"))?,
        table: Table::default(),
        served: BTreeMap::new(),
        relays: HashMap::new(),
        eager: Vec::new(),
        deadlines: BTreeSet::new(),
        streams: 0,
        most_streams: usize::try_from(room).unwrap_or(STREAMS).clamp(16, STREAMS),
        sessions: 0,
        buffer: vec![0; MAX_MESSAGE.max(datagram::LONGEST)],
    };
    rustix::io::ioctl_fionbio(&listener, true).map_err(failed("configure"))?;
    let token = server.table.insert(Entry::Listener);
    server.watch(listener.as_fd(), token, epoll::EventFlags::IN).map_err(failed("poll"))?;
    let mut events = Vec::with_capacity(EVENTS);
    loop {
        let timeout = server.deadlines.first().map(|(at, _)| at.saturating_duration_since(Instant::now()));
        let timeout = if server.eager.is_empty() { timeout } else { Some(Duration::ZERO) };
        let timeout = timeout
            .map(|left| Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: i64::from(left.subsec_nanos()) });
        events.clear();
        match epoll::wait(&server.poll, spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(failed("poll")(errno)),
        }
        let eager = std::mem::take(&mut server.eager);
        for event in &events {
            server.handle(event.data.u64(), &listener);
        }
        eager.into_iter().for_each(|relay| server.pump(relay));
        server.expire(Instant::now());
    }
}

impl Server {
    fn watch(&self, descriptor: BorrowedFd<'_>, token: u64, flags: epoll::EventFlags) -> Result<(), rustix::io::Errno> {
        epoll::add(&self.poll, descriptor, epoll::EventData::new_u64(token), flags)
    }

    fn handle(&mut self, token: u64, listener: &OwnedFd) {
        match self.table.get(token) {
            Some(Entry::Listener) => self.accept_control(listener),
            Some(Entry::Control(_)) => self.control(token),
            Some(Entry::Connections(id)) => {
                let id = id.clone();
                self.accept_streams(&id);
            }
            Some(Entry::Datagrams(id)) => {
                let id = id.clone();
                self.datagrams(&id);
            }
            Some(Entry::Side(relay)) => {
                let relay = *relay;
                self.pump(relay);
            }
            Some(Entry::Session(_)) => self.answers(token),
            // Of something that has ended meanwhile.
            None => {}
        }
    }

    /// Gives up what has waited too long.
    fn expire(&mut self, now: Instant) {
        while let Some((at, token)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, token));
            match self.table.get(token) {
                Some(Entry::Session(_)) => self.close_session(token),
                _ => self.close_relay(token),
            }
        }
    }
}
