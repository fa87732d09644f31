//! Routes: `RTM_*ROUTE` of rtnetlink(7).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::{INET, INET6, family, parse};
use super::message::{attributes, flags, u32_at};
use super::{Error, Request, Socket};
use crate::address::{IpNet, octets};

const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const TABLE_MAIN: u8 = 254;
const PROTOCOL_BOOT: u8 = 3;
const TYPE_UNICAST: u8 = 1;
/// Bytes of `struct rtmsg`.
const HEADER: usize = 12;
/// `RTM_F_CLONED`: an entry of the cache, not a route.
const CLONED: u32 = 0x200;

/// A route of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub destination: IpNet,
    /// Index of the link through which it leads; 0 when it names none (several ways, or a refusal).
    pub link: u32,
    /// The lower the better.
    pub metric: u32,
    /// In the main table.
    pub main: bool,
}

impl Route {
    pub fn is_default(&self) -> bool {
        self.destination.prefix == 0
    }
}

/// All unicast routes of the namespace, of all tables.
pub fn list(socket: &mut Socket) -> Result<Vec<Route>, Error> {
    let mut all = list_family(socket, INET)?;
    all.extend(list_family(socket, INET6)?);
    Ok(all)
}

fn list_family(socket: &mut Socket, family: u8) -> Result<Vec<Route>, Error> {
    let mut header = [0; HEADER];
    header[0] = family;
    socket.dump(GET_ROUTE, &header, |payload| {
        if *payload.first()? != family || u32_at(payload, 8)? & CLONED != 0 {
            return None;
        }
        // Of IPv6 also what leads nowhere: multicast and the prefixes of all links.
        if family == INET6 && *payload.get(7)? != TYPE_UNICAST {
            return None;
        }
        let mut destination = match family {
            INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let (mut link, mut metric) = (0, 0);
        for (kind, value) in attributes(payload.get(HEADER..)?) {
            match kind {
                RTA_DST => destination = parse(family, value)?,
                RTA_OIF => link = u32_at(value, 0)?,
                RTA_PRIORITY => metric = u32_at(value, 0)?,
                _ => {}
            }
        }
        let main = payload[4] == TABLE_MAIN;
        Some(Route { destination: IpNet::new(destination, payload[1]), link, metric, main })
    })
}

/// Makes the default route lead through a gateway, wherever it led before.
pub fn set_default(request: &mut Request, gateway: IpAddr, link: u32) {
    let header = [family(gateway), 0, 0, 0, TABLE_MAIN, PROTOCOL_BOOT, 0, TYPE_UNICAST, 0, 0, 0, 0];
    request.message(NEW_ROUTE, flags::ACK | flags::CREATE | flags::REPLACE, &header, |a| {
        a.bytes(RTA_GATEWAY, &octets(gateway));
        a.u32(RTA_OIF, link);
    });
}

/// Makes the default route of a family lead through a link that needs no gateway.
pub fn set_default_link(request: &mut Request, ipv6: bool, link: u32) {
    let family = if ipv6 { INET6 } else { INET };
    // RT_SCOPE_LINK
    let header = [family, 0, 0, 0, TABLE_MAIN, PROTOCOL_BOOT, 253, TYPE_UNICAST, 0, 0, 0, 0];
    request.message(NEW_ROUTE, flags::ACK | flags::CREATE | flags::REPLACE, &header, |a| a.u32(RTA_OIF, link));
}
