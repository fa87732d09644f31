//! Routes: `RTM_*ROUTE` of rtnetlink(7). IPv4.

use std::net::Ipv4Addr;

use super::address::INET;
use super::message::{attributes, flags, u32_at};
use super::{Error, Request, Socket};
use crate::address::Ipv4Net;

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
    pub destination: Ipv4Net,
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

/// All IPv4 routes of the namespace, of all tables.
pub fn list(socket: &mut Socket) -> Result<Vec<Route>, Error> {
    let mut header = [0; HEADER];
    header[0] = INET;
    socket.dump(GET_ROUTE, &header, |payload| {
        if *payload.first()? != INET || u32_at(payload, 8)? & CLONED != 0 {
            return None;
        }
        let mut destination = Ipv4Addr::UNSPECIFIED;
        let (mut link, mut metric) = (0, 0);
        for (kind, value) in attributes(payload.get(HEADER..)?) {
            match kind {
                RTA_DST => destination = Ipv4Addr::from(*value.first_chunk::<4>()?),
                RTA_OIF => link = u32_at(value, 0)?,
                RTA_PRIORITY => metric = u32_at(value, 0)?,
                _ => {}
            }
        }
        let main = payload[4] == TABLE_MAIN;
        Some(Route { destination: Ipv4Net::new(destination, payload[1]), link, metric, main })
    })
}

/// Adds the default route through a gateway.
pub fn add_default(request: &mut Request, gateway: Ipv4Addr, link: u32) {
    let header = [INET, 0, 0, 0, TABLE_MAIN, PROTOCOL_BOOT, 0, TYPE_UNICAST, 0, 0, 0, 0];
    request.message(NEW_ROUTE, flags::ACK | flags::CREATE | flags::EXCL, &header, |a| {
        a.bytes(RTA_GATEWAY, &gateway.octets());
        a.u32(RTA_OIF, link);
    });
}
