//! An endpoint: a container's place in a network.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::address::{MacAddress, Protocol};
use crate::nft::Publication;

/// What is wanted of an endpoint.
#[derive(Clone, Debug, Default)]
pub struct EndpointConfig {
    pub container_id: String,
    /// Id of the network; `None` is the default bridge.
    pub network_id: Option<String>,
    /// `None`: a random one.
    pub mac: Option<MacAddress>,
    /// Name inside the container; `None`: `eth0`.
    pub interface: Option<String>,
    /// `None`: the next free one.
    pub address: Option<Ipv4Addr>,
    pub ports: Vec<PortBinding>,
}

/// A port to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortBinding {
    pub container_port: u16,
    pub protocol: Protocol,
    /// `None`: where [`crate::Config::host_address`] says.
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
    pub host_address: Ipv4Addr,
    pub host_port: u16,
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
    pub mac: MacAddress,
    pub address: Ipv4Addr,
    /// Prefix length of the subnet.
    pub prefix: u8,
    pub gateway: Ipv4Addr,
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
    pub(crate) fn publications(&self) -> Vec<Publication> {
        let publication = |port: &BoundPort| Publication {
            protocol: port.protocol,
            host_address: port.host_address,
            host_port: port.host_port,
            address: self.address,
            port: port.container_port,
        };
        self.ports.iter().map(publication).collect()
    }
}
