//! Our own nftables table (nft(8)), written through nfnetlink in atomic batches.
//!
//! ```text
//!  table inet NAME
//!    bridges, peers, subnets, outbound        which links and addresses are ours
//!    published_address, published_any         host port → container; a start or stop changes elements of these only
//!    guard        raw prerouting              nobody else's 127.0.0.0/8
//!    prerouting, output ─▶ publish            host port → container
//!    postrouting                              masquerading: out, from loopback, hairpin
//!    forward ─▶ to_container                  what may reach a container; everything else is not looked at
//! ```
//!
//! Nothing outside of the table is read or written; a packet that this table accepts is still subject to all others.

pub mod batch;
pub mod expression;
pub mod ruleset;

use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use crate::address::{Ipv4Net, Protocol};
use crate::netlink::message::{attributes, text};
use crate::netlink::{Error, Request, Socket};
use batch::Batch;

/// Tells the shape of the table from that of other releases; kept as the table's comment.
const SHAPE: &str = "hoist 1";

/// A bridge of ours, as far as the table is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    pub name: String,
    pub subnet: Ipv4Net,
    /// Containers on it may talk to each other.
    pub peers: bool,
    /// Traffic that leaves gets the host's address.
    pub outbound: bool,
}

/// A port of the host that leads to a container.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Publication {
    pub protocol: Protocol,
    /// `0.0.0.0`: every address of the host.
    pub host_address: Ipv4Addr,
    pub host_port: u16,
    pub address: Ipv4Addr,
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
    pub fn rebuild(&mut self, bridges: &[Bridge], publications: &[Publication]) -> Result<(), Error> {
        let mut batch = Batch::new(&self.name);
        batch.replace_table(SHAPE);
        ruleset::write(&mut batch, bridges, publications);
        self.socket.transact(batch.finish())
    }

    /// Adds published ports.
    pub fn publish(&mut self, publications: &[Publication]) -> Result<(), Error> {
        if publications.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new(&self.name);
        ruleset::add_publications(&mut batch, publications);
        match self.socket.transact(batch.finish()) {
            Err(error) if error.errno == Errno::EXIST || error.errno == Errno::BUSY => {
                // A leftover with another target: what is asked for now is right.
                self.unpublish(publications)?;
                let mut batch = Batch::new(&self.name);
                ruleset::add_publications(&mut batch, publications);
                self.socket.transact(batch.finish())
            }
            result => result,
        }
    }

    /// Removes published ports; those that are not there are no error.
    pub fn unpublish(&mut self, publications: &[Publication]) -> Result<(), Error> {
        if publications.is_empty() {
            return Ok(());
        }
        match self.unpublish_all(publications) {
            Err(error) if error.errno == Errno::NOENT => {}
            result => return result,
        }
        let mut first = Ok(());
        for publication in publications {
            match self.unpublish_all(std::slice::from_ref(publication)) {
                Err(error) if error.errno != Errno::NOENT => first = first.and(Err(error)),
                _ => {}
            }
        }
        first
    }

    fn unpublish_all(&mut self, publications: &[Publication]) -> Result<(), Error> {
        let mut batch = Batch::new(&self.name);
        ruleset::remove_publications(&mut batch, publications);
        self.socket.transact(batch.finish())
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

    /// Waits until another socket than `ours` has changed our table; false when `stop` becomes readable.
    pub fn wait(&mut self, ours: u32, stop: BorrowedFd<'_>) -> Result<bool, Error> {
        loop {
            let mut ready = [PollFd::new(&self.socket, PollFlags::IN), PollFd::from_borrowed_fd(stop, PollFlags::IN)];
            rustix::io::retry_on_intr(|| rustix::event::poll(&mut ready, None))?;
            if !ready[1].revents().is_empty() {
                return Ok(false);
            }
            if self.hear(ours)? {
                return Ok(true);
            }
        }
    }

    /// Forgets what has been announced up to now.
    pub fn forget(&mut self) {
        self.socket.drain();
    }

    fn hear(&mut self, ours: u32) -> Result<bool, Error> {
        let name = &self.name;
        let mut touched = false;
        let heard = self.socket.listen(|kind, port, payload| {
            // Attribute 1 of whatever belongs to a table is the table's name.
            let of_table = kind >> 8 == batch::SUBSYSTEM
                && kind != batch::NEW_GENERATION
                && attributes(payload.get(4..).unwrap_or_default()).any(|(kind, v)| kind == 1 && text(v) == *name);
            touched |= of_table && port != ours;
        });
        match heard {
            // More was announced than the queue holds: anything may have happened.
            Err(error) if error.errno == Errno::NOBUFS => Ok(true),
            result => result.map(|()| touched),
        }
    }
}
