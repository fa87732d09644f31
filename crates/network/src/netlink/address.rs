//! Addresses of links: `RTM_*ADDR` of rtnetlink(7). IPv4.

use std::net::Ipv4Addr;

use super::message::{attributes, flags, u32_at};
use super::{Error, Request, Socket};
use crate::address::Ipv4Net;

const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
/// `AF_INET`.
pub(super) const INET: u8 = 2;
/// Bytes of `struct ifaddrmsg`.
const HEADER: usize = 8;

/// An address on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assigned {
    pub link: u32,
    pub net: Ipv4Net,
}

/// All IPv4 addresses of the namespace.
pub fn list(socket: &mut Socket) -> Result<Vec<Assigned>, Error> {
    socket.dump(GET_ADDRESS, &header(0, 0), |payload| {
        let (family, prefix, link) = (*payload.first()?, *payload.get(1)?, u32_at(payload, 4)?);
        let (mut local, mut peer) = (None, None);
        for (kind, value) in attributes(payload.get(HEADER..)?) {
            match kind {
                IFA_LOCAL => local = value.first_chunk::<4>().copied(),
                IFA_ADDRESS => peer = value.first_chunk::<4>().copied(),
                _ => {}
            }
        }
        let address = local.or(peer).filter(|_| family == INET)?;
        Some(Assigned { link, net: Ipv4Net::new(Ipv4Addr::from(address), prefix) })
    })
}

/// Gives a link an address.
pub fn add(request: &mut Request, assigned: Assigned) {
    let Assigned { link, net } = assigned;
    request.message(NEW_ADDRESS, flags::ACK | flags::CREATE | flags::EXCL, &header(net.prefix, link), |a| {
        a.bytes(IFA_LOCAL, &net.address.octets());
        a.bytes(IFA_ADDRESS, &net.address.octets());
        if net.prefix < 31 {
            a.bytes(IFA_BROADCAST, &net.broadcast().octets());
        }
    });
}

/// Takes an address away from a link.
pub fn delete(request: &mut Request, assigned: Assigned) {
    request.message(DELETE_ADDRESS, flags::ACK, &header(assigned.net.prefix, assigned.link), |a| {
        a.bytes(IFA_LOCAL, &assigned.net.address.octets());
    });
}

fn header(prefix: u8, link: u32) -> [u8; HEADER] {
    let mut header = [INET, prefix, 0, 0, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    header
}
