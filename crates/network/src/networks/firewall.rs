//! The daemon's nftables table: opened when there is one to be had, kept as it should be.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::{Networks, Shared, lock};
use crate::conntrack;
use crate::endpoint::EndpointRecord;
use crate::error::{Error, Result};
use crate::netlink;
use crate::nft::foreign::Place;
use crate::nft::{self, Event, Heard, Presence, Publication, Table, Watch};
use crate::sysctl;

/// After someone has changed a table in which our rule may stand, this long is waited for the rest of what they do.
const SETTLE: Duration = Duration::from_millis(100);

/// Our own table is put back at once; after so many times within a second, with a pause of [`SETTLE`] before each.
const AT_ONCE: usize = 8;

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
                self.put_back(&mut table)?;
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
            Err(error) if error.errno == Errno::NOENT => self.put_back(table),
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

    /// Withdraws these ports of an endpoint so that no rewriting of the table brings them back: who rewrites it does not
    /// find them from here on. They stay reserved: until they are out of the table too, nobody else can have published them.
    pub fn retract(&self, record: &EndpointRecord) -> Result<()> {
        if let Some(known) = lock(&self.state).endpoints.get_mut(&record.id) {
            known.ports.retain(|port| !record.ports.contains(port));
        }
        self.unpublish(&record.publications(self.config.published_ports))
    }

    /// Adds a bridge.
    pub fn add_bridge(&self, bridge: &nft::Bridge) -> Result<()> {
        self.with_table("masquerading", "add a network", |table| match table.add_bridge(bridge) {
            Err(error) if error.errno == Errno::NOENT => self.put_back(table),
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
            Err(error) if error.errno == Errno::NOENT => self.put_back(table),
            result => result,
        })
    }

    /// Removes the permissions that nobody has any more.
    pub fn forbid(&self, permissions: &[nft::Permission]) -> Result<()> {
        if permissions.is_empty() {
            return Ok(());
        }
        self.with_table("links", "take back who may talk", |table| {
            let left = lock(&self.state).permissions();
            let gone: Vec<nft::Permission> = permissions.iter().filter(|p| !left.contains(p)).cloned().collect();
            table.forbid(&gone)
        })
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

    /// The same after somebody else has changed the table.
    fn repair(&self) -> Result<()> {
        self.with_table("publishing ports", "write the table", |table| self.put_back(table))
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

    /// Writes a table that somebody has deleted or changed, and ends what has slipped through since.
    fn put_back(&self, table: &mut Table) -> Result<(), netlink::Error> {
        self.write(table)?;
        self.cut_strays();
        Ok(())
    }

    /// Ends the connections that the table has not judged, because it was not there.
    fn cut_strays(&self) {
        if self.config.records.is_empty() && lock(&self.state).endpoints.is_empty() {
            return; // the first start of all
        }
        let strays = lock(&self.state).strays(self.config.published_ports);
        match conntrack::cut(&strays) {
            Ok(0) => {}
            Ok(count) => tracing::warn!(count, "ended connections that were made while the nftables table was away"),
            Err(error) => tracing::warn!(%error, "cannot end what was let through while the nftables table was away"),
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
    let mut repaired: VecDeque<Instant> = VecDeque::new();
    // When others' firewalls are looked at next, and whether ours was written since it was last.
    let mut due: Option<Instant> = None;
    let mut written = false;
    loop {
        let patience = due.map(|due| due.saturating_duration_since(Instant::now()));
        let mut heard = match watch.wait(ours, stop.as_fd(), patience) {
            Ok(Event::Changed(heard)) => heard,
            Ok(Event::Nothing) => Heard::default(),
            Ok(Event::Stopped) => return,
            Err(error) => return tracing::error!(%error, "cannot watch the nftables table any longer"),
        };
        if heard.own {
            repaired.retain(|at| at.elapsed() < Duration::from_secs(1));
            if repaired.len() >= AT_ONCE {
                if stopped_within(stop, SETTLE) {
                    return;
                }
                heard.foreign |= watch.forget(ours).foreign;
            }
            repaired.push_back(Instant::now());
            written = true;
            match shared.repair() {
                Ok(()) => {
                    tracing::warn!(table = shared.firewall.name, "put back the nftables table, which was changed");
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "cannot put back the nftables table");
                }
            }
        }
        // Who has changed ours may have flushed all.
        if heard.own || heard.foreign {
            due.get_or_insert_with(|| Instant::now() + SETTLE);
        }
        if due.is_some_and(|due| due <= Instant::now()) {
            due = None;
            // A packet that was on its way through the chains may have become a connection only after the first look.
            if std::mem::take(&mut written) {
                shared.cut_strays();
            }
            shared.settle_foreign();
        }
    }
}

fn stopped_within(stop: &OwnedFd, pause: Duration) -> bool {
    let mut stopped = [PollFd::new(stop, PollFlags::IN)];
    rustix::event::poll(&mut stopped, Timespec::try_from(pause).ok().as_ref()).is_ok_and(|ready| ready > 0)
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
    use crate::{Config, EndpointConfig, HostPort, PortBinding, Protocol, PublishedPorts};

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
    /// Whoever rewrites the table while an endpoint goes, or its ports, does not bring them back; nobody else gets them
    /// before they are out of the table.
    #[test]
    fn a_rewriting_brings_no_port_back() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let test = || {
            sys::netns::unshare_network().unwrap();
            let networks = Networks::open(Config { sandboxes: 0, ..Config::default() }).unwrap();
            networks.restore(&[]).unwrap();
            let port = |port| PortBinding {
                container_port: 80,
                protocol: Protocol::Tcp,
                host_address: None,
                host_port: HostPort::Fixed(port),
            };
            let attach = || {
                let config = EndpointConfig {
                    container_id: crate::random_id().unwrap(),
                    ports: vec![port(8080), port(8081)],
                    default_ipv4: true,
                    ..EndpointConfig::default()
                };
                networks.attach(&networks.sandbox().unwrap(), &config)
            };
            let published = || {
                networks.shared.rewrite().unwrap();
                let state = lock(&networks.shared.state);
                state.publications(PublishedPorts::Open).iter().map(|one| one.host_port).collect::<Vec<_>>()
            };
            let endpoint = attach().unwrap();
            assert_eq!(published(), [8080, 8081]);
            let first = EndpointRecord { ports: endpoint.record.ports[..1].to_vec(), ..endpoint.record.clone() };
            networks.shared.retract(&first).unwrap();
            assert_eq!(published(), [8081]);
            networks.shared.retract(&endpoint.record).unwrap();
            assert_eq!(published(), [0; 0]);
            assert!(matches!(attach(), Err(Error::PortAllocated { .. })));
            if let Ok(output) = std::process::Command::new("nft").args(["list", "table", "inet", "hoist"]).output() {
                assert!(!String::from_utf8_lossy(&output.stdout).contains("tcp . 808"));
            }
            networks.detach(&endpoint.record).unwrap();
            drop(endpoint);
            let again = attach().unwrap();
            let left = networks.withdraw(&again.record, &again.record.ports[..1]).unwrap();
            assert_eq!(published(), [8081]);
            networks.detach(&left).unwrap();
            assert_eq!(published(), [0; 0]);
            networks.remove_all().unwrap();
        };
        std::thread::spawn(test).join().unwrap();
    }
}
