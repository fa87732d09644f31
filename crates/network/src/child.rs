//! Networks whose containers' interfaces are children of one of the host's: macvlan and ipvlan. Options, kernel's numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::{Driver, is_link_name};
use crate::error::{Error, Result};

/// Name of the host's interface.
pub const PARENT: &str = "parent";
pub const MACVLAN_MODE: &str = "macvlan_mode";
pub const IPVLAN_MODE: &str = "ipvlan_mode";
pub const IPVLAN_FLAG: &str = "ipvlan_flag";

/// The parts of such a network: its options, made out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildRecord {
    pub parent: String,
    /// The parent was made for this network, and goes with it: the interface of a VLAN, or a dummy.
    #[serde(default)]
    pub made: bool,
    /// `IFLA_MACVLAN_MODE` or `IFLA_IPVLAN_MODE`.
    pub mode: u32,
    /// `IFLA_IPVLAN_FLAGS`.
    #[serde(default)]
    pub flag: u16,
    #[serde(default)]
    pub mtu: Option<u32>,
    #[serde(default)]
    pub interface_prefix: String,
}

impl ChildRecord {
    /// Packets are routed by the host's tables, there is no Ethernet: containers have no gateway.
    pub fn is_routed(&self, driver: Driver) -> bool {
        driver == Driver::Ipvlan && self.mode > 0
    }
}

/// What the options come to. Without a parent it is `own`, a dummy that is made.
pub fn options(driver: Driver, options: &BTreeMap<String, String>, own: &str) -> Result<ChildRecord> {
    let invalid = |option: &str, value: &str, reason| Error::InvalidOption {
        option: option.to_owned(),
        value: value.to_owned(),
        reason,
    };
    let macvlan = driver == Driver::Macvlan;
    let mut record =
        ChildRecord { parent: own.to_owned(), made: true, mode: if macvlan { 4 } else { 0 }, ..ChildRecord::default() };
    for (name, value) in options {
        let value = value.trim();
        match name.as_str() {
            PARENT if is_link_name(value) && value != "lo" => {
                (record.parent, record.made) = (value.to_owned(), false);
            }
            PARENT => return Err(invalid(name, value, "it is not the name of an interface that can have children")),
            MACVLAN_MODE if macvlan => {
                record.mode = match value {
                    "" | "bridge" => 4,
                    "private" => 1,
                    "vepa" => 2,
                    "passthru" => 8,
                    _ => return Err(invalid(name, value, "it is bridge, private, vepa or passthru")),
                }
            }
            IPVLAN_MODE if !macvlan => {
                record.mode = match value {
                    "" | "l2" => 0,
                    "l3" => 1,
                    "l3s" => 2,
                    _ => return Err(invalid(name, value, "it is l2, l3 or l3s")),
                }
            }
            IPVLAN_FLAG if !macvlan => {
                record.flag = match value {
                    "" | "bridge" => 0,
                    "private" => 1,
                    "vepa" => 2,
                    _ => return Err(invalid(name, value, "it is bridge, private or vepa")),
                }
            }
            crate::options::MTU | "mtu" => match value.parse() {
                Ok(mtu @ 68..=65535) => record.mtu = Some(mtu),
                _ => return Err(invalid(name, value, "it must be 68 to 65535")),
            },
            crate::options::INTERFACE_PREFIX if is_link_name(value) && value.len() <= 12 => {
                value.clone_into(&mut record.interface_prefix);
            }
            crate::options::ENABLE_IPV4 | crate::options::ENABLE_IPV6 => {}
            _ => return Err(Error::UnknownOption { option: name.clone(), driver: driver.as_str() }),
        }
    }
    Ok(record)
}

/// `eth0.50`: a parent that can be made, and its VLAN.
pub fn vlan(parent: &str) -> Option<(&str, u16)> {
    let (of, id) = parent.rsplit_once('.')?;
    id.parse().ok().filter(|id| (1..4095).contains(id)).map(|id| (of, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_children() {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let made = options(Driver::Macvlan, &map(&[(PARENT, "eth0.50"), (MACVLAN_MODE, "private")]), "dm-x").unwrap();
        assert_eq!((made.parent.as_str(), made.made, made.mode), ("eth0.50", false, 1));
        let made = options(Driver::Ipvlan, &map(&[(IPVLAN_MODE, "l3"), (IPVLAN_FLAG, "vepa")]), "di-x").unwrap();
        assert_eq!((made.parent.as_str(), made.made, made.mode, made.flag), ("di-x", true, 1, 2));
        assert!(made.is_routed(Driver::Ipvlan) && !made.is_routed(Driver::Macvlan));
        for (driver, name, value) in [
            (Driver::Macvlan, IPVLAN_MODE, "l2"),
            (Driver::Ipvlan, MACVLAN_MODE, "bridge"),
            (Driver::Ipvlan, IPVLAN_MODE, "l4"),
            (Driver::Macvlan, PARENT, "a/b"),
            (Driver::Macvlan, PARENT, "lo"),
            (Driver::Macvlan, "foo", "bar"),
            (Driver::Macvlan, "mtu", "1"),
        ] {
            assert!(options(driver, &map(&[(name, value)]), "x").is_err(), "{name}={value}");
        }
        assert_eq!(vlan("eth0.50"), Some(("eth0", 50)));
        for none in ["eth0", "eth0.0", "eth0.4095", "eth0.x", ""] {
            assert_eq!(vlan(none), None, "{none}");
        }
    }
}
