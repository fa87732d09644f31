//! The networks of one daemon.

mod attach;
mod bridge;
mod children;
mod create;
mod detach;
mod disconnect;
mod firewall;
mod forwarding;
mod inside;
mod open;
mod peers;
mod remove;
mod restore;
mod route;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::address::Protocol;
use crate::config::{Config, Driver, NetworkRecord, PublishedPorts};
use crate::conntrack;
use crate::endpoint::EndpointRecord;
use crate::error::{Error, Result};
use crate::graveyard::Graveyard;
use crate::ipam::Addresses;
use crate::netlink::{self, Socket};
use crate::nft;
use crate::ports::Ports;
use crate::sandbox::{Pool, Sandbox};
use firewall::Firewall;

pub use forwarding::Forwarder;
pub use route::Route;

/// Name of the default bridge network.
const BRIDGE: &str = "bridge";

/// All networks, their addresses and published ports. Methods may be called from any thread whose network namespace is
/// that of [`Networks::open`].
pub struct Networks {
    shared: Arc<Shared>,
    sandboxes: Pool,
    watch: Mutex<Option<firewall::Watching>>,
}

/// What the thread that watches the firewall needs too.
struct Shared {
    config: Config,
    /// Id of the default bridge network; empty without one.
    default: String,
    sockets: Sockets,
    firewall: Firewall,
    forwarding: forwarding::Forwarding,
    graveyard: Graveyard,
    state: Mutex<State>,
}

struct State {
    networks: BTreeMap<String, Network>,
    ports: Ports,
    /// By id.
    endpoints: HashMap<String, EndpointRecord>,
    /// By who asked for them.
    permissions: HashMap<String, Vec<nft::Permission>>,
}

struct Network {
    record: NetworkRecord,
    /// One for each of the record's subnets.
    addresses: Vec<Addresses>,
    /// Index of the bridge; `None` when there is none, or none could be made.
    bridge: Option<u32>,
}

impl Network {
    fn new(record: NetworkRecord, bridge: Option<u32>) -> Network {
        let addresses = record.subnets.iter().map(Addresses::new).collect();
        Network { record, addresses, bridge }
    }
}

/// Sockets of rtnetlink that wait for their next use, so that no thread waits for another's request.
struct Sockets {
    idle: Mutex<Vec<Socket>>,
}

impl Sockets {
    /// Most that are kept.
    const KEPT: usize = 4;

    fn new(first: Socket) -> Sockets {
        Sockets { idle: Mutex::new(vec![first]) }
    }

    /// Lends a socket to `work`.
    fn with<T>(&self, work: impl FnOnce(&mut Socket) -> T) -> Result<T> {
        let idle = lock(&self.idle).pop();
        let mut socket = match idle {
            Some(socket) => socket,
            None => Socket::route().map_err(Error::netlink("open a netlink socket"))?,
        };
        let result = work(&mut socket);
        let mut idle = lock(&self.idle);
        if idle.len() < Sockets::KEPT {
            idle.push(socket);
        }
        Ok(result)
    }

    /// The same for one refusable operation of the kernel's.
    fn run<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&mut Socket) -> Result<T, netlink::Error>,
    ) -> Result<T> {
        self.with(work)?.map_err(Error::netlink(operation))
    }
}

impl Networks {
    /// The networks as they are now, to be stored and given to the next [`Networks::open`].
    pub fn records(&self) -> Vec<NetworkRecord> {
        lock(&self.shared.state).networks.values().map(|network| network.record.clone()).collect()
    }

    /// A network by its id.
    pub fn record(&self, id: &str) -> Option<NetworkRecord> {
        lock(&self.shared.state).networks.get(id).map(|network| network.record.clone())
    }

    /// The default bridge network, if there is one.
    pub fn default_bridge(&self) -> Option<NetworkRecord> {
        self.record(&self.shared.default)
    }

    /// The attached endpoints.
    pub fn endpoints(&self) -> Vec<EndpointRecord> {
        lock(&self.shared.state).endpoints.values().cloned().collect()
    }

    /// A network namespace for a container: a prepared one if there is one.
    pub fn sandbox(&self) -> Result<Sandbox> {
        self.sandboxes.take()
    }

    /// Waits until as many sandboxes are prepared as are to be, or none can be.
    pub fn wait_until_prepared(&self) {
        self.sandboxes.wait_until_full();
    }

    /// Waits until everything that is deleted after the answer is gone.
    pub fn wait_until_buried(&self) {
        self.shared.graveyard.wait();
    }

    /// Lets containers talk to each other that are on a bridge where none may, on behalf of `owner`; replaces what the
    /// owner had. Empty takes it back.
    pub fn permit(&self, owner: &str, permissions: Vec<nft::Permission>) -> Result<()> {
        let mut state = lock(&self.shared.state);
        let before = state.permissions.remove(owner).unwrap_or_default();
        if !permissions.is_empty() {
            state.permissions.insert(owner.to_owned(), permissions.clone());
        }
        drop(state);
        if before == permissions {
            return Ok(());
        }
        self.shared.forbid(&before)?;
        self.shared.permit(&permissions)
    }

    /// Deletes the bridges and the table, for good. Containers that still run lose their network.
    pub fn remove_all(&self) -> Result<()> {
        *lock(&self.watch) = None;
        let removed = self.shared.firewall.remove();
        let mut state = lock(&self.shared.state);
        state.ports.clear();
        state.endpoints.clear();
        state.permissions.clear();
        let bridges: Vec<String> = state.bridges().into_iter().map(|bridge| bridge.name).collect();
        let records: Vec<NetworkRecord> = state.networks.values().map(|network| network.record.clone()).collect();
        state.networks.values_mut().for_each(|network| network.bridge = None);
        drop(state);
        bridges.iter().for_each(|name| self.shared.graveyard.bury(name));
        let others = records.iter().filter(|record| record.overlay.is_some() || record.child.is_some());
        others.for_each(|record| self.shared.bury(record));
        self.shared.graveyard.wait();
        removed
    }
}

impl State {
    /// The bridges as the table knows them.
    fn bridges(&self) -> Vec<nft::Bridge> {
        let made = self.networks.values().filter(|network| network.bridge.is_some());
        made.filter_map(|network| table_bridge(&network.record)).collect()
    }

    fn publications(&self, policy: PublishedPorts) -> Vec<nft::Publication> {
        self.endpoints.values().flat_map(|endpoint| endpoint.publications(policy)).collect()
    }

    /// What tells flows that the table has not judged.
    fn strays(&self, policy: PublishedPorts) -> conntrack::Strays {
        let mut strays = conntrack::Strays::default();
        for (network, bridge) in self.networks.values().filter_map(|n| Some((n, table_bridge(&n.record)?))) {
            strays.subnets.extend(bridge.subnets.iter().zip(&network.record.subnets).map(|(subnet, record)| {
                conntrack::Subnet {
                    net: subnet.net.network(),
                    gateway: record.gateway,
                    peers: bridge.peers,
                    unprotected: subnet.unprotected,
                    outbound: subnet.outbound,
                }
            }));
        }
        for publication in self.publications(policy) {
            let protocol = publication.protocol.number();
            match publication.host_port {
                0 => strays.open.push((publication.address, protocol, publication.port)),
                port if publication.protocol == Protocol::Udp => {
                    strays.translated.push((publication.host_address, port));
                }
                _ => {}
            }
        }
        strays
    }

    fn permissions(&self) -> Vec<nft::Permission> {
        let mut all: Vec<nft::Permission> = self.permissions.values().flatten().cloned().collect();
        all.sort();
        all.dedup();
        all
    }

    /// Gives back what an endpoint holds.
    fn forget(&mut self, record: &EndpointRecord) {
        for port in &record.ports {
            self.ports.release(port, &record.id);
        }
        if let Some(network) = self.networks.get_mut(&record.network_id) {
            for address in record.addresses() {
                network.addresses.iter_mut().for_each(|addresses| addresses.release(address, &record.id));
            }
        }
        self.endpoints.remove(&record.id);
    }
}

/// What the table is to know of a network's bridge.
fn table_bridge(record: &NetworkRecord) -> Option<nft::Bridge> {
    use crate::options::GatewayMode;
    let bridge = record.bridge.as_ref()?;
    let subnet = |subnet: &crate::config::Subnet| {
        let (masquerade, mode) = match subnet.net.is_ipv6() {
            false => (bridge.masquerade, bridge.gateway_mode_v4),
            true => (bridge.masquerade_v6, bridge.gateway_mode_v6),
        };
        nft::Subnet {
            net: subnet.net,
            outbound: masquerade && mode.translates() && !record.internal,
            unprotected: mode == GatewayMode::NatUnprotected,
        }
    };
    Some(nft::Bridge {
        name: bridge.link.clone(),
        subnets: record.subnets.iter().map(subnet).collect(),
        peers: bridge.icc,
        internal: record.internal,
        trusted: bridge.trusted.clone(),
    })
}

/// Docker's other drivers' names are none of ours.
impl Driver {
    /// Containers are attached to networks of this driver by endpoints.
    pub fn has_endpoints(self) -> bool {
        match self {
            Driver::Bridge | Driver::Macvlan | Driver::Ipvlan | Driver::Overlay => true,
            Driver::Host | Driver::Null => false,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
