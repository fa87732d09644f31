//! Attaching a container: plan in memory, then links, then addresses, then ports; undone when a step fails.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;

use super::{Networks, Shared, lock};
use crate::address::{Ipv4Net, MacAddress, hex, random, random_id};
use crate::config::BridgeRecord;
use crate::conntrack;
use crate::endpoint::{Endpoint, EndpointConfig, EndpointRecord};
use crate::error::{Error, Result};
use crate::netlink::link::{Link, Port};
use crate::netlink::{self, Request, Socket, address, link, neighbour, route};
use crate::sandbox::Sandbox;

/// How many random names are tried for our end of a pair of interfaces.
const NAMES: usize = 8;

/// How often and with which pause a link is asked whether packets pass; 13 ms in all.
const CARRIER_ATTEMPTS: u32 = 16;
const CARRIER_PAUSE: Duration = Duration::from_micros(100);

/// What is decided before anything is done.
struct Plan {
    record: EndpointRecord,
    holds: Vec<OwnedFd>,
    bridge: BridgeRecord,
    bridge_index: u32,
}

impl Networks {
    /// Gives a sandbox an interface in a network, and publishes its ports.
    ///
    /// When this fails, the address and the ports are free again; an interface that exists already goes with the sandbox.
    pub fn attach(&self, sandbox: &Sandbox, config: &EndpointConfig) -> Result<Endpoint> {
        let shared = &*self.shared;
        let plan = shared.plan(config)?;
        match shared.carry_out(sandbox, config.interface.as_deref().unwrap_or("eth0"), &plan) {
            Ok(link) => {
                let mut record = plan.record;
                record.link = link;
                let mut state = lock(&shared.state);
                if let Some(known) = state.endpoints.get_mut(&record.id) {
                    known.link.clone_from(&record.link);
                }
                Ok(Endpoint { record, holds: plan.holds })
            }
            Err(error) => {
                lock(&shared.state).forget(&plan.record);
                Err(error)
            }
        }
    }
}

impl Shared {
    /// Chooses and reserves: address, ports. All of it, or nothing.
    fn plan(&self, config: &EndpointConfig) -> Result<Plan> {
        let id = random_id().map_err(Error::random)?;
        let mac = match config.mac {
            Some(mac) => mac,
            None => MacAddress::random().map_err(Error::random)?,
        };
        let network_id = config.network_id.as_ref().unwrap_or(&self.default);
        let mut state = lock(&self.state);
        let unknown = || Error::UnknownNetwork { id: network_id.clone() };
        let network = state.networks.get_mut(network_id).ok_or_else(unknown)?;
        let (Some(bridge), Some(details)) = (network.bridge.as_mut(), network.record.bridge.clone()) else {
            return Err(Error::NotAttachable { name: network.record.name.clone() });
        };
        let bridge_index = bridge.index;
        let address = bridge.addresses.take(config.address, &id)?;
        let mut record = EndpointRecord {
            id,
            network_id: network_id.clone(),
            container_id: config.container_id.clone(),
            link: String::new(),
            mac,
            address,
            prefix: details.subnet.prefix,
            gateway: details.gateway,
            ports: Vec::new(),
        };
        let mut holds = Vec::with_capacity(config.ports.len());
        for binding in &config.ports {
            match state.ports.reserve(binding, self.config.host_address, &record.id) {
                Ok((bound, hold)) => {
                    record.ports.push(bound);
                    holds.push(hold);
                }
                Err(error) => {
                    state.forget(&record);
                    return Err(error);
                }
            }
        }
        state.endpoints.insert(record.id.clone(), record.clone());
        Ok(Plan { record, holds, bridge: details, bridge_index })
    }

    /// Returns the name of our end of the pair.
    fn carry_out(&self, sandbox: &Sandbox, interface: &str, plan: &Plan) -> Result<String> {
        let record = &plan.record;
        if !record.ports.is_empty() {
            self.open_firewall("publishing ports")?;
        } else if plan.bridge.masquerade {
            self.open_firewall("masquerading")?;
        }
        let name = self.connect(sandbox, interface, plan)?;
        let mut inside = Inside { socket: sandbox.take_socket()?, interface };
        let index = inside.take_up(record)?;
        self.take_up(&name, plan.bridge_index)?;
        inside.announce(record, index)?;
        if !record.ports.is_empty() {
            self.publish(&record.publications())?;
            conntrack::forget(record);
        }
        Ok(name)
    }

    /// Makes the pair of interfaces, one end in the bridge, the other in the sandbox.
    fn connect(&self, sandbox: &Sandbox, interface: &str, plan: &Plan) -> Result<String> {
        let record = &plan.record;
        let mut attempt = 1;
        loop {
            let name = format!("veth{}", &hex(&random::<4>().map_err(Error::random)?)[..7]);
            let veth = link::Veth {
                name: &name,
                master: plan.bridge_index,
                mtu: plan.bridge.mtu,
                peer_name: interface,
                peer_mac: record.mac,
                peer_namespace: sandbox.descriptor(),
            };
            let mut request = Request::new();
            link::new_veth(&mut request, &veth);
            neighbour::set(&mut request, plan.bridge_index, record.address, record.mac);
            if !record.ports.is_empty() {
                link::set_port(&mut request, &name, Port { hairpin: true, no_address: false });
            }
            let last = request.len();
            link::set_port(&mut request, &name, Port { hairpin: false, no_address: true });
            let made = lock(&self.route).transact(request);
            match made {
                Ok(()) => return Ok(name),
                Err(error) if error.message == last => return Ok(name), // a kernel or link without IPv6
                Err(error) if error.errno == Errno::EXIST && attempt < NAMES => attempt += 1,
                Err(error) => return Err(Error::netlink("make the container's interface")(error)),
            }
        }
    }

    /// Takes our end of the pair up and waits until it and the bridge (whose first port it may be) pass packets.
    fn take_up(&self, port: &str, bridge_index: u32) -> Result<()> {
        let mut socket = lock(&self.route);
        let mut request = Request::new();
        link::set_up_by_name(&mut request, port);
        socket.transact(request).map_err(Error::netlink("take the container's interface up"))?;
        wait_for_carrier(&mut socket, |socket| link::find(socket, port))?;
        wait_for_carrier(&mut socket, |socket| link::by_index(socket, bridge_index))?;
        Ok(())
    }
}

/// The end of the pair that is in the sandbox.
struct Inside<'a> {
    socket: Socket,
    interface: &'a str,
}

impl Inside<'_> {
    /// Gives it its address and takes it up. Returns its index.
    ///
    /// The other end is still down, and shall follow at once: the kernel waits for a grace period when it notices that an
    /// interface is up and has no carrier.
    fn take_up(&mut self, record: &EndpointRecord) -> Result<u32> {
        let failed = || Error::netlink("configure the container's interface");
        let link = link::find(&mut self.socket, self.interface).map_err(failed())?;
        let link = link.ok_or_else(|| failed()(Errno::NODEV.into()))?.index;
        let mut request = Request::new();
        let net = Ipv4Net::new(record.address, record.prefix);
        address::add(&mut request, address::Assigned { link, net });
        link::set_up(&mut request, link);
        self.socket.transact(request).map_err(failed())?;
        Ok(link)
    }

    /// Waits until it passes packets, gives it its default route, and tells the neighbours where its address is now.
    fn announce(&mut self, record: &EndpointRecord, link: u32) -> Result<()> {
        wait_for_carrier(&mut self.socket, |socket| link::by_index(socket, link))?;
        let mut request = Request::new();
        route::add_default(&mut request, record.gateway, link);
        link::set_mac(&mut request, link, record.mac);
        self.socket.transact(request).map_err(Error::netlink("give the container its default route"))
    }
}

/// Waits until the link that `ask` returns passes packets.
///
/// The kernel acts on a carrier that has appeared a little later, and drops what is sent before: a container's first
/// packet would be repeated after a second. Asking for the link makes it act at once (Linux 6.9 and later).
fn wait_for_carrier(
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
