//! Overlay networks: bridges of several hosts that VXLAN (RFC 7348) makes one, between peers that are named. Options.
//!
//! ```text
//!  container ── bridge ── vx-…  ═══ UDP 4789 ═══  vx-… ── bridge ── container
//!               gateway:4787 (names)                      gateway:4787
//! ```
//!
//! Nobody shares a state: who makes the network gives every host the same subnet and a range of its own, and says where the
//! others are. What is not known here is sent to all of them; their answers are learnt.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Addresses of the other hosts, separated by commas.
pub const PEERS: &str = "peers";
/// Number of the network on the wire; without it it follows from the network's name.
pub const VNI: &str = "vni";
/// UDP port.
pub const PORT: &str = "port";
/// This host's address towards the peers; the routing table's choice without it.
pub const LOCAL: &str = "local";
/// Gateways of the network on the other hosts, which know the names of their containers.
pub const RESOLVERS: &str = "resolvers";

/// Port at the network's gateway address where the peers ask for names.
pub const RESOLVER_PORT: u16 = 4787;
/// Most peers: every frame of an unknown destination goes to each.
const MOST: usize = 64;
/// Bytes of Ethernet, VXLAN, UDP and IP around a packet.
const AROUND: u32 = 14 + 8 + 8 + 20;
const AROUND_IPV6: u32 = AROUND + 20;

/// What is special about such a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayRecord {
    /// Name of the interface that leads to the peers.
    pub link: String,
    pub vni: u32,
    pub port: u16,
    pub peers: Vec<IpAddr>,
    #[serde(default)]
    pub local: Option<IpAddr>,
    #[serde(default)]
    pub resolvers: Vec<IpAddr>,
}

impl OverlayRecord {
    /// What is left of the uplink's MTU.
    pub fn mtu(&self, uplink: u32) -> u32 {
        let around = if self.peers.iter().any(IpAddr::is_ipv6) { AROUND_IPV6 } else { AROUND };
        uplink.saturating_sub(around).max(1280)
    }
}

/// The overlay that the options ask for, and the options that are left for the bridge.
pub fn options(
    name: &str,
    link: String,
    options: &BTreeMap<String, String>,
) -> Result<(OverlayRecord, BTreeMap<String, String>)> {
    let invalid = |option: &str, value: &str, reason| Error::InvalidOption {
        option: option.to_owned(),
        value: value.to_owned(),
        reason,
    };
    let addresses = |option: &str, text: &str| {
        let all = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let all: Result<Vec<IpAddr>> =
            all.map(|part| part.parse().map_err(|_| invalid(option, part, "it is not an address"))).collect();
        all.and_then(|all| match all.len() > MOST {
            true => Err(invalid(option, text, "there can be 64 of them")),
            false => Ok(all),
        })
    };
    let mut record = OverlayRecord { link, vni: of_name(name), port: 4789, ..OverlayRecord::default() };
    let mut left = BTreeMap::new();
    for (option, value) in options {
        match option.as_str() {
            PEERS => record.peers = addresses(option, value)?,
            RESOLVERS => record.resolvers = addresses(option, value)?,
            LOCAL => {
                record.local = Some(value.trim().parse().map_err(|_| invalid(option, value, "it is not an address"))?)
            }
            VNI | "com.docker.network.driver.overlay.vxlanid_list" => match value.trim().parse() {
                Ok(vni @ 1..=0xff_ffff) => record.vni = vni,
                _ => return Err(invalid(option, value, "it must be 1 to 16777215")),
            },
            PORT => match value.trim().parse() {
                Ok(port @ 1..) => record.port = port,
                _ => return Err(invalid(option, value, "it must be 1 to 65535")),
            },
            _ => drop(left.insert(option.clone(), value.clone())),
        }
    }
    if record.peers.is_empty() {
        return Err(invalid(PEERS, "", "an overlay network is told where its other hosts are: -o peers=ADDRESS,…"));
    }
    let family = record.peers[0].is_ipv6();
    if record.peers.iter().chain(&record.local).any(|address| address.is_ipv6() != family) {
        return Err(invalid(PEERS, &options[PEERS], "all hosts are reached by IPv4, or all by IPv6"));
    }
    Ok((record, left))
}

/// The same number on every host (FNV-1a, folded to 24 bits).
fn of_name(name: &str) -> u32 {
    let hash = name.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    ((hash >> 24) ^ (hash & 0xff_ffff)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_an_overlay() {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let (made, left) = options(
            "net",
            "vx-1".to_owned(),
            &map(&[(PEERS, "192.0.2.2, 192.0.2.3"), (VNI, "42"), (RESOLVERS, "10.88.2.1"), ("mtu", "1400")]),
        )
        .unwrap();
        assert_eq!((made.vni, made.port, made.peers.len(), made.resolvers.len()), (42, 4789, 2, 1));
        assert_eq!((left.len(), made.mtu(1500)), (1, 1450));
        let of = |name: &str| options(name, String::new(), &map(&[(PEERS, "fd00::2")])).unwrap().0;
        assert_eq!(of("a").vni, of("a").vni);
        assert_ne!(of("a").vni, of("b").vni);
        assert_eq!(of("a").mtu(1500), 1430);
        for bad in [
            vec![],
            vec![(PEERS, "")],
            vec![(PEERS, "x")],
            vec![(PEERS, "192.0.2.2,fd00::2")],
            vec![(PEERS, "192.0.2.2"), (VNI, "0")],
            vec![(PEERS, "192.0.2.2"), (VNI, "16777216")],
            vec![(PEERS, "192.0.2.2"), (PORT, "0")],
            vec![(PEERS, "192.0.2.2"), (LOCAL, "fd00::1")],
        ] {
            assert!(options("n", String::new(), &map(&bad)).is_err(), "{bad:?}");
        }
    }
}
