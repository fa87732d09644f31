//! An endpoint: a container's place in a network.

use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::address::{IpNet, MacAddress, Protocol};
use crate::config::PublishedPorts;
use crate::nft::Publication;

/// What is wanted of an endpoint.
#[derive(Clone, Debug, Default)]
pub struct EndpointConfig {
    pub container_id: String,
    /// Id of the network; `None` is the default bridge.
    pub network_id: Option<String>,
    /// `None`: a random one.
    pub mac: Option<MacAddress>,
    /// Name inside the container; `None`: the network's prefix and the first free number.
    pub interface: Option<String>,
    /// `None`: the next free one.
    pub ipv4: Option<IpAddr>,
    pub ipv6: Option<IpAddr>,
    /// Taken if they are free: what the container had before.
    pub preferred: Vec<IpAddr>,
    /// Further addresses of the interface.
    pub link_local: Vec<IpAddr>,
    /// Settings of the interface, see [`crate::options::endpoint`].
    pub sysctls: Vec<(String, String)>,
    /// The container's ways out lead through this endpoint.
    pub default_ipv4: bool,
    pub default_ipv6: bool,
    pub ports: Vec<PortBinding>,
    /// Most bytes a second to the container, and from it.
    pub rate_in: Option<u64>,
    pub rate_out: Option<u64>,
}

/// A port to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortBinding {
    pub container_port: u16,
    pub protocol: Protocol,
    /// `None`: where the network or [`crate::Config::host_address`] says.
    pub host_address: Option<IpAddr>,
    pub host_port: HostPort,
}

/// Which port of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPort {
    /// A free one of `/proc/sys/net/ipv4/ip_local_port_range`.
    Ephemeral,
    Fixed(u16),
    /// The first free one, both ends included.
    Range(u16, u16),
}

/// A published port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundPort {
    pub container_port: u16,
    pub protocol: Protocol,
    pub host_address: IpAddr,
    /// 0: no port of the host; the container's own is open, in a network that is routed.
    pub host_port: u16,
}

/// An address of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// With the subnet's prefix length.
    pub net: IpNet,
    /// The network's way out, used or not.
    pub gateway: Option<IpAddr>,
}

/// An endpoint, as the engine stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRecord {
    /// 64 hexadecimal digits.
    pub id: String,
    pub network_id: String,
    pub container_id: String,
    /// Name of the host's end of the pair of interfaces.
    pub link: String,
    /// Name of the container's end.
    pub interface: String,
    pub mac: MacAddress,
    pub ipv4: Option<Placed>,
    pub ipv6: Option<Placed>,
    #[serde(default)]
    pub link_local: Vec<IpAddr>,
    /// The way out needs no gateway.
    #[serde(default)]
    pub routed: bool,
    pub ports: Vec<BoundPort>,
}

/// A new endpoint.
#[derive(Debug)]
pub struct Endpoint {
    pub record: EndpointRecord,
    /// Sockets that reserve the host's ports, one per published port. To be kept open as long as the container lives.
    pub holds: Vec<OwnedFd>,
}

impl EndpointRecord {
    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.ipv4.iter().chain(&self.ipv6).map(|placed| placed.net.address)
    }

    /// Of the family.
    pub fn placed(&self, ipv6: bool) -> Option<Placed> {
        if ipv6 { self.ipv6 } else { self.ipv4 }
    }

    /// What the table is to know of its ports: those that are translated, or open at the container's own address.
    pub(crate) fn publications(&self, policy: PublishedPorts) -> Vec<Publication> {
        let forwarded = |port: &BoundPort| {
            let all = policy == PublishedPorts::RespectHostFirewall || port.host_address == Ipv6Addr::LOCALHOST;
            all && port.host_port != 0
        };
        let publication = |port: &BoundPort| {
            Some(Publication {
                protocol: port.protocol,
                host_address: port.host_address,
                host_port: port.host_port,
                address: self.placed(port.host_address.is_ipv6())?.net.address,
                port: port.container_port,
            })
        };
        self.ports.iter().filter(|port| !forwarded(port)).filter_map(publication).collect()
    }
}
