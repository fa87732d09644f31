//! Our own nftables table (nft(8)), written through nfnetlink in atomic batches.
//!
//! ```text
//!  table inet NAME
//!    bridges, sources, peers, subnets, …      which links and addresses are ours: elements that come with a network
//!    published_address, published_any, open   host port → container: elements that come with a start or stop
//!    guard        raw prerouting              nobody else's 127.0.0.0/8
//!    prerouting, output ─▶ publish            host port → container
//!    postrouting                              masquerading: out, from loopback, hairpin
//!    forward ─ sources ─▶ from_internal       an internal network has no way out
//!            │         └▶ from_bridge         out of a network, or into another one of ours
//!            └ bridges ─▶ to_bridge           what may reach a container; everything else is not looked at
//! ```
//!
//! On the way through `forward` what is ours to decide gets a mark, for the one rule of [`foreign`].
//!
//! A packet that this table accepts is still subject to all others. Where one of those is known to drop what nobody accepts
//! (dockerd's, ufw's, firewalld's), one rule of ours stands in the chain that its owner has for such: see [`foreign`].

pub mod batch;
pub mod expression;
pub mod foreign;
pub mod redirect;
pub mod ruleset;

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::address::{IpNet, Protocol};
use crate::netlink::message::{attributes, text};
use crate::netlink::{Error, Request, Socket};
use batch::Batch;

/// Tells the shape of the table from that of other releases; kept as the table's comment.
const SHAPE: &str = "hoist 4";

/// A bridge of ours, as far as the table is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bridge {
    pub name: String,
    pub subnets: Vec<Subnet>,
    /// Containers on it may talk to each other.
    pub peers: bool,
    /// Nothing goes out of it.
    pub internal: bool,
    /// Interfaces from which its containers may be reached.
    pub trusted: Vec<String>,
}

/// A subnet of a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    pub net: IpNet,
    /// Traffic that leaves gets the host's address.
    pub outbound: bool,
    /// Whoever routes to it may reach its containers.
    pub unprotected: bool,
}

/// A port of the host that leads to a container.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Publication {
    pub protocol: Protocol,
    /// Unspecified: every address of the host.
    pub host_address: IpAddr,
    /// 0: none; the container's port is open at its own address.
    pub host_port: u16,
    pub address: IpAddr,
    pub port: u16,
}

/// One container may talk to another although they are on a bridge where none may.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Permission {
    pub from: IpAddr,
    pub to: IpAddr,
    pub protocol: Protocol,
    pub port: u16,
}

/// What the kernel holds under our name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Absent,
    /// Of another release.
    Foreign,
    Present,
}

/// The table and the socket through which it is changed.
pub struct Table {
    name: String,
    socket: Socket,
}

impl Table {
    /// Opens the socket; touches nothing.
    pub fn open(name: &str) -> Result<Table, Error> {
        Ok(Table { name: name.to_owned(), socket: Socket::netfilter()? })
    }

    /// The number by which the kernel names our socket in announcements of changes.
    pub fn port(&self) -> Result<u32, Error> {
        self.socket.port()
    }

    /// Looks for the table.
    pub fn presence(&mut self) -> Result<Presence, Error> {
        let mut request = Request::new();
        request.message(batch::GET_TABLE, 0, &batch::header(0), |a| a.string(batch::TABLE_NAME, &self.name));
        match self.socket.get(request) {
            Ok(payload) => {
                let data = attributes(payload.get(4..).unwrap_or_default());
                let comment = data.filter(|(kind, _)| *kind == batch::TABLE_USERDATA).map(|(_, v)| v).next();
                let same = comment == Some(&batch::comment(SHAPE)[..]);
                Ok(if same { Presence::Present } else { Presence::Foreign })
            }
            Err(error) if error.errno == Errno::NOENT => Ok(Presence::Absent),
            Err(error) => Err(error),
        }
    }

    /// Puts a new table in the place of the present one, if any, in one step that no packet sees half-done.
    pub fn rebuild(
        &mut self,
        bridges: &[Bridge],
        publications: &[Publication],
        permissions: &[Permission],
    ) -> Result<(), Error> {
        let mut batch = Batch::new(&self.name);
        batch.replace_table(SHAPE);
        ruleset::write(&mut batch, bridges, publications, permissions);
        self.socket.transact(batch.finish())
    }

    /// Adds a bridge.
    pub fn add_bridge(&mut self, bridge: &Bridge) -> Result<(), Error> {
        self.add(&ruleset::bridge_elements(std::slice::from_ref(bridge)))
    }

    /// Removes a bridge; what is not there is no error.
    pub fn remove_bridge(&mut self, bridge: &Bridge) -> Result<(), Error> {
        self.remove_elements(&ruleset::bridge_elements(std::slice::from_ref(bridge)))
    }

    /// Adds published ports.
    pub fn publish(&mut self, publications: &[Publication]) -> Result<(), Error> {
        self.add(&ruleset::publication_elements(publications))
    }

    /// Removes published ports; those that are not there are no error.
    pub fn unpublish(&mut self, publications: &[Publication]) -> Result<(), Error> {
        self.remove_elements(&ruleset::publication_elements(publications))
    }

    /// Lets containers talk to each other.
    pub fn permit(&mut self, permissions: &[Permission]) -> Result<(), Error> {
        self.add(&ruleset::permission_elements(permissions))
    }

    /// Takes that back; what is not there is no error.
    pub fn forbid(&mut self, permissions: &[Permission]) -> Result<(), Error> {
        self.remove_elements(&ruleset::permission_elements(permissions))
    }

    fn add(&mut self, elements: &ruleset::Elements) -> Result<(), Error> {
        if elements.is_empty() {
            return Ok(());
        }
        match self.try_add(elements) {
            Err(error) if error.errno == Errno::EXIST || error.errno == Errno::BUSY => {
                // A leftover with another target: what is asked for now is right.
                self.remove_elements(elements)?;
                self.try_add(elements)
            }
            result => result,
        }
    }

    fn try_add(&mut self, elements: &ruleset::Elements) -> Result<(), Error> {
        let mut batch = Batch::new(&self.name);
        ruleset::add(&mut batch, elements);
        self.socket.transact(batch.finish())
    }

    fn remove_elements(&mut self, elements: &ruleset::Elements) -> Result<(), Error> {
        if elements.is_empty() {
            return Ok(());
        }
        match self.try_remove(elements) {
            Err(error) if error.errno == Errno::NOENT => {}
            result => return result,
        }
        // One is not there: each for itself, the two ends of an interval together.
        let mut first = Ok(());
        for (set, elements) in elements {
            let step = if elements.iter().any(|element| element.interval_end) { 2 } else { 1 };
            for some in elements.chunks(step) {
                match self.try_remove(&vec![(*set, some.to_vec())]) {
                    Err(error) if error.errno != Errno::NOENT => first = first.and(Err(error)),
                    _ => {}
                }
            }
        }
        first
    }

    fn try_remove(&mut self, elements: &ruleset::Elements) -> Result<(), Error> {
        let mut batch = Batch::new(&self.name);
        ruleset::remove(&mut batch, elements);
        self.socket.transact(batch.finish())
    }

    /// Puts our rule into others' chains, where there are such; in which ones it stands now.
    pub fn ensure_foreign(&mut self) -> Result<Vec<&'static foreign::Place>, Error> {
        foreign::ensure(&mut self.socket, &self.name)
    }

    /// Takes it away from there.
    pub fn remove_foreign(&mut self) -> Result<(), Error> {
        foreign::remove(&mut self.socket, &self.name)
    }

    /// Deletes the table; that there is none is no error.
    pub fn remove(&mut self) -> Result<(), Error> {
        let mut batch = Batch::new(&self.name);
        batch.delete_table();
        match self.socket.transact(batch.finish()) {
            Err(error) if error.errno == Errno::NOENT => Ok(()),
            result => result,
        }
    }
}

/// Hears of changes to a table that others make.
pub struct Watch {
    name: String,
    socket: Socket,
}

impl Watch {
    /// Watches the table of that name from now on.
    pub fn open(name: &str) -> Result<Watch, Error> {
        let socket = Socket::netfilter_events(1 << (batch::EVENT_GROUP - 1))?;
        Ok(Watch { name: name.to_owned(), socket })
    }

    /// Waits until another socket than `ours` has changed our table, or one in which a rule of ours may stand; until `stop`
    /// becomes readable; or, if so, for as long as the `patience`.
    pub fn wait(&mut self, ours: u32, stop: BorrowedFd<'_>, patience: Option<Duration>) -> Result<Event, Error> {
        let end = patience.map(|patience| Instant::now() + patience);
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let mut ready = [PollFd::new(&self.socket, PollFlags::IN), PollFd::from_borrowed_fd(stop, PollFlags::IN)];
            let count = rustix::io::retry_on_intr(|| rustix::event::poll(&mut ready, left.as_ref()))?;
            if !ready[1].revents().is_empty() {
                return Ok(Event::Stopped);
            }
            if count == 0 {
                return Ok(Event::Nothing);
            }
            let heard = self.hear(ours)?;
            if heard != Heard::default() {
                return Ok(Event::Changed(heard));
            }
        }
    }

    /// Forgets what has been announced up to now, and tells what it was.
    pub fn forget(&mut self, ours: u32) -> Heard {
        let mut all = Heard::default();
        let mut waits = [PollFd::new(&self.socket, PollFlags::IN)];
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        while rustix::event::poll(&mut waits, Some(&none)).is_ok_and(|ready| ready > 0) {
            let heard = self.hear(ours).unwrap_or_default();
            (all.own, all.foreign) = (all.own || heard.own, all.foreign || heard.foreign);
            waits = [PollFd::new(&self.socket, PollFlags::IN)];
        }
        all
    }

    fn hear(&mut self, ours: u32) -> Result<Heard, Error> {
        let name = &self.name;
        let mut heard = Heard::default();
        let listened = self.socket.listen(|kind, port, payload| {
            if kind >> 8 != batch::SUBSYSTEM || kind == batch::NEW_GENERATION || port == ours {
                return;
            }
            // Attribute 1 of whatever belongs to a table is the table's name.
            let family = payload.first().copied().unwrap_or_default();
            let table = attributes(payload.get(4..).unwrap_or_default()).find(|(kind, _)| *kind == 1);
            let table = table.map(|(_, v)| text(v)).unwrap_or_default();
            heard.own |= table == *name;
            heard.foreign |= foreign::concerns(family, &table);
        });
        match listened {
            // More was announced than the queue holds: anything may have happened.
            Err(error) if error.errno == Errno::NOBUFS => Ok(Heard { own: true, foreign: true }),
            result => result.map(|()| heard),
        }
    }
}

/// Why [`Watch::wait`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Changed(Heard),
    /// The patience is at its end.
    Nothing,
    Stopped,
}

/// What somebody else has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Our table.
    pub own: bool,
    /// A table in which a rule of ours may stand.
    pub foreign: bool,
}
