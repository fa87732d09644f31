//! The daemon's nftables table: opened when there is one to be had, kept as it should be.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::{Networks, Shared, lock};
use crate::error::{Error, Result};
use crate::netlink;
use crate::nft::foreign::Place;
use crate::nft::{self, Presence, Publication, Table, Watch};
use crate::sysctl;

/// After someone has changed our table, this long is waited for the rest of what they do.
const SETTLE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The table, once there is one.
pub(super) struct Firewall {
    name: String,
    /// Locked before [`Shared::state`], never after.
    table: Mutex<Option<Table>>,
    /// Where our rule stood when it was looked at last.
    foreign: Mutex<Vec<&'static Place>>,
}

impl Firewall {
    pub fn new(name: &str) -> Firewall {
        Firewall { name: name.to_owned(), table: Mutex::new(None), foreign: Mutex::new(Vec::new()) }
    }

    /// Deletes the table, if nftables is there at all.
    pub fn remove(&self) -> Result<()> {
        match lock(&self.table).take() {
            Some(mut table) => {
                let foreign = table.remove_foreign().map_err(refused("take our rule out of other firewalls"));
                table.remove().map_err(refused("delete the table")).and(foreign)
            }
            None => Ok(()),
        }
    }
}

impl Shared {
    /// Makes sure that there is a table. Lets the bridges route 127.0.0.0/8 only when the table guards it.
    pub fn open_firewall(&self, needed_for: &'static str) -> Result<()> {
        let mut slot = lock(&self.firewall.table);
        if slot.is_some() {
            return Ok(());
        }
        let open = || {
            let mut table = Table::open(&self.firewall.name)?;
            if table.presence()? != Presence::Present {
                self.write(&mut table)?;
            }
            Ok(table)
        };
        *slot = Some(open().map_err(|source| Error::NftablesUnavailable { needed_for, source })?);
        for bridge in lock(&self.state).bridges() {
            sysctl::set(&format!("net/ipv4/conf/{}/route_localnet", bridge.name), "1")?;
        }
        Ok(())
    }

    /// Adds elements for published ports; puts the whole table back if somebody has deleted it.
    pub fn publish(&self, publications: &[Publication]) -> Result<()> {
        self.with_table("publishing ports", "publish ports", |table| match table.publish(publications) {
            Err(error) if error.errno == Errno::NOENT => self.write(table),
            result => result,
        })
    }

    /// Removes elements of published ports.
    pub fn unpublish(&self, publications: &[Publication]) -> Result<()> {
        if publications.is_empty() {
            return Ok(());
        }
        self.with_table("publishing ports", "withdraw published ports", |table| table.unpublish(publications))
    }

    /// Adds a bridge.
    pub fn add_bridge(&self, bridge: &nft::Bridge) -> Result<()> {
        self.with_table("masquerading", "add a network", |table| match table.add_bridge(bridge) {
            Err(error) if error.errno == Errno::NOENT => self.write(table),
            result => result,
        })?;
        // Only behind the table's guard.
        sysctl::set(&format!("net/ipv4/conf/{}/route_localnet", bridge.name), "1")
    }

    /// Removes a bridge.
    pub fn remove_bridge(&self, bridge: &nft::Bridge) -> Result<()> {
        self.with_table("masquerading", "remove a network", |table| table.remove_bridge(bridge))
    }

    /// Adds permissions; of several owners' equal ones there is one.
    pub fn permit(&self, permissions: &[nft::Permission]) -> Result<()> {
        if permissions.is_empty() {
            return Ok(());
        }
        self.with_table("links", "let containers talk", |table| match table.permit(permissions) {
            Err(error) if error.errno == Errno::NOENT => self.write(table),
            result => result,
        })
    }

    /// Removes the permissions that nobody has any more.
    pub fn forbid(&self, permissions: &[nft::Permission]) -> Result<()> {
        let left = lock(&self.state).permissions();
        let gone: Vec<nft::Permission> = permissions.iter().filter(|p| !left.contains(p)).cloned().collect();
        if gone.is_empty() {
            return Ok(());
        }
        self.with_table("links", "take back who may talk", |table| table.forbid(&gone))
    }

    /// Makes sure that other owners' policies do not cut our bridges off, as far as they offer a place for that.
    pub fn settle_foreign(&self) {
        let ensured = match lock(&self.firewall.table).as_mut() {
            Some(table) => table.ensure_foreign(),
            None => return,
        };
        match ensured {
            Ok(places) => {
                let mut told = lock(&self.firewall.foreign);
                if *told != places {
                    let owners: Vec<&str> = places.iter().map(|place| place.owner).collect();
                    tracing::info!(?owners, "a rule of ours stands in their firewalls");
                    *told = places;
                }
            }
            Err(error) => tracing::warn!(%error, "another firewall may cut containers off"),
        }
    }

    /// Writes the whole table anew from what we know, in one step.
    pub fn rewrite(&self) -> Result<()> {
        self.with_table("publishing ports", "write the table", |table| self.write(table))
    }

    fn with_table(
        &self,
        needed_for: &'static str,
        operation: &'static str,
        work: impl FnOnce(&mut Table) -> Result<(), netlink::Error>,
    ) -> Result<()> {
        self.open_firewall(needed_for)?;
        match lock(&self.firewall.table).as_mut() {
            Some(table) => work(table).map_err(refused(operation)),
            None => Ok(()), // removed meanwhile, with all that was in it
        }
    }

    fn write(&self, table: &mut Table) -> Result<(), netlink::Error> {
        let state = lock(&self.state);
        let (bridges, publications, permissions) =
            (state.bridges(), state.publications(self.config.published_ports), state.permissions());
        drop(state);
        table.rebuild(&bridges, &publications, &permissions)
    }
}

fn refused(operation: &'static str) -> impl FnOnce(netlink::Error) -> Error {
    move |source| Error::Nftables { operation, source }
}

/// The thread that puts the table back after somebody else has changed it. Ends when dropped.
pub(super) struct Watching {
    stop: OwnedFd,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Networks {
    /// Takes our rule out of other owners' firewalls: nothing runs any more that needs it.
    pub fn leave_foreign(&self) {
        *lock(&self.watch) = None;
        if let Some(table) = lock(&self.shared.firewall.table).as_mut()
            && let Err(error) = table.remove_foreign()
        {
            tracing::warn!(%error, "our rule still stands in another firewall");
        }
    }

    /// In which other owners' chains our rule stands: `ip filter DOCKER-USER`.
    pub fn foreign_places(&self) -> Vec<String> {
        let family = |number: u8| match number {
            2 => "ip",
            10 => "ip6",
            _ => "inet",
        };
        let places = lock(&self.shared.firewall.foreign);
        places.iter().map(|place| format!("{} {} {}", family(place.family), place.table, place.chain)).collect()
    }

    /// Starts to watch the table, if there is one.
    pub(super) fn watch_firewall(&self) -> Result<()> {
        let mut watching = lock(&self.watch);
        let ours = match lock(&self.shared.firewall.table).as_ref() {
            Some(table) => table.port().map_err(refused("watch the table"))?,
            None => return Ok(()),
        };
        if watching.is_some() {
            return Ok(());
        }
        let failed = |source| Error::Namespace { operation: "watch the table", source };
        let watch = Watch::open(&self.shared.firewall.name).map_err(refused("watch the table"))?;
        let stop = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
        let theirs = stop.try_clone().map_err(failed)?;
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("firewall".to_owned());
        let thread = thread.spawn(move || keep(&shared, watch, ours, &theirs)).map_err(failed)?;
        *watching = Some(Watching { stop, thread: Some(thread) });
        Ok(())
    }
}

fn keep(shared: &Shared, mut watch: Watch, ours: u32, stop: &OwnedFd) {
    loop {
        let heard = match watch.wait(ours, stop.as_fd()) {
            Ok(Some(heard)) => heard,
            Ok(None) => return,
            Err(error) => return tracing::error!(%error, "cannot watch the nftables table any longer"),
        };
        let mut stopped = [PollFd::new(stop, PollFlags::IN)];
        if rustix::event::poll(&mut stopped, Some(&SETTLE)).is_ok_and(|ready| ready > 0) {
            return;
        }
        let own = heard.own || watch.forget(ours);
        if own {
            match shared.rewrite() {
                Ok(()) => {
                    tracing::warn!(table = shared.firewall.name, "put back the nftables table, which was changed");
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "cannot put back the nftables table");
                }
            }
        }
        shared.settle_foreign();
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, EndpointConfig, HostPort, PortBinding, Protocol};

    /// A name that no kernel accepts stands for a kernel without nftables.
    #[test]
    fn without_nftables_what_needs_it_fails_by_name() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let attempt = |masquerade: bool, published: bool| {
            let mut networks = Networks::open(Config { sandboxes: 0, masquerade, ..Config::default() }).unwrap();
            let shared = Arc::get_mut(&mut networks.shared).unwrap();
            shared.firewall.remove().unwrap();
            shared.firewall = Firewall::new(&"x".repeat(300));
            networks.restore(&[]).unwrap();
            let binding = PortBinding {
                container_port: 80,
                protocol: Protocol::Tcp,
                host_address: None,
                host_port: HostPort::Ephemeral,
            };
            let ports = if published { vec![binding] } else { Vec::new() };
            let sandbox = networks.sandbox().unwrap();
            let attached =
                networks.attach(&sandbox, &EndpointConfig { ports, default_ipv4: true, ..EndpointConfig::default() });
            let named = match attached {
                Err(Error::NftablesUnavailable { needed_for, .. }) => needed_for,
                Err(error) => panic!("{error}"),
                Ok(endpoint) => {
                    networks.detach(&endpoint.record).unwrap();
                    ""
                }
            };
            assert!(networks.endpoints().is_empty());
            networks.remove_all().unwrap();
            named
        };
        let thread = std::thread::spawn(move || {
            sys::netns::unshare_network().unwrap();
            assert_eq!(attempt(true, true), "publishing ports");
            assert_eq!(attempt(true, false), "masquerading");
            assert_eq!(attempt(false, true), "publishing ports");
            assert_eq!(attempt(false, false), "");
        });
        thread.join().unwrap();
    }
}
