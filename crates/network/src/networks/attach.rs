//! Attaching a container: plan in memory, then links, then addresses, then ports; undone when a step fails.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;

use super::inside::Inside;
use super::{Networks, Shared, bridge, forwarding, lock};
use crate::address::{IpNet, MacAddress, Protocol, hex, random, random_id};
use crate::child::ChildRecord;
use crate::config::{BridgeRecord, Driver, NetworkRecord, PublishedPorts, Subnet};
use crate::conntrack;
use crate::endpoint::{BoundPort, Endpoint, EndpointConfig, EndpointRecord, HostPort, Placed, PortBinding};
use crate::error::{Error, Result};
use crate::netlink::link::{Link, Port};
use crate::netlink::{self, Request, Socket, link, neighbour, shaper};
use crate::options::GatewayMode;
use crate::ports::Ports;
use crate::sandbox::Sandbox;

/// How many random names are tried for our end of a pair of interfaces.
const NAMES: usize = 8;

/// How often and with which pause a link is asked whether packets pass; 13 ms in all.
const CARRIER_ATTEMPTS: u32 = 16;
const CARRIER_PAUSE: Duration = Duration::from_micros(100);

/// `EXFULL`: a bridge has as many ports as there can be.
const FULL: i32 = 54;

/// What is decided before anything is done.
struct Plan {
    record: EndpointRecord,
    holds: Vec<OwnedFd>,
    /// Those that are served.
    sockets: Vec<forwarding::Socket>,
    way: Way,
}

/// What has been reserved for an endpoint so far.
struct Reserved<'a> {
    record: &'a mut EndpointRecord,
    holds: &'a mut Vec<OwnedFd>,
    sockets: &'a mut Vec<forwarding::Socket>,
}

/// What the container's interface hangs on.
enum Way {
    Bridge { details: BridgeRecord, index: u32 },
    Child { driver: Driver, details: ChildRecord },
}

impl Networks {
    /// Gives a sandbox an interface in a network, and publishes its ports.
    ///
    /// When this fails, the address and the ports are free again; an interface that exists already goes with the sandbox.
    pub fn attach(&self, sandbox: &Sandbox, config: &EndpointConfig) -> Result<Endpoint> {
        let shared = &*self.shared;
        let plan = shared.plan(config)?;
        let done = shared.carry_out(sandbox, config, &plan).and_then(|(link, mac)| {
            match self.shared.serve(&plan.record, &plan.sockets) {
                Ok(()) => Ok((link, mac)),
                Err(error) => {
                    self.shared.release_forwards(&plan.record.container_id, &plan.record.ports);
                    if !link.is_empty() {
                        shared.graveyard.bury(&link);
                    }
                    Err(error)
                }
            }
        });
        match done {
            Ok((link, mac)) => {
                let mut record = plan.record;
                (record.link, record.mac) = (link, mac);
                let mut state = lock(&shared.state);
                if let Some(known) = state.endpoints.get_mut(&record.id) {
                    known.link.clone_from(&record.link);
                    known.mac = record.mac;
                }
                Ok(Endpoint { record, holds: plan.holds })
            }
            Err(error) => {
                if !plan.record.ports.is_empty() {
                    let _ = shared.retract(&plan.record);
                }
                lock(&shared.state).forget(&plan.record);
                Err(error)
            }
        }
    }

    /// Publishes further ports of an endpoint: the container's ways in lead through it from now on.
    ///
    /// # Errors
    /// As [`Networks::attach`] of ports; then none of them is published.
    pub fn publish(&self, endpoint: &EndpointRecord, ports: &[PortBinding], ipv6: &[bool]) -> Result<Endpoint> {
        let shared = &*self.shared;
        let mut state = lock(&shared.state);
        let unknown = || Error::UnknownNetwork { id: endpoint.network_id.clone() };
        let network = state.networks.get(&endpoint.network_id).ok_or_else(unknown)?;
        let details = network.record.bridge.clone().ok_or_else(|| Error::NotPublishable {
            driver: network.record.driver.as_str(),
            name: network.record.name.clone(),
        })?;
        let mut added = EndpointRecord { ports: Vec::new(), ..endpoint.clone() };
        let mut holds = Vec::new();
        let mut sockets = Vec::new();
        let families = Families { ipv4: ipv6.contains(&false), ipv6: ipv6.contains(&true) };
        for binding in ports {
            let mut reserved = Reserved { record: &mut added, holds: &mut holds, sockets: &mut sockets };
            if let Err(error) = shared.reserve_port(&mut state.ports, binding, &details, families, &mut reserved) {
                added.ports.iter().for_each(|port| state.ports.release(port, &added.id));
                return Err(error);
            }
        }
        let mut whole = endpoint.clone();
        whole.ports.extend(added.ports.iter().cloned());
        state.endpoints.insert(whole.id.clone(), whole.clone());
        drop(state);
        let publications = added.publications(shared.config.published_ports);
        let published = shared
            .open_firewall("publishing ports")
            .and_then(|()| shared.publish(&publications))
            .and_then(|()| self.shared.serve(&added, &sockets));
        if let Err(error) = published {
            let _ = shared.retract(&added);
            self.shared.release_forwards(&added.container_id, &added.ports);
            let mut state = lock(&shared.state);
            added.ports.iter().for_each(|port| state.ports.release(port, &added.id));
            return Err(error);
        }
        conntrack::forget(&added);
        Ok(Endpoint { record: whole, holds })
    }

    /// Withdraws ports of an endpoint; those of them that are its. Returns what the endpoint is then.
    pub fn withdraw(&self, endpoint: &EndpointRecord, ports: &[BoundPort]) -> Result<EndpointRecord> {
        let shared = &*self.shared;
        let (gone, left) = endpoint.ports.iter().cloned().partition(|port| ports.contains(port));
        let gone = EndpointRecord { ports: gone, ..endpoint.clone() };
        let whole = EndpointRecord { ports: left, ..endpoint.clone() };
        self.shared.pause_forwards(&gone.container_id, &gone.ports);
        let withdrawn = shared.retract(&gone);
        let mut state = lock(&shared.state);
        gone.ports.iter().for_each(|port| state.ports.release(port, &gone.id));
        drop(state);
        conntrack::forget(&gone);
        withdrawn.map(|()| whole)
    }
}

/// Which families' ports an endpoint publishes.
#[derive(Clone, Copy, Debug)]
struct Families {
    ipv4: bool,
    ipv6: bool,
}

/// The container's way out of a subnet, if it has one.
fn gateway(record: &NetworkRecord, subnet: &Subnet) -> Option<IpAddr> {
    let isolated = record.bridge.as_ref().is_some_and(|bridge| {
        let mode = if subnet.net.is_ipv6() { bridge.gateway_mode_v6 } else { bridge.gateway_mode_v4 };
        mode == GatewayMode::Isolated
    });
    let routed = record.child.as_ref().is_some_and(|child| child.is_routed(record.driver));
    if record.internal || isolated || routed {
        return None;
    }
    subnet.auxiliary.get("DefaultGatewayIPv4").copied().or(subnet.gateway)
}

impl Shared {
    /// Chooses and reserves: addresses, ports. All of it, or nothing.
    fn plan(&self, config: &EndpointConfig) -> Result<Plan> {
        let id = random_id().map_err(Error::random)?;
        let mac = match config.mac {
            Some(mac) => mac,
            None => MacAddress::random().map_err(Error::random)?,
        };
        let network_id = config.network_id.as_ref().unwrap_or(&self.default);
        let mut state = lock(&self.state);
        let unknown = || Error::UnknownNetwork { id: network_id.clone() };
        let network = state.networks.get(network_id).ok_or_else(unknown)?;
        let (way, prefix) = match (&network.record.bridge, &network.record.child) {
            (Some(details), _) => {
                let index = network.bridge.ok_or_else(|| Error::NotABridge { name: details.link.clone() })?;
                (Way::Bridge { details: details.clone(), index }, &details.interface_prefix)
            }
            (None, Some(child)) => {
                if let Some(rate) = config.rate_in {
                    return Err(Error::InvalidOption {
                        option: crate::options::RATE_IN.to_owned(),
                        value: format!("{}bit", rate.saturating_mul(8)),
                        reason: "it is for networks with a bridge; what the container sends can be limited here too",
                    });
                }
                let way = Way::Child { driver: network.record.driver, details: child.clone() };
                (way, &child.interface_prefix)
            }
            (None, None) => return Err(Error::NotAttachable { name: network.record.name.clone() }),
        };
        let routed = match &way {
            Way::Child { driver, details } => details.is_routed(*driver) && !network.record.internal,
            Way::Bridge { .. } => false,
        };
        let interface = state.interface_name(config, prefix)?;
        let mut record = EndpointRecord {
            id,
            network_id: network_id.clone(),
            container_id: config.container_id.clone(),
            link: String::new(),
            interface,
            mac,
            ipv4: None,
            ipv6: None,
            link_local: config.link_local.clone(),
            routed,
            ports: Vec::new(),
        };
        let mut holds = Vec::with_capacity(config.ports.len());
        let mut sockets = Vec::new();
        let reserved = (|| {
            state.take_addresses(config, &mut record)?;
            let families = Families {
                ipv4: config.default_ipv4 && record.ipv4.is_some(),
                ipv6: config.default_ipv6 && record.ipv6.is_some(),
            };
            // Children of a host's link are reached at their own addresses, as with Docker.
            let Way::Bridge { details, .. } = &way else { return Ok(()) };
            for binding in &config.ports {
                let mut reserved = Reserved { record: &mut record, holds: &mut holds, sockets: &mut sockets };
                self.reserve_port(&mut state.ports, binding, details, families, &mut reserved)?;
            }
            Ok(())
        })();
        if let Err(error) = reserved {
            state.forget(&record);
            return Err(error);
        }
        state.endpoints.insert(record.id.clone(), record.clone());
        Ok(Plan { record, holds, sockets, way })
    }

    /// Reserves one binding, which is a port of the host in each family.
    fn reserve_port(
        &self,
        ports: &mut Ports,
        binding: &PortBinding,
        bridge: &BridgeRecord,
        families: Families,
        reserved: &mut Reserved<'_>,
    ) -> Result<()> {
        let (policy, protocol) = (self.config.published_ports, binding.protocol);
        let record = &mut *reserved.record;
        // What is forwarded can lead to the other family.
        let across = |address: IpAddr| self.forwards() && address == Ipv6Addr::LOCALHOST && protocol != Protocol::Sctp;
        let default = bridge.host_binding.unwrap_or(self.config.host_address);
        let wanted: Vec<IpAddr> = match binding.host_address {
            Some(address) if address.is_ipv6() && record.ipv6.is_none() && !across(address) => {
                return Err(Error::Ipv6Disabled { address });
            }
            Some(address) => vec![address],
            None if default.is_unspecified() => vec![bridge::any(false), bridge::any(true)],
            None => vec![default],
        };
        let mut host_port = binding.host_port;
        for address in wanted {
            let (of_family, mode) = match address.is_ipv6() {
                false => (families.ipv4, bridge.gateway_mode_v4),
                true if record.ipv6.is_none() => (families.ipv4 && across(address), bridge.gateway_mode_v4),
                true => (families.ipv6, bridge.gateway_mode_v6),
            };
            if !of_family {
                continue;
            }
            if !mode.translates() {
                record.ports.push(BoundPort {
                    container_port: binding.container_port,
                    protocol: binding.protocol,
                    host_address: bridge::any(address.is_ipv6()),
                    host_port: 0,
                });
                continue;
            }
            if policy == PublishedPorts::RespectHostFirewall && protocol == Protocol::Sctp {
                return Err(Error::NotForwardable { protocol });
            }
            let wanted = PortBinding { host_port, host_address: Some(address), ..binding.clone() };
            let serves = self.forwards() && forwarding::is_served(policy, address, protocol);
            let (bound, hold) = ports.reserve(&wanted, &record.id, serves)?;
            if serves && let Some(id) = forwarding::id(protocol, SocketAddr::new(address, bound.host_port)) {
                let descriptor = hold.try_clone().map_err(|source| Error::Bind {
                    address,
                    port: bound.host_port,
                    protocol,
                    source,
                })?;
                reserved.sockets.push(forwarding::Socket { id, descriptor });
            }
            // The same port in both families.
            host_port = HostPort::Fixed(bound.host_port);
            record.ports.push(bound);
            reserved.holds.push(hold);
        }
        // Without IPv6 in the network the host's [::1] leads to it all the same, unless somebody is there already.
        let port = record.ports.last().filter(|port| port.host_address == Ipv4Addr::UNSPECIFIED);
        if binding.host_address.is_none()
            && self.forwards()
            && let Some(port) = port.filter(|port| port.host_port != 0).map(|port| port.host_port)
            && let Some(id) = forwarding::id(protocol, SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port))
            && let Ok(descriptor) = ports.beside(Ipv6Addr::LOCALHOST.into(), port, protocol)
        {
            reserved.sockets.push(forwarding::Socket { id, descriptor });
        }
        Ok(())
    }

    /// Returns the name of our end of the pair, if there is one, and the container's Ethernet address.
    fn carry_out(&self, sandbox: &Sandbox, config: &EndpointConfig, plan: &Plan) -> Result<(String, MacAddress)> {
        let record = &plan.record;
        let (details, bridge_index) = match &plan.way {
            Way::Bridge { details, index } => (details, *index),
            Way::Child { driver, details } => {
                let mac = self.connect_child(sandbox.descriptor(), record, *driver, details)?;
                let mut inside = Inside::new(sandbox.take_socket()?, &record.interface);
                let index = inside.take_up(sandbox.descriptor(), record, &config.sysctls)?;
                if let Some(rate) = config.rate_out {
                    inside.limit(index, rate)?;
                }
                let own = (*driver == Driver::Macvlan).then_some(mac);
                inside.announce(record, index, own, config.default_ipv4, config.default_ipv6)?;
                return Ok((String::new(), mac));
            }
        };
        if !record.ports.is_empty() {
            self.open_firewall("publishing ports")?;
        } else if details.masquerade {
            self.open_firewall("masquerading")?;
        }
        let name = self.connect(sandbox.descriptor(), record, details, bridge_index)?;
        let dressed = (|| {
            let mut inside = Inside::new(sandbox.take_socket()?, &record.interface);
            let index = inside.take_up(sandbox.descriptor(), record, &config.sysctls)?;
            if let Some(rate) = config.rate_out {
                inside.limit(index, rate)?;
            }
            if let Some(rate) = config.rate_in {
                self.limit(&name, rate)?;
            }
            self.take_up(&name, bridge_index)?;
            inside.announce(record, index, Some(record.mac), config.default_ipv4, config.default_ipv6)?;
            if !record.ports.is_empty() {
                self.publish(&record.publications(self.config.published_ports))?;
                conntrack::forget(record);
            }
            Ok(())
        })();
        match dressed {
            Ok(()) => Ok((name, record.mac)),
            Err(error) => {
                self.graveyard.bury(&name);
                Err(error)
            }
        }
    }

    /// Makes the pair of interfaces, one end in the bridge, the other in the sandbox.
    fn connect(
        &self,
        namespace: BorrowedFd<'_>,
        record: &EndpointRecord,
        bridge: &BridgeRecord,
        bridge_index: u32,
    ) -> Result<String> {
        let mut attempt = 1;
        loop {
            let name = format!("veth{}", &hex(&random::<4>().map_err(Error::random)?)[..7]);
            let veth = link::Veth {
                name: &name,
                master: bridge_index,
                mtu: bridge.mtu,
                peer_name: &record.interface,
                peer_mac: record.mac,
                peer_namespace: namespace,
            };
            let mut request = Request::new();
            link::new_veth(&mut request, &veth);
            for address in record.addresses() {
                neighbour::set(&mut request, bridge_index, address, record.mac);
            }
            let port = Port {
                hairpin: !record.ports.is_empty(),
                isolated: !bridge.icc && !super::bridge::frames_are_filtered(),
                no_address: false,
            };
            if port.hairpin || port.isolated {
                link::set_port(&mut request, &name, port);
            }
            let last = request.len();
            link::set_port(&mut request, &name, Port { no_address: true, ..Port::default() });
            match self.sockets.with(|socket| socket.transact(request))? {
                Ok(()) => return Ok(name),
                Err(error) if error.message == last => return Ok(name), // a kernel or link without IPv6
                Err(error) if error.message == 0 && error.errno == Errno::EXIST && attempt < NAMES => {
                    // Ours is a random one; the container's may be of an interface that is being deleted.
                    self.graveyard.wait();
                    attempt += 1;
                }
                Err(error) if error.message == 0 && error.errno == Errno::EXIST => {
                    return Err(Error::InterfaceTaken { name: record.interface.clone() });
                }
                Err(error) if error.message == 0 && error.errno.raw_os_error() == FULL => {
                    return Err(Error::BridgeFull { link: bridge.link.clone() });
                }
                Err(error) => {
                    if error.message > 0 {
                        self.graveyard.bury(&name);
                    }
                    return Err(Error::netlink("make the container's interface")(error));
                }
            }
        }
    }

    /// Limits what our end sends, which is what comes to the container.
    fn limit(&self, port: &str, rate: u64) -> Result<()> {
        self.sockets.with(|socket| {
            let failed = || Error::netlink("look for the container's interface");
            let link = link::find(socket, port).map_err(failed())?.ok_or_else(|| failed()(Errno::NODEV.into()))?;
            limit(socket, link.index, rate)
        })?
    }

    /// Takes our end of the pair up and waits until it and the bridge (whose first port it may be) pass packets.
    fn take_up(&self, port: &str, bridge_index: u32) -> Result<()> {
        self.sockets.with(|socket| {
            let mut request = Request::new();
            link::set_up_by_name(&mut request, port);
            socket.transact(request).map_err(Error::netlink("take the container's interface up"))?;
            wait_for_carrier(socket, |socket| link::find(socket, port))?;
            wait_for_carrier(socket, |socket| link::by_index(socket, bridge_index))
        })?
    }
}

impl super::State {
    /// The name that was asked for, or the network's prefix with the first number that the container does not use.
    fn interface_name(&self, config: &EndpointConfig, prefix: &str) -> Result<String> {
        let used: Vec<&str> = self
            .endpoints
            .values()
            .filter(|endpoint| endpoint.container_id == config.container_id)
            .map(|endpoint| endpoint.interface.as_str())
            .collect();
        if let Some(name) = &config.interface {
            return match used.contains(&name.as_str()) {
                true => Err(Error::InterfaceTaken { name: name.clone() }),
                false => Ok(name.clone()),
            };
        }
        let prefix = if prefix.is_empty() { "eth" } else { prefix };
        let names = (0..).map(|number| format!("{prefix}{number}"));
        Ok(names.into_iter().find(|name| !used.contains(&name.as_str())).unwrap_or_default())
    }

    /// An address in each family that the network has.
    fn take_addresses(&mut self, config: &EndpointConfig, record: &mut EndpointRecord) -> Result<()> {
        let Some(network) = self.networks.get_mut(&record.network_id) else { return Ok(()) };
        for (ipv6, wanted) in [(false, config.ipv4), (true, config.ipv6)] {
            let fits = |addresses: &&mut crate::ipam::Addresses| {
                let subnet = addresses.subnet();
                subnet.is_ipv6() == ipv6 && wanted.is_none_or(|wanted| subnet.contains(wanted))
            };
            let mut candidates = network.addresses.iter_mut().filter(fits).peekable();
            if candidates.peek().is_none() {
                match wanted {
                    Some(address) => {
                        let subnet = network.record.subnet(ipv6).map_or(IpNet::new(address, 0), |subnet| subnet.net);
                        return Err(Error::AddressOutside { address, subnet });
                    }
                    None => continue,
                }
            }
            let mut outcome = None;
            for addresses in candidates {
                let before = config.preferred.iter().copied().find(|address| addresses.is_free(*address));
                let taken = addresses.take(wanted.or(before), &record.id);
                let done = taken.is_ok();
                outcome = Some(taken.map(|address| (address, addresses.subnet())));
                if done {
                    break;
                }
            }
            if let Some(taken) = outcome {
                let (address, net) = taken?;
                let subnet = network.record.subnets.iter().find(|subnet| subnet.net == net);
                let gateway = subnet.and_then(|subnet| gateway(&network.record, subnet));
                let placed = Some(Placed { net: IpNet::new(address, net.prefix), gateway });
                if ipv6 {
                    record.ipv6 = placed;
                } else {
                    record.ipv4 = placed;
                }
            }
        }
        Ok(())
    }
}

/// Limits what a link sends to so many bytes a second.
pub(super) fn limit(socket: &mut Socket, link: u32, rate: u64) -> Result<()> {
    let mut request = Request::new();
    shaper::limit(&mut request, link, rate);
    socket.transact(request).map_err(|error| match error.errno {
        Errno::NOENT | Errno::OPNOTSUPP => Error::NoShaper,
        _ => Error::netlink("limit the rate of an endpoint")(error),
    })
}

/// Waits until the link that `ask` returns passes packets.
///
/// The kernel acts on a carrier that has appeared a little later, and drops what is sent before: a container's first
/// packet would be repeated after a second. Asking for the link makes it act at once (Linux 6.9 and later).
pub(super) fn wait_for_carrier(
    socket: &mut Socket,
    mut ask: impl FnMut(&mut Socket) -> Result<Option<Link>, netlink::Error>,
) -> Result<()> {
    for attempt in 0..CARRIER_ATTEMPTS {
        match ask(socket).map_err(Error::netlink("look at the container's interface"))? {
            Some(link) if !link.operational => std::thread::sleep(CARRIER_PAUSE * attempt),
            _ => break,
        }
    }
    Ok(()) // late at worst, not lost: packets are repeated
}

impl Networks {
    /// Publishes ports of an endpoint whose holds are elsewhere already. Returns what the endpoint is then.
    pub fn adopt_ports(&self, endpoint: &EndpointRecord, ports: &[BoundPort]) -> Result<EndpointRecord> {
        let shared = &*self.shared;
        let mut state = lock(&shared.state);
        let mut whole = endpoint.clone();
        whole.ports.extend(ports.iter().cloned());
        for port in ports {
            state.ports.restore(port, &endpoint.id);
        }
        state.endpoints.insert(whole.id.clone(), whole.clone());
        drop(state);
        let added = EndpointRecord { ports: ports.to_vec(), ..endpoint.clone() };
        shared.open_firewall("publishing ports")?;
        shared.publish(&added.publications(shared.config.published_ports))?;
        self.shared.lead_here(&added)?;
        conntrack::forget(&added);
        Ok(whole)
    }
}
