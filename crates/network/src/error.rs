//! What can go wrong, with the data that a caller needs to say it in its own words.

use std::io;
use std::net::IpAddr;

use crate::address::{IpNet, Protocol};
use crate::netlink;

/// An operation on networks failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be carried out.
    #[error("invalid {field} \"{value}\": {reason}")]
    InvalidConfig { field: &'static str, value: String, reason: &'static str },
    /// The kernel refused something about links, addresses or routes.
    #[error("failed to {operation}")]
    Netlink { operation: &'static str, source: netlink::Error },
    /// nftables is there, and refused a change.
    #[error("failed to {operation} in nftables")]
    Nftables { operation: &'static str, source: netlink::Error },
    /// The kernel has no nftables of the family inet, or not enough of it.
    #[error("{needed_for} needs nftables with tables of the family inet, which this kernel does not offer")]
    NftablesUnavailable { needed_for: &'static str, source: netlink::Error },
    /// Every subnet of the pools is in use on this host.
    #[error("all predefined address pools have been fully subnetted")]
    NoFreeSubnet,
    /// A link of the bridge's name exists, and is something else.
    #[error("the link {name} exists and is not a bridge")]
    NotABridge { name: String },
    /// It would get our addresses, and go with the network.
    #[error(
        "the bridge {name} is there already, and not of this network: choose another com.docker.network.bridge.name"
    )]
    OthersBridge { name: String },
    /// What was asked for makes no network; each problem in Docker's words.
    #[error("invalid network config:\n{}", problems.join("\n"))]
    InvalidNetwork { problems: Vec<String> },
    /// No driver knows the option.
    #[error("unknown option \"{option}\" for the driver {driver}")]
    UnknownOption { option: String, driver: &'static str },
    /// An option's value makes no sense.
    #[error("invalid value \"{value}\" of {option}: {reason}")]
    InvalidOption { option: String, value: String, reason: &'static str },
    /// The name belongs to another network.
    #[error("network with name {name} already exists")]
    NameTaken { name: String },
    /// The subnet overlaps one of ours, or one that the host reaches in another way.
    #[error("invalid pool request: Pool overlaps with other one on this address space")]
    PoolOverlaps { subnet: IpNet },
    /// The interface belongs to another network of ours.
    #[error(
        "cannot create network {name} ({link}): conflicts with network {other} ({link}): networks have same bridge name"
    )]
    BridgeTaken { name: String, link: String, other: String },
    /// Endpoints are still in the network.
    #[error("network {name} has active endpoints")]
    HasEndpoints { name: String },
    /// The kernel takes 1,023 ports per bridge.
    #[error("the bridge {link} has 1023 ports, which is the most that the kernel allows: use a further network")]
    BridgeFull { link: String },
    /// The kernel cannot make such links.
    #[error("{driver} networks need links that this kernel does not have ({option})")]
    UnsupportedDriver { driver: &'static str, option: &'static str },
    /// The parent has children of another network already.
    #[error("network {other} is already using parent interface {parent}")]
    ParentTaken { parent: String, other: String },
    /// Two hosts would give the same addresses to their containers.
    #[error(
        "an overlay network needs a subnet that is the same on all hosts, and a range of it for this host: --subnet and --ip-range"
    )]
    OverlayRange,
    /// Only what has a bridge is reached through ports of the host.
    #[error("cannot publish ports: containers of the {driver} network {name} are reached at their own addresses")]
    NotPublishable { driver: &'static str, name: String },
    /// The kernel cannot limit rates.
    #[error(
        "limiting the rate of an endpoint needs the token bucket filter, which this kernel does not have (CONFIG_NET_SCH_TBF)"
    )]
    NoShaper,
    /// The interface's name is in use in the container.
    #[error("the container has an interface {name} already")]
    InterfaceTaken { name: String },
    /// There is no such network.
    #[error("network {id} not found")]
    UnknownNetwork { id: String },
    /// The network is not one to which containers are attached (host, none).
    #[error("network {name} has no endpoints")]
    NotAttachable { name: String },
    /// The address that was asked for belongs to another container, or to the bridge.
    #[error("Address already in use")]
    AddressTaken { address: IpAddr },
    /// The address that was asked for cannot be given in this network.
    #[error("no configured subnet contains IP address {address}")]
    AddressOutside { address: IpAddr, subnet: IpNet },
    /// Every address of the network is in use.
    #[error("no available addresses in {subnet}")]
    AddressesExhausted { subnet: IpNet },
    /// The port is published by another container of ours.
    #[error("Bind for {address}:{port} failed: port is already allocated")]
    PortAllocated { address: IpAddr, port: u16 },
    /// The port is in use by a process of the host.
    #[error("failed to bind host port {address}:{port}/{protocol}: address already in use")]
    AddressInUse { address: IpAddr, port: u16, protocol: Protocol },
    /// The port could not be reserved for another reason: no such address, no permission.
    #[error("failed to bind host port {address}:{port}/{protocol}")]
    Bind { address: IpAddr, port: u16, protocol: Protocol, source: io::Error },
    /// A range of ports without a free one, or nonsense.
    #[error("no port of {address}:{first}-{last}/{protocol} is free")]
    PortsExhausted { address: IpAddr, first: u16, last: u16, protocol: Protocol },
    /// The kernel does not have the protocol.
    #[error("cannot publish {protocol} ports: this kernel has no {protocol} (CONFIG_IP_SCTP)")]
    UnsupportedProtocol { protocol: Protocol },
    /// A port of an IPv6 address is to be published from a network without IPv6.
    #[error("cannot publish a port on {address}: IPv6 is not enabled for the network")]
    Ipv6Disabled { address: IpAddr },
    /// Such ports can only be translated.
    #[error("cannot publish {protocol} ports with published-ports: respect-host-firewall")]
    NotForwardable { protocol: Protocol },
    /// A port that is served by a listening socket is not.
    #[error("failed to {operation}")]
    Forwarder { operation: &'static str, source: io::Error },
    /// A file below /proc/sys could not be written.
    #[error("failed to set {path} to {value}")]
    Sysctl { path: String, value: String, source: io::Error },
    /// A network namespace could not be made or entered.
    #[error("failed to {operation}")]
    Namespace { operation: &'static str, source: io::Error },
    /// The kernel gave no random numbers.
    #[error("failed to make a random identifier")]
    Random { source: io::Error },
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// For `map_err`: a refusal of rtnetlink.
    pub(crate) fn netlink(operation: &'static str) -> impl FnOnce(netlink::Error) -> Error {
        move |source| Error::Netlink { operation, source }
    }

    pub(crate) fn random(source: io::Error) -> Error {
        Error::Random { source }
    }
}
