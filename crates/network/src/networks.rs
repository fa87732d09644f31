//! The networks of one daemon.

mod attach;
mod bridge;
mod detach;
mod firewall;
mod restore;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::{Config, Driver, NetworkRecord};
use crate::endpoint::EndpointRecord;
use crate::error::{Error, Result};
use crate::ipam::Addresses;
use crate::netlink::{Request, Socket, link};
use crate::ports::Ports;
use crate::sandbox::{Pool, Sandbox};
use crate::{nft, sysctl};
use firewall::Firewall;

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
    /// Id of the default bridge network.
    default: String,
    /// Never locked while [`Shared::state`] is.
    route: Mutex<Socket>,
    firewall: Firewall,
    state: Mutex<State>,
}

struct State {
    networks: BTreeMap<String, Network>,
    ports: Ports,
    /// By id.
    endpoints: HashMap<String, EndpointRecord>,
}

struct Network {
    record: NetworkRecord,
    /// Of a bridge network.
    bridge: Option<Bridge>,
}

struct Bridge {
    /// Of the interface.
    index: u32,
    addresses: Addresses,
}

impl Networks {
    /// Makes or takes over the default bridge and, if it is not there, the nftables table.
    ///
    /// After this, [`Networks::restore`] has to be called once before containers are attached.
    pub fn open(config: Config) -> Result<Networks> {
        config.validate()?;
        let mut route = Socket::route().map_err(Error::netlink("open a netlink socket"))?;
        let mut records = config.records.clone();
        for (name, driver) in [(BRIDGE, Driver::Bridge), ("host", Driver::Host), ("none", Driver::Null)] {
            if !records.iter().any(|record| record.name == name) {
                records.push(NetworkRecord::new(name, driver)?);
            }
        }
        let mut networks = BTreeMap::new();
        let mut default = String::new();
        for mut record in records {
            let mut bridge = None;
            if record.name == BRIDGE {
                let (present, index) = bridge::ensure(&mut route, &config, record.bridge.as_ref())?;
                bridge = Some(Bridge { index, addresses: Addresses::new(present.subnet, present.gateway) });
                record.bridge = Some(present);
                default.clone_from(&record.id);
            }
            networks.insert(record.id.clone(), Network { record, bridge });
        }
        if config.ip_forward {
            sysctl::ensure("net/ipv4/ip_forward", "1")?;
        }
        let state = State { networks, ports: Ports::default(), endpoints: HashMap::new() };
        let firewall = Firewall::new(&config.table_name);
        let sandboxes = Pool::new(config.sandboxes)?;
        let shared = Shared { config, default, route: Mutex::new(route), firewall, state: Mutex::new(state) };
        if let Err(error) = shared.open_firewall("publishing ports and masquerading") {
            tracing::warn!(error = &error as &dyn std::error::Error, "containers on bridges will not start");
        }
        Ok(Networks { shared: Arc::new(shared), sandboxes, watch: Mutex::new(None) })
    }

    /// The networks as they are now, to be stored and given to the next [`Networks::open`].
    pub fn records(&self) -> Vec<NetworkRecord> {
        lock(&self.shared.state).networks.values().map(|network| network.record.clone()).collect()
    }

    /// The default bridge network.
    pub fn default_bridge(&self) -> NetworkRecord {
        lock(&self.shared.state).networks[&self.shared.default].record.clone()
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

    /// Deletes the bridges and the table, for good. Containers that still run lose their network.
    pub fn remove_all(&self) -> Result<()> {
        *lock(&self.watch) = None;
        let mut first = self.shared.firewall.remove();
        let mut state = lock(&self.shared.state);
        let bridges: Vec<u32> = state.networks.values().filter_map(|n| n.bridge.as_ref()).map(|b| b.index).collect();
        state.ports.clear();
        state.endpoints.clear();
        drop(state);
        let mut request = Request::new();
        bridges.into_iter().for_each(|index| link::delete(&mut request, index));
        if !request.is_empty() {
            match lock(&self.shared.route).transact(request) {
                Err(error) if error.errno != rustix::io::Errno::NODEV => {
                    first = first.and(Err(Error::netlink("delete a bridge")(error)));
                }
                _ => {}
            }
        }
        first
    }
}

impl State {
    /// The bridges as the table knows them.
    fn bridges(&self) -> Vec<nft::Bridge> {
        let records = self.networks.values().filter_map(|network| network.record.bridge.as_ref());
        let bridge = |record: &crate::config::BridgeRecord| nft::Bridge {
            name: record.link.clone(),
            subnet: record.subnet,
            peers: record.icc,
            outbound: record.masquerade,
        };
        records.map(bridge).collect()
    }

    fn publications(&self) -> Vec<nft::Publication> {
        self.endpoints.values().flat_map(EndpointRecord::publications).collect()
    }

    /// Gives back what an endpoint holds.
    fn forget(&mut self, record: &EndpointRecord) {
        for port in &record.ports {
            self.ports.release(port, &record.id);
        }
        if let Some(bridge) = self.networks.get_mut(&record.network_id).and_then(|network| network.bridge.as_mut()) {
            bridge.addresses.release(record.address, &record.id);
        }
        self.endpoints.remove(&record.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
