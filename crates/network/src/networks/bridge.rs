//! A bridge of the host: made, or taken over from the daemon that made it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::io::Errno;

use crate::address::{IpNet, MacAddress, random};
use crate::config::{BridgeRecord, Config, NetworkRecord, Subnet};
use crate::error::{Error, Result};
use crate::netlink::{Request, Socket, address, link};
use crate::options::GatewayMode;
use crate::subnet::{self, Survey};
use crate::sysctl;

/// Another daemon may choose the same subnet at the same moment; both see it and choose anew, this often.
const ATTEMPTS: usize = 16;

/// The text by which a bridge of ours is known again: the daemon's table, the network's id.
pub fn mark(config: &Config, id: &str) -> String {
    format!("hoist:{}:{id}", config.table_name)
}

/// Whether a link was made for the network with this id, by this daemon or one with another table before it.
fn is_of(alias: &str, id: &str) -> bool {
    alias.starts_with("hoist:") && alias.rsplit(':').next() == Some(id)
}

/// MTU of bridges that are told none.
pub fn default_mtu(socket: &mut Socket, config: &Config) -> Result<u32> {
    match config.mtu {
        Some(mtu) => Ok(mtu),
        None => Survey::take(socket)?.uplink_mtu(socket),
    }
}

/// The addresses of the bridge itself.
pub fn own_addresses(record: &NetworkRecord) -> Vec<IpNet> {
    let Some(bridge) = &record.bridge else { return Vec::new() };
    let has = |subnet: &&Subnet| match subnet.net.is_ipv6() {
        false => !bridge.inhibit_ipv4 && bridge.gateway_mode_v4 != GatewayMode::Isolated,
        true => bridge.gateway_mode_v6 != GatewayMode::Isolated,
    };
    let address = |subnet: &Subnet| Some(IpNet::new(subnet.gateway?, subnet.net.prefix));
    record.subnets.iter().filter(has).filter_map(address).collect()
}

/// The bridge of a user-defined network, as its record says, up; its index. May be called for one that is there.
///
/// # Errors
/// [`Error::NotABridge`] when the name belongs to something else, [`Error::OthersBridge`] to a bridge that is not this
/// network's: it would get our addresses, and go with the network.
pub fn ensure(socket: &mut Socket, config: &Config, record: &NetworkRecord) -> Result<u32> {
    let bridge = record.bridge.as_ref().ok_or_else(|| Error::NotAttachable { name: record.name.clone() })?;
    let present = link::find(socket, &bridge.link).map_err(Error::netlink("look for the bridge"))?;
    let (index, made) = match present {
        Some(link) if link.kind != "bridge" => return Err(Error::NotABridge { name: bridge.link.clone() }),
        Some(link) if !is_of(&link.alias, &record.id) => {
            return Err(Error::OthersBridge { name: bridge.link.clone() });
        }
        Some(link) => (link.index, false),
        None => make(socket, &bridge.link, &mark(config, &record.id), bridge.mtu)?,
    };
    match dress(socket, record, bridge, index, made) {
        Ok(()) => Ok(index),
        Err(error) => {
            undo(socket, index, made);
            Err(error)
        }
    }
}

/// Gives a bridge exactly its settings and addresses, and takes it up.
fn dress(socket: &mut Socket, record: &NetworkRecord, bridge: &BridgeRecord, index: u32, made: bool) -> Result<()> {
    settings(bridge, record.ipv6)?;
    let wanted = own_addresses(record);
    let mut request = Request::new();
    let present: Vec<IpNet> = match made {
        true => Vec::new(),
        false => {
            let all = address::list(socket).map_err(Error::netlink("list the host's addresses"))?;
            all.into_iter().filter(|assigned| assigned.link == index).map(|assigned| assigned.net).collect()
        }
    };
    link::set_mtu(&mut request, index, bridge.mtu);
    for net in present.iter().filter(|net| !wanted.contains(net) && !is_link_local(net.address)) {
        address::delete(&mut request, address::Assigned { link: index, net: *net });
    }
    for net in wanted.iter().filter(|net| !present.contains(net)) {
        address::add(&mut request, address::Assigned { link: index, net: *net });
    }
    link::set_up(&mut request, index);
    socket.transact(request).map_err(Error::netlink("set up the bridge"))
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// The kernel's settings of a bridge.
fn settings(bridge: &BridgeRecord, ipv6: bool) -> Result<()> {
    let name = &bridge.link;
    let disabled = if ipv6 { "0" } else { "1" };
    if ipv6 {
        sysctl::set_if_present(&format!("net/ipv6/conf/{name}/accept_ra"), "0")?;
    }
    sysctl::ensure_if_present(&format!("net/ipv6/conf/{name}/disable_ipv6"), disabled)?;
    if !bridge.icc {
        // The ports are isolated from each other. What is permitted all the same passes through the host, which
        // answers for the neighbours.
        sysctl::set(&format!("net/ipv4/conf/{name}/proxy_arp_pvlan"), "1")?;
    }
    Ok(())
}

/// The default bridge, up and with its addresses; and the index of its interface. Fills in the record.
///
/// The subnet is the configured one, else the one that the bridge has, else the one that it had if it is still free, else
/// a free one of the pools. `taken` are the subnets of all recorded networks.
pub fn ensure_default(
    socket: &mut Socket,
    config: &Config,
    record: &mut NetworkRecord,
    taken: &[IpNet],
) -> Result<u32> {
    let name = &config.bridge_name;
    let present = link::find(socket, name).map_err(Error::netlink("look for the bridge"))?;
    let mtu = default_mtu(socket, config)?;
    let (index, made) = match present {
        Some(link) if link.kind != "bridge" => return Err(Error::NotABridge { name: name.clone() }),
        Some(link) => (link.index, false),
        None => make(socket, name, &mark(config, &record.id), mtu)?,
    };
    let previous = record.subnets.clone();
    let bridge = BridgeRecord {
        link: name.clone(),
        mtu,
        icc: config.icc,
        masquerade: config.masquerade,
        masquerade_v6: config.masquerade,
        host_binding: None,
        inhibit_ipv4: false,
        gateway_mode_v4: GatewayMode::Nat,
        gateway_mode_v6: GatewayMode::Nat,
        trusted: Vec::new(),
        interface_prefix: String::new(),
    };
    let outcome = (|| {
        settings(&bridge, config.ipv6)?;
        let mut subnets = vec![settle(socket, config, &previous, index, mtu, taken)?];
        if config.ipv6 {
            subnets.push(settle_ipv6(socket, config, &previous, index)?);
        }
        Ok(subnets)
    })();
    match outcome {
        Ok(subnets) => {
            record.bridge = Some(bridge);
            record.subnets = subnets;
            record.ipv6 = config.ipv6;
            Ok(index)
        }
        Err(error) => {
            undo(socket, index, made);
            Err(error)
        }
    }
}

fn undo(socket: &mut Socket, index: u32, made: bool) {
    if made {
        let mut request = Request::new();
        link::delete(&mut request, index);
        let _ = socket.transact(request); // the first error is the one to report
    }
}

/// Index of the new bridge, and whether it was us who made it.
fn make(socket: &mut Socket, name: &str, alias: &str, mtu: u32) -> Result<(u32, bool)> {
    let mut request = Request::new();
    // With an address of its own it does not change when ports come and go.
    link::new_bridge(&mut request, name, alias, MacAddress::random().map_err(Error::random)?, mtu);
    let made = match socket.transact(request) {
        Ok(()) => true,
        Err(error) if error.errno == Errno::EXIST => false,
        Err(error) => return Err(Error::netlink("make the bridge")(error)),
    };
    let link = link::find(socket, name).map_err(Error::netlink("look for the bridge"))?;
    Ok((link.ok_or_else(|| Error::NotABridge { name: name.to_owned() })?.index, made))
}

/// Gives the default bridge its settings and an address that nobody else uses.
fn settle(
    socket: &mut Socket,
    config: &Config,
    previous: &[Subnet],
    index: u32,
    mtu: u32,
    taken: &[IpNet],
) -> Result<Subnet> {
    for attempt in 0..ATTEMPTS {
        let survey = Survey::take(socket)?;
        let own = survey.addresses.iter().filter(|assigned| assigned.link == index && !assigned.net.is_ipv6());
        let own: Vec<_> = own.copied().collect();
        let kept = own.iter().map(|assigned| assigned.net).find(|net| net.prefix <= 30);
        let chosen = match config.bip.or(kept) {
            Some(net) => net,
            None => choose(&survey, config, previous, index, attempt, taken)?,
        };
        let mut request = Request::new();
        link::set_mtu(&mut request, index, mtu);
        for other in own.iter().filter(|assigned| assigned.net != chosen) {
            address::delete(&mut request, *other);
        }
        let added = address::Assigned { link: index, net: chosen };
        let new = !own.contains(&added);
        if new {
            address::add(&mut request, added);
        }
        link::set_up(&mut request, index);
        socket.transact(request).map_err(Error::netlink("set up the bridge"))?;
        if !new || config.bip.is_some() || !Survey::take(socket)?.in_use(&chosen.network(), index) {
            return default_subnet(chosen, config.fixed_cidr, config.default_gateway);
        }
        let mut request = Request::new();
        address::delete(&mut request, added);
        socket.transact(request).map_err(Error::netlink("give up a subnet"))?;
    }
    Err(Error::NoFreeSubnet)
}

/// The default bridge's subnet, with what else is configured of it.
fn default_subnet(own: IpNet, range: Option<IpNet>, gateway: Option<IpAddr>) -> Result<Subnet> {
    let invalid = |field, value: String, reason| Err(Error::InvalidConfig { field, value, reason });
    let mut subnet = Subnet { gateway: Some(own.address), given: false, ..Subnet::new(own) };
    if let Some(range) = range {
        if !subnet.net.covers(&range) {
            return invalid("fixed-cidr", range.to_string(), "must lie in the default bridge's subnet");
        }
        subnet.range = Some(range.network());
    }
    if let Some(gateway) = gateway.filter(|gateway| *gateway != own.address) {
        if !subnet.net.contains(gateway) {
            return invalid("default-gateway", gateway.to_string(), "must lie in the default bridge's subnet");
        }
        subnet.auxiliary.insert("DefaultGatewayIPv4".to_owned(), gateway);
    }
    Ok(subnet)
}

/// The same for IPv6: the configured subnet, the one that it had, or a unique local one.
fn settle_ipv6(socket: &mut Socket, config: &Config, previous: &[Subnet], index: u32) -> Result<Subnet> {
    let first = |net: IpNet| IpNet::new(net.network().at(net.first() + 1), net.prefix);
    let before = previous.iter().find(|subnet| subnet.net.is_ipv6());
    let before = before.and_then(|subnet| Some(IpNet::new(subnet.gateway?, subnet.net.prefix)));
    let chosen = match config.bip6.or(config.fixed_cidr_v6.map(first)).or(before) {
        Some(net) => net,
        None => first(subnet::unique_local()?),
    };
    let all = address::list(socket).map_err(Error::netlink("list the host's addresses"))?;
    let own: Vec<_> = all.into_iter().filter(|a| a.link == index && a.net.is_ipv6()).collect();
    let mut request = Request::new();
    for other in own.iter().filter(|assigned| assigned.net != chosen && !is_link_local(assigned.net.address)) {
        address::delete(&mut request, *other);
    }
    let added = address::Assigned { link: index, net: chosen };
    if !own.contains(&added) {
        address::add(&mut request, added);
    }
    if !request.is_empty() {
        socket.transact(request).map_err(Error::netlink("give the bridge its IPv6 address"))?;
    }
    let range = config.fixed_cidr_v6.filter(|_| config.bip6.is_some());
    default_subnet(chosen, range, config.default_gateway_v6)
}

fn choose(
    survey: &Survey,
    config: &Config,
    previous: &[Subnet],
    index: u32,
    attempt: usize,
    taken: &[IpNet],
) -> Result<IpNet> {
    let previous = previous.iter().find(|subnet| !subnet.net.is_ipv6());
    let free = |subnet: &&Subnet| attempt == 0 && !survey.in_use(&subnet.net, index);
    if let Some((subnet, gateway)) = previous.filter(free).and_then(|subnet| Some((subnet, subnet.gateway?))) {
        return Ok(IpNet::new(gateway, subnet.net.prefix));
    }
    // After a clash two daemons must not go on in step.
    let skip = match attempt {
        0 => 0,
        _ => usize::from(random::<1>().map_err(Error::random)?[0] % 4),
    };
    let mut free = survey.free(&config.pools, false, index, taken);
    let first = free.next().ok_or(Error::NoFreeSubnet)?;
    let subnet = free.take(skip).last().unwrap_or(first);
    Ok(IpNet::new(subnet.at(subnet.first() + 1), subnet.prefix))
}

/// Whether frames from port to port pass the table (`br_netfilter`). Then its rules keep containers apart where nothing
/// else does, and ports must not be isolated: what is redirected to another container of the same bridge is a frame from
/// port to port too.
pub fn frames_are_filtered() -> bool {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/bridge/bridge-nf-call-{name}tables"));
    ["ip", "ip6"].iter().all(|name| read(name).is_ok_and(|text| text.trim() == "1"))
}

/// Every address of the host, of a family.
pub fn any(ipv6: bool) -> IpAddr {
    if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}
