//! Neighbours: which Ethernet address an IP address has; `RTM_*NEIGH` of rtnetlink(7).

use std::net::IpAddr;

use super::address::{family, parse};
use super::message::{attributes, flags, u32_at};
use super::{Error, Request, Socket};
use crate::address::{MacAddress, octets};

const NEW_NEIGHBOUR: u16 = 28;
const DELETE_NEIGHBOUR: u16 = 29;
const GET_NEIGHBOUR: u16 = 30;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
/// `NUD_PERMANENT`: neither aged nor counted against the table's limit.
const PERMANENT: u16 = 0x80;
/// Bytes of `struct ndmsg`.
const HEADER: usize = 12;

/// Notes for good where an address is, in place of what an earlier holder of the address left.
pub fn set(request: &mut Request, link: u32, address: IpAddr, mac: MacAddress) {
    request.message(NEW_NEIGHBOUR, flags::ACK | flags::CREATE | flags::REPLACE, &header(link, address), |a| {
        a.bytes(NDA_DST, &octets(address));
        a.bytes(NDA_LLADDR, &mac.0);
    });
}

/// Forgets where an address is.
pub fn delete(request: &mut Request, link: u32, address: IpAddr) {
    request.message(DELETE_NEIGHBOUR, flags::ACK, &header(link, address), |a| {
        a.bytes(NDA_DST, &octets(address));
    });
}

/// Has a VXLAN send to `peer` what it knows no better way for.
pub fn flood(request: &mut Request, vxlan: u32, peer: IpAddr) {
    // PF_BRIDGE; NUD_NOARP | NUD_PERMANENT; NTF_SELF.
    let mut header = [7, 0, 0, 0, 0, 0, 0, 0, 0xc0, 0, 2, 0];
    header[4..8].copy_from_slice(&vxlan.to_ne_bytes());
    request.message(NEW_NEIGHBOUR, flags::ACK | flags::CREATE | flags::APPEND, &header, |a| {
        a.bytes(NDA_LLADDR, &[0; 6]);
        a.bytes(NDA_DST, &octets(peer));
    });
}

/// The addresses that are noted for good: link, address.
pub fn list_permanent(socket: &mut Socket) -> Result<Vec<(u32, IpAddr)>, Error> {
    socket.dump(GET_NEIGHBOUR, &[0; HEADER], |payload| {
        let (family, link) = (*payload.first()?, u32_at(payload, 4)?);
        let state = u16::from_ne_bytes(*payload.get(8..10)?.first_chunk::<2>()?);
        let mut found = attributes(payload.get(HEADER..)?).filter(|(kind, _)| *kind == NDA_DST);
        let address = parse(family, found.next()?.1)?;
        (state & PERMANENT != 0).then_some((link, address))
    })
}

fn header(link: u32, address: IpAddr) -> [u8; HEADER] {
    let mut header = [family(address), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    header[8..10].copy_from_slice(&PERMANENT.to_ne_bytes());
    header
}
