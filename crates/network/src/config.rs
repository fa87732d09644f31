//! What the daemon is told, and what it remembers about its networks.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::address::{Ipv4Net, random_id};
use crate::error::{Error, Result};

/// How [`crate::Networks`] is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the default bridge's interface; at most 15 bytes.
    pub bridge_name: String,
    /// Name of this daemon's nftables table.
    pub table_name: String,
    /// `--bip`: the bridge's address and subnet, instead of a free one of the pools.
    pub bip: Option<Ipv4Net>,
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
    pub host_address: Ipv4Addr,
    /// How many prepared network namespaces to keep.
    pub sandboxes: usize,
    /// What [`crate::Networks::records`] returned at an earlier time.
    pub records: Vec<NetworkRecord>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            bridge_name: "hoist0".to_owned(),
            table_name: "hoist".to_owned(),
            bip: None,
            pools: default_pools(),
            mtu: None,
            icc: true,
            masquerade: true,
            ip_forward: true,
            host_address: Ipv4Addr::UNSPECIFIED,
            sandboxes: 4,
            records: Vec::new(),
        }
    }
}

/// A range of addresses from which subnets of one size are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    pub base: Ipv4Net,
    /// Prefix length of the subnets.
    pub size: u8,
}

/// Docker's local pools.
pub fn default_pools() -> Vec<Pool> {
    const POOLS: [([u8; 4], u8, u8); 7] = [
        ([172, 17, 0, 0], 16, 16),
        ([172, 18, 0, 0], 16, 16),
        ([172, 19, 0, 0], 16, 16),
        ([172, 20, 0, 0], 14, 16),
        ([172, 24, 0, 0], 14, 16),
        ([172, 28, 0, 0], 14, 16),
        ([192, 168, 0, 0], 16, 20),
    ];
    let pool = |(base, prefix, size): ([u8; 4], u8, u8)| Pool { base: Ipv4Net::new(base.into(), prefix), size };
    POOLS.into_iter().map(pool).collect()
}

/// What connects the containers of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    Bridge,
    Host,
    Null,
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
    /// For [`Driver::Bridge`].
    pub bridge: Option<BridgeRecord>,
}

/// The parts of a network that has a bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeRecord {
    /// Name of the interface.
    pub link: String,
    /// The subnet, host bits cleared.
    pub subnet: Ipv4Net,
    /// The bridge's own address.
    pub gateway: Ipv4Addr,
    pub mtu: u32,
    pub icc: bool,
    pub masquerade: bool,
}

impl NetworkRecord {
    /// A new network without a bridge.
    pub(crate) fn new(name: &str, driver: Driver) -> Result<NetworkRecord> {
        let id = random_id().map_err(Error::random)?;
        let created = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Ok(NetworkRecord { id, name: name.to_owned(), driver, created: created.as_nanos() as u64, bridge: None })
    }
}

impl Config {
    pub(crate) fn validate(&self) -> Result<()> {
        let invalid = |field, value: String, reason| Err(Error::InvalidConfig { field, value, reason });
        let name = &self.bridge_name;
        let odd = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if name.is_empty() || name.len() > 15 || name.contains(odd) || name == "." || name == ".." {
            return invalid("bridge name", name.clone(), "1 to 15 letters, digits, '.', '-' or '_'");
        }
        let table = &self.table_name;
        if table.is_empty() || table.len() > 128 || table.contains(odd) {
            return invalid("nftables table name", table.clone(), "1 to 128 letters, digits, '.', '-' or '_'");
        }
        if let Some(mtu) = self.mtu.filter(|mtu| !(68..=65535).contains(mtu)) {
            return invalid("mtu", mtu.to_string(), "must be 68 to 65535");
        }
        if let Some(bip) = self.bip {
            let host = bip.address.to_bits();
            if !(1..=30).contains(&bip.prefix) || host == bip.first() || host == bip.last() {
                return invalid("bip", bip.to_string(), "must be an address of a host in a subnet of at most 30 bits");
            }
        }
        for pool in &self.pools {
            if pool.size < pool.base.prefix || pool.size > 30 {
                return invalid("address pool", pool.base.to_string(), "the size must lie between its prefix and 30");
            }
        }
        Ok(())
    }
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
