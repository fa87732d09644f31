//! Neighbours: which Ethernet address an IP address has; `RTM_NEWNEIGH` of rtnetlink(7).

use std::net::Ipv4Addr;

use super::Request;
use super::address::INET;
use super::message::flags;
use crate::address::MacAddress;

const NEW_NEIGHBOUR: u16 = 28;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
/// `NUD_REACHABLE`: as if it had just answered. Ages like any other.
const REACHABLE: u16 = 2;

/// Notes where an address is, in place of what an earlier holder of the address left.
pub fn set(request: &mut Request, link: u32, address: Ipv4Addr, mac: MacAddress) {
    let mut header = [INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    header[8..10].copy_from_slice(&REACHABLE.to_ne_bytes());
    request.message(NEW_NEIGHBOUR, flags::ACK | flags::CREATE | flags::REPLACE, &header, |a| {
        a.bytes(NDA_DST, &address.octets());
        a.bytes(NDA_LLADDR, &mac.0);
    });
}
