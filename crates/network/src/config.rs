//! What the daemon is told, and what it remembers about its networks.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::address::{IpNet, random_id};
use crate::child::ChildRecord;
use crate::error::{Error, Result};
use crate::options::GatewayMode;
use crate::overlay::OverlayRecord;

/// How [`crate::Networks`] is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the default bridge's interface; at most 15 bytes.
    pub bridge_name: String,
    /// Name of this daemon's nftables table.
    pub table_name: String,
    /// Whether there is a default bridge at all (`--bridge none`: containers that ask for no network have none).
    pub default_bridge: bool,
    /// `--bip`: the bridge's address and subnet, instead of a free one of the pools.
    pub bip: Option<IpNet>,
    /// `--bip6`: the same for IPv6.
    pub bip6: Option<IpNet>,
    /// `--fixed-cidr`: from where containers on the default bridge get their addresses.
    pub fixed_cidr: Option<IpNet>,
    pub fixed_cidr_v6: Option<IpNet>,
    /// `--default-gateway`: the gateway of containers on the default bridge, when it is not the bridge.
    pub default_gateway: Option<IpAddr>,
    pub default_gateway_v6: Option<IpAddr>,
    /// `--ipv6`: the default bridge has IPv6.
    pub ipv6: bool,
    /// Where free subnets are looked for, in this order.
    pub pools: Vec<Pool>,
    /// Instead of the uplink's.
    pub mtu: Option<u32>,
    /// `--icc`: containers on the default bridge may talk to each other.
    pub icc: bool,
    /// `--ip-masq`: their traffic leaves with the host's address.
    pub masquerade: bool,
    /// `--ip-forward`: switch forwarding on in the kernel.
    pub ip_forward: bool,
    /// `--ip`: where ports are published that name no address of the host.
    pub host_address: IpAddr,
    /// Who may reach published ports.
    pub published_ports: PublishedPorts,
    /// How many prepared network namespaces to keep.
    pub sandboxes: usize,
    /// What [`crate::Networks::records`] returned at an earlier time.
    pub records: Vec<NetworkRecord>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            bridge_name: "hoist0".to_owned(),
            default_bridge: true,
            table_name: "hoist".to_owned(),
            bip: None,
            bip6: None,
            fixed_cidr: None,
            fixed_cidr_v6: None,
            default_gateway: None,
            default_gateway_v6: None,
            ipv6: false,
            pools: default_pools(),
            mtu: None,
            icc: true,
            masquerade: true,
            ip_forward: true,
            host_address: Ipv4Addr::UNSPECIFIED.into(),
            published_ports: PublishedPorts::Open,
            sandboxes: 4,
            records: Vec::new(),
        }
    }
}

/// Whether the host's rules for incoming packets apply to published ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PublishedPorts {
    /// They do not: packets are translated and forwarded before such rules are asked.
    #[default]
    Open,
    /// They do: a socket of the host listens, and passes on what the host lets in.
    RespectHostFirewall,
}

/// A range of addresses from which subnets of one size are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    pub base: IpNet,
    /// Prefix length of the subnets.
    pub size: u8,
}

/// Docker's local pools, and one of 16,384 small subnets for hosts with many networks. IPv6 subnets without a pool come
/// from a unique local prefix (RFC 4193) of this host.
pub fn default_pools() -> Vec<Pool> {
    const POOLS: [([u8; 4], u8, u8); 8] = [
        ([172, 17, 0, 0], 16, 16),
        ([172, 18, 0, 0], 16, 16),
        ([172, 19, 0, 0], 16, 16),
        ([172, 20, 0, 0], 14, 16),
        ([172, 24, 0, 0], 14, 16),
        ([172, 28, 0, 0], 14, 16),
        ([192, 168, 0, 0], 16, 20),
        ([10, 192, 0, 0], 10, 24),
    ];
    let pool = |(base, prefix, size): ([u8; 4], u8, u8)| Pool { base: IpNet::new(base.into(), prefix), size };
    POOLS.into_iter().map(pool).collect()
}

/// What connects the containers of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    Bridge,
    /// Interfaces of containers are children of one of the host's, with an Ethernet address each.
    Macvlan,
    /// The same, with the parent's Ethernet address.
    Ipvlan,
    /// A bridge that is one with those of other hosts.
    Overlay,
    Host,
    /// No connection at all; also the driver of a network that only holds a configuration.
    Null,
}

impl Driver {
    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Driver::Bridge => "bridge",
            Driver::Macvlan => "macvlan",
            Driver::Ipvlan => "ipvlan",
            Driver::Overlay => "overlay",
            Driver::Host => "host",
            Driver::Null => "null",
        }
    }
}

/// A network, as the engine stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// 64 hexadecimal digits.
    pub id: String,
    pub name: String,
    pub driver: Driver,
    /// Nanoseconds since the epoch.
    pub created: u64,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The driver's options as they were given.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// `None`: none were given, not even an empty list.
    #[serde(default)]
    pub ipam_options: Option<BTreeMap<String, String>>,
    #[serde(default = "yes")]
    pub ipv4: bool,
    #[serde(default)]
    pub ipv6: bool,
    /// No way out of the network, and none into it.
    #[serde(default)]
    pub internal: bool,
    #[serde(default)]
    pub attachable: bool,
    /// Holds a configuration for others; no container can be attached.
    #[serde(default)]
    pub config_only: bool,
    /// Name of the network whose configuration this one took.
    #[serde(default)]
    pub config_from: String,
    /// In the order in which they were given, IPv4 first.
    #[serde(default)]
    pub subnets: Vec<Subnet>,
    /// For [`Driver::Bridge`] and [`Driver::Overlay`].
    pub bridge: Option<BridgeRecord>,
    /// For [`Driver::Macvlan`] and [`Driver::Ipvlan`].
    #[serde(default)]
    pub child: Option<ChildRecord>,
    /// For [`Driver::Overlay`].
    #[serde(default)]
    pub overlay: Option<OverlayRecord>,
}

fn yes() -> bool {
    true
}

/// A subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Host bits cleared.
    pub net: IpNet,
    /// From where addresses are given; the whole subnet without one.
    #[serde(default)]
    pub range: Option<IpNet>,
    /// The containers' way out. On a bridge its own address, unless it is told to have none.
    #[serde(default)]
    pub gateway: Option<IpAddr>,
    /// Names and addresses that no container gets.
    #[serde(default)]
    pub auxiliary: BTreeMap<String, IpAddr>,
    /// Asked for by the user, not chosen.
    #[serde(default)]
    pub given: bool,
}

impl Subnet {
    /// Only the subnet.
    pub fn new(net: IpNet) -> Subnet {
        Subnet { net: net.network(), range: None, gateway: None, auxiliary: BTreeMap::new(), given: false }
    }
}

/// The parts of a network that has a bridge: its options, made out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeRecord {
    /// Name of the interface.
    pub link: String,
    pub mtu: u32,
    pub icc: bool,
    /// IPv4 traffic that leaves gets the host's address.
    pub masquerade: bool,
    /// The same for IPv6.
    #[serde(default)]
    pub masquerade_v6: bool,
    /// Where ports are published that name no address of the host; the daemon's choice without one.
    #[serde(default)]
    pub host_binding: Option<IpAddr>,
    /// The bridge gets no IPv4 address.
    #[serde(default)]
    pub inhibit_ipv4: bool,
    #[serde(default)]
    pub gateway_mode_v4: GatewayMode,
    #[serde(default)]
    pub gateway_mode_v6: GatewayMode,
    /// Interfaces from which containers may be reached at their own addresses.
    #[serde(default)]
    pub trusted: Vec<String>,
    /// Names of interfaces in containers, before the number.
    #[serde(default)]
    pub interface_prefix: String,
}

impl NetworkRecord {
    /// A new network without a bridge.
    pub(crate) fn new(name: &str, driver: Driver) -> Result<NetworkRecord> {
        let created = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Ok(NetworkRecord {
            id: random_id().map_err(Error::random)?,
            name: name.to_owned(),
            driver,
            created: created.as_nanos() as u64,
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
            ipam_options: None,
            ipv4: true,
            ipv6: false,
            internal: false,
            attachable: false,
            config_only: false,
            config_from: String::new(),
            subnets: Vec::new(),
            bridge: None,
            child: None,
            overlay: None,
        })
    }

    /// The first subnet of a family.
    pub fn subnet(&self, ipv6: bool) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.net.is_ipv6() == ipv6)
    }

    /// One of the three that are always there.
    pub fn is_predefined(&self) -> bool {
        matches!(self.name.as_str(), "bridge" | "host" | "none")
    }
}

impl Config {
    pub(crate) fn validate(&self) -> Result<()> {
        let invalid = |field, value: String, reason| Err(Error::InvalidConfig { field, value, reason });
        if !is_link_name(&self.bridge_name) {
            return invalid("bridge name", self.bridge_name.clone(), "1 to 15 letters, digits, '.', '-' or '_'");
        }
        let table = &self.table_name;
        if table.is_empty() || table.len() > 128 || table.contains(odd_in_names) {
            return invalid("nftables table name", table.clone(), "1 to 128 letters, digits, '.', '-' or '_'");
        }
        if let Some(mtu) = self.mtu.filter(|mtu| !(68..=65535).contains(mtu)) {
            return invalid("mtu", mtu.to_string(), "must be 68 to 65535");
        }
        if let Some(bip) = self.bip {
            let host = crate::address::bits(bip.address);
            if bip.is_ipv6() || !(1..=30).contains(&bip.prefix) || host == bip.first() || host == bip.last() {
                return invalid("bip", bip.to_string(), "must be an address of a host in a subnet of at most 30 bits");
            }
        }
        if let Some(bip) = self.bip6
            && !(bip.is_ipv6() && (1..=126).contains(&bip.prefix) && bip.network().address != bip.address)
        {
            return invalid("bip6", bip.to_string(), "must be an address of a host in an IPv6 subnet");
        }
        for (field, value, ipv6) in
            [("fixed-cidr", self.fixed_cidr, false), ("fixed-cidr-v6", self.fixed_cidr_v6, true)]
        {
            if let Some(net) = value.filter(|net| net.is_ipv6() != ipv6) {
                return invalid(field, net.to_string(), "must be a subnet of its family");
            }
        }
        for (field, value, ipv6) in
            [("default-gateway", self.default_gateway, false), ("default-gateway-v6", self.default_gateway_v6, true)]
        {
            if let Some(address) = value.filter(|address| address.is_ipv6() != ipv6) {
                return invalid(field, address.to_string(), "must be an address of its family");
            }
        }
        for pool in &self.pools {
            if pool.size < pool.base.prefix || pool.size > pool.base.width() - 2 {
                return invalid(
                    "address pool",
                    pool.base.to_string(),
                    "the size must lie between its prefix and two bits less than an address",
                );
            }
        }
        Ok(())
    }
}

fn odd_in_names(c: char) -> bool {
    !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// What the kernel takes for the name of an interface, without what would surprise a shell.
pub(crate) fn is_link_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 15 && !name.contains(odd_in_names) && name != "." && name != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused_by_name() {
        let check = |change: fn(&mut Config), expected: Option<&str>| {
            let mut config = Config::default();
            change(&mut config);
            let field = match config.validate() {
                Ok(()) => None,
                Err(Error::InvalidConfig { field, .. }) => Some(field),
                Err(other) => panic!("{other}"),
            };
            assert_eq!(field, expected);
        };
        check(|_| {}, None);
        check(|c| c.bridge_name = "a/b".to_owned(), Some("bridge name"));
        check(|c| c.bridge_name = "sixteen-bytes-xx".to_owned(), Some("bridge name"));
        check(|c| c.table_name = String::new(), Some("nftables table name"));
        check(|c| c.mtu = Some(10), Some("mtu"));
        check(|c| c.bip = Some("10.0.0.0/24".parse().unwrap()), Some("bip"));
        check(|c| c.bip = Some("10.0.0.1/24".parse().unwrap()), None);
        check(|c| c.pools[0].size = 8, Some("address pool"));
    }
}
