//! Addresses of links: `RTM_*ADDR` of rtnetlink(7).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::message::{attributes, flags, u32_at};
use super::{Error, Request, Socket};
use crate::address::{IpNet, octets};

const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
/// `IFA_F_NODAD`: the address is ours, nobody has to be asked.
const NO_DUPLICATE_DETECTION: u8 = 0x02;
/// `RT_SCOPE_LINK`.
const SCOPE_LINK: u8 = 253;
/// `AF_INET`, `AF_INET6`.
pub(super) const INET: u8 = 2;
pub(super) const INET6: u8 = 10;
/// Bytes of `struct ifaddrmsg`.
const HEADER: usize = 8;

/// Number of the address family.
pub(super) fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { INET } else { INET6 }
}

/// An address from its bytes; `None` when their number is not the family's.
pub(super) fn parse(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        INET => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        INET6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

/// An address on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assigned {
    pub link: u32,
    pub net: IpNet,
}

/// All addresses of the namespace.
pub fn list(socket: &mut Socket) -> Result<Vec<Assigned>, Error> {
    socket.dump(GET_ADDRESS, &[0; HEADER], |payload| {
        let (family, prefix, link) = (*payload.first()?, *payload.get(1)?, u32_at(payload, 4)?);
        let (mut local, mut peer) = (None, None);
        for (kind, value) in attributes(payload.get(HEADER..)?) {
            match kind {
                IFA_LOCAL => local = parse(family, value),
                IFA_ADDRESS => peer = parse(family, value),
                _ => {}
            }
        }
        Some(Assigned { link, net: IpNet::new(local.or(peer)?, prefix) })
    })
}

/// Gives a link an address.
pub fn add(request: &mut Request, assigned: Assigned) {
    let address = octets(assigned.net.address);
    request.message(NEW_ADDRESS, flags::ACK | flags::CREATE | flags::EXCL, &header(assigned), |a| {
        a.bytes(IFA_LOCAL, &address);
        a.bytes(IFA_ADDRESS, &address);
        if !assigned.net.is_ipv6() && assigned.net.prefix < 31 {
            a.bytes(IFA_BROADCAST, &octets(assigned.net.broadcast()));
        }
    });
}

/// Takes an address away from a link.
pub fn delete(request: &mut Request, assigned: Assigned) {
    request.message(DELETE_ADDRESS, flags::ACK, &header(assigned), |a| {
        a.bytes(IFA_LOCAL, &octets(assigned.net.address));
    });
}

fn header(assigned: Assigned) -> [u8; HEADER] {
    let Assigned { link, net } = assigned;
    let options = if net.is_ipv6() { NO_DUPLICATE_DETECTION } else { 0 };
    let link_local = match net.address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let scope = if link_local { SCOPE_LINK } else { 0 };
    let mut header = [family(net.address), net.prefix, options, scope, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    header
}
