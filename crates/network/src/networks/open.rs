//! Opening: the three networks that are always there, and those that were recorded.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use super::firewall::Firewall;
use super::{BRIDGE, Network, Networks, Shared, Sockets, State, bridge, children, lock, peers};
use crate::config::{Config, Driver, NetworkRecord};
use crate::error::{Error, Result};
use crate::graveyard::Graveyard;
use crate::netlink::{Socket, link};
use crate::ports::Ports;
use crate::sandbox::Pool;
use crate::sysctl;

impl Networks {
    /// Makes or takes over the default bridge and those of the recorded networks and, if it is not there, the nftables
    /// table.
    ///
    /// A recorded network whose bridge cannot be made is kept, and says so when a container is attached. After this,
    /// [`Networks::restore`] has to be called once before containers are attached.
    pub fn open(config: Config) -> Result<Networks> {
        config.validate()?;
        let mut socket = Socket::route().map_err(Error::netlink("open a netlink socket"))?;
        let mut records = config.records.clone();
        let wanted = |name: &str| name != BRIDGE || config.default_bridge;
        records.retain(|record| wanted(&record.name));
        let always = [(BRIDGE, Driver::Bridge), ("host", Driver::Host), ("none", Driver::Null)];
        for (name, driver) in always.into_iter().filter(|(name, _)| wanted(name)) {
            if !records.iter().any(|record| record.name == name) {
                records.push(NetworkRecord::new(name, driver)?);
            }
        }
        let mut default = String::new();
        let mut networks = BTreeMap::new();
        // The default bridge chooses around what the others have; they have it in their records.
        records.sort_by_key(|record| record.name == BRIDGE);
        let taken: Vec<_> = records.iter().flat_map(|r| &r.subnets).map(|subnet| subnet.net).collect();
        for mut record in records {
            let mut index = None;
            if record.name == BRIDGE {
                index = Some(bridge::ensure_default(&mut socket, &config, &mut record, &taken)?);
                default.clone_from(&record.id);
            } else if record.bridge.is_some() {
                let ensured = bridge::ensure(&mut socket, &config, &record).and_then(|made| {
                    peers::ensure(&mut socket, &config, &record, made)?;
                    Ok(made)
                });
                match ensured {
                    Ok(made) => index = Some(made),
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(network = record.name, error, "a network's bridge cannot be made");
                    }
                }
            }
            if record.child.is_some()
                && let Err(error) = children::ensure_parent(&mut socket, &config, &record)
            {
                let error = &error as &dyn std::error::Error;
                tracing::error!(network = record.name, error, "a network's parent cannot be found or made");
            }
            networks.insert(record.id.clone(), Network::new(record, index));
        }
        if config.ip_forward {
            sysctl::ensure("net/ipv4/ip_forward", "1")?;
        }
        let ipv6 = networks.values().any(|network| network.record.ipv6);
        let state = State { networks, ports: Ports::default(), endpoints: HashMap::new(), permissions: HashMap::new() };
        let shared = Shared {
            default,
            sockets: Sockets::new(socket),
            firewall: Firewall::new(&config.table_name),
            forwarding: super::forwarding::Forwarding::default(),
            graveyard: Graveyard::new()?,
            state: Mutex::new(state),
            config,
        };
        if ipv6 {
            shared.forward_ipv6()?;
        }
        if let Err(error) = shared.open_firewall("publishing ports and masquerading") {
            tracing::warn!(error = &error as &dyn std::error::Error, "containers on bridges will not start");
        }
        let sandboxes = Pool::new(shared.config.sandboxes)?;
        Ok(Networks { shared: Arc::new(shared), sandboxes, watch: Mutex::new(None) })
    }
}

impl Shared {
    /// Lets the kernel forward IPv6, once a network has it.
    pub(super) fn forward_ipv6(&self) -> Result<()> {
        match self.config.ip_forward {
            true => sysctl::ensure_if_present("net/ipv6/conf/all/forwarding", "1"),
            false => Ok(()),
        }
    }

    /// Has bridges deleted that an earlier daemon made for networks which no record knows, and interfaces on our bridges
    /// that are no living endpoint's. Forgets noted neighbours that are none.
    pub(super) fn sweep(&self) -> Result<()> {
        let links = self.sockets.run("list the links", link::list)?;
        let mark = bridge::mark(&self.config, "");
        let state = lock(&self.state);
        let bridges: Vec<u32> = state.networks.values().filter_map(|network| network.bridge).collect();
        let records = || state.networks.values().map(|network| &network.record);
        let ways = records().filter_map(|record| Some(record.overlay.as_ref()?.link.clone()));
        let made: Vec<String> =
            ways.chain(records().filter_map(|record| Some(record.child.as_ref()?.parent.clone()))).collect();
        let ports: Vec<String> = state.endpoints.values().map(|endpoint| endpoint.link.clone()).collect();
        let known: Vec<std::net::IpAddr> = state.endpoints.values().flat_map(|e| e.addresses()).collect();
        drop(state);
        for found in &links {
            let stray_bridge = found.kind == "bridge"
                && found.alias.starts_with(&mark)
                && found.name != self.config.bridge_name
                && !bridges.contains(&found.index);
            let stray_way = matches!(found.kind.as_str(), "vxlan" | "vlan" | "dummy")
                && found.alias.starts_with(&mark)
                && !made.contains(&found.name);
            // What hangs on a bridge that was there before us may be anybody's.
            let on_ours = bridges.contains(&found.master)
                && links.iter().any(|link| link.index == found.master && link.alias.starts_with(&mark));
            let stray_port = found.kind == "veth" && on_ours && !ports.contains(&found.name);
            if stray_bridge || stray_way || stray_port {
                tracing::info!(link = found.name, "deleting what an earlier daemon left");
                self.graveyard.bury(&found.name);
            }
        }
        use crate::netlink::{Request, neighbour};
        let noted = self.sockets.run("list the neighbours", neighbour::list_permanent)?;
        let mut request = Request::new();
        for (link, address) in noted.into_iter().filter(|(link, _)| bridges.contains(link)) {
            if !known.contains(&address) && !address.is_multicast() {
                neighbour::delete(&mut request, link, address);
            }
        }
        if !request.is_empty() {
            // What is gone meanwhile is no loss.
            let _ = self.sockets.with(|socket| socket.transact(request))?;
        }
        Ok(())
    }
}
