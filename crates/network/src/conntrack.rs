//! Connection tracking's memory (`<linux/netfilter/nfnetlink_conntrack.h>`), where it is wrong.
//!
//! A flow of UDP datagrams is tied to a container, or to none, by its first one. When the port's container changes, what is
//! remembered has to go, or a client that goes on sending reaches the old address. TCP connections end by themselves.
//!
//! What began while our table was away was never judged, and passes as established when the table is there again: it is
//! forgotten too, so that its next packet is judged as a first one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::address::{IpNet, Protocol};
use crate::endpoint::{BoundPort, EndpointRecord};
use crate::netlink::message::{attributes, flags};
use crate::netlink::{Error, Request, Socket};

const SUBSYSTEM: u16 = 1;
const GET: u16 = SUBSYSTEM << 8 | 1;
const DELETE: u16 = SUBSYSTEM << 8 | 2;
/// `struct nfgenmsg` with `AF_INET` and `AF_INET6`.
const HEADERS: [[u8; 4]; 2] = [[2, 0, 0, 0], [10, 0, 0, 0]];
/// The same for flows of every family: asking looks through the kernel's whole table each time.
const BOTH: [u8; 4] = [0; 4];
const TUPLE_ORIGINAL: u16 = 1;
const STATUS: u16 = 3;
const ID: u16 = 12;
const ZONE: u16 = 18;

/// `IPS_SRC_NAT`, `IPS_DST_NAT`.
const SOURCE_CHANGED: u32 = 0x10;
const DESTINATION_CHANGED: u32 = 0x20;

/// A flow, as its first packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flow {
    protocol: u8,
    source: IpAddr,
    destination: IpAddr,
    /// 0 for protocols without.
    port: u16,
    /// `IPS_*`.
    status: u32,
}

/// What tells flows that our table has not judged.
#[derive(Clone, Debug, Default)]
pub struct Strays {
    pub subnets: Vec<Subnet>,
    /// Ports that are open at containers' own addresses: protocol and port.
    pub open: Vec<(IpAddr, u8, u16)>,
    /// UDP ports of the host that lead to containers. Unspecified: of every address.
    pub translated: Vec<(IpAddr, u16)>,
}

/// A subnet of ours.
#[derive(Clone, Copy, Debug)]
pub struct Subnet {
    pub net: IpNet,
    /// The host's own address in it.
    pub gateway: Option<IpAddr>,
    /// Its containers may talk to each other.
    pub peers: bool,
    /// Whoever routes to it may reach it.
    pub unprotected: bool,
    /// What leaves it gets the host's address.
    pub outbound: bool,
}

impl Strays {
    /// Whether the table, had it been there, would have refused the flow or changed its addresses. Pure.
    fn have(&self, flow: &Flow) -> bool {
        let of = |address: IpAddr| self.subnets.iter().find(|subnet| subnet.net.contains(address));
        let to_host_port = |(address, port): &(IpAddr, u16)| {
            *port == flow.port
                && address.is_ipv6() == flow.destination.is_ipv6()
                && (address.is_unspecified() || *address == flow.destination)
        };
        // Somebody's published port: ours was in the table. A changed source alone says nothing: where two flows would look
        // alike, the kernel gives one of them another port by itself.
        if flow.status & DESTINATION_CHANGED != 0 {
            return false;
        }
        match (of(flow.source), of(flow.destination)) {
            (from, Some(to)) => {
                let neighbours = from.is_some_and(|from| from.net == to.net);
                let own = neighbours && (to.peers || Some(flow.source) == to.gateway);
                let open = self.open.contains(&(flow.destination, flow.protocol, flow.port));
                !own && !to.unprotected && !open
            }
            (Some(from), None) if from.outbound => flow.status & SOURCE_CHANGED == 0,
            _ => flow.protocol == Protocol::Udp.number() && self.translated.iter().any(to_host_port),
        }
    }
}

/// Forgets the flows that slipped through; how many these were.
pub fn cut(strays: &Strays) -> Result<usize, Error> {
    forget_if(BOTH, |flow| strays.have(flow))
}

/// An entry: its key, and what tells it from a later one with the same key.
struct Entry {
    header: [u8; 4],
    tuple: Vec<u8>,
    id: Vec<u8>,
    zone: Option<Vec<u8>>,
}

/// Forgets the flows to an endpoint's published UDP ports. Failing to do so is noted and otherwise harmless.
pub fn forget(record: &EndpointRecord) {
    let ports: Vec<&BoundPort> = record.ports.iter().filter(|port| port.protocol == Protocol::Udp).collect();
    if ports.is_empty() {
        return;
    }
    for (header, ipv6) in HEADERS.into_iter().zip([false, true]) {
        let of_family: Vec<&BoundPort> =
            ports.iter().copied().filter(|port| port.host_address.is_ipv6() == ipv6).collect();
        if !of_family.is_empty()
            && let Err(error) = try_forget(header, &of_family)
        {
            tracing::warn!(%error, endpoint = record.id, "cannot forget the flows to published UDP ports");
        }
    }
}

fn try_forget(header: [u8; 4], ports: &[&BoundPort]) -> Result<(), Error> {
    let concerned = |flow: &Flow, bound: &BoundPort| {
        flow.protocol == Protocol::Udp.number()
            && flow.port == bound.host_port
            && (bound.host_address.is_unspecified() || bound.host_address == flow.destination)
    };
    forget_if(header, |flow| ports.iter().any(|bound| concerned(flow, bound))).map(drop)
}

/// Forgets those flows of what the header names; how many there were.
fn forget_if(header: [u8; 4], concerned: impl Fn(&Flow) -> bool) -> Result<usize, Error> {
    let mut socket = Socket::netfilter()?;
    let entries = socket.dump(GET, &header, |payload| {
        let attribute = |wanted| attributes(payload.get(4..)?).find(|(kind, _)| *kind == wanted).map(|(_, v)| v);
        let tuple = attribute(TUPLE_ORIGINAL)?;
        let status =
            attribute(STATUS).and_then(|status| status.first_chunk()).map(|status| u32::from_be_bytes(*status));
        if !concerned(&flow(tuple, status.unwrap_or_default())?) {
            return None;
        }
        let (id, zone) = (attribute(ID)?.to_vec(), attribute(ZONE).map(<[u8]>::to_vec));
        Some(Entry { header: [*payload.first()?, 0, 0, 0], tuple: tuple.to_vec(), id, zone })
    })?;
    let count = entries.len();
    for entry in entries {
        let mut request = Request::new();
        request.message(DELETE, flags::ACK, &entry.header, |a| {
            a.nested_with_header(TUPLE_ORIGINAL, &entry.tuple, |_| {});
            a.bytes(ID, &entry.id);
            if let Some(zone) = &entry.zone {
                a.bytes(ZONE, zone);
            }
        });
        match socket.transact(request) {
            Err(error) if error.errno != rustix::io::Errno::NOENT => return Err(error),
            _ => {}
        }
    }
    Ok(count)
}

/// Of a tuple (`CTA_TUPLE_*`) in an entry.
fn flow(tuple: &[u8], status: u32) -> Option<Flow> {
    let find = |bytes, wanted| attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let (ip, transport) = (find(tuple, 1)?, find(tuple, 2)?);
    let address = |ipv4, ipv6| -> Option<IpAddr> {
        Some(match find(ip, ipv4) {
            Some(ipv4) => Ipv4Addr::from(*ipv4.first_chunk::<4>()?).into(),
            None => Ipv6Addr::from(*find(ip, ipv6)?.first_chunk::<16>()?).into(),
        })
    };
    let port = find(transport, 3).and_then(|port| port.first_chunk::<2>()).map(|port| u16::from_be_bytes(*port));
    Some(Flow {
        protocol: *find(transport, 1)?.first()?,
        source: address(1, 3)?,
        destination: address(2, 4)?,
        port: port.unwrap_or_default(),
        status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_slipped_through() {
        let subnet = |net: &str, gateway: &str| Subnet {
            net: net.parse().unwrap(),
            gateway: gateway.parse().ok(),
            peers: true,
            unprotected: false,
            outbound: true,
        };
        let strays = Strays {
            subnets: vec![
                subnet("10.1.0.0/24", "10.1.0.1"),
                Subnet { peers: false, ..subnet("10.2.0.0/24", "10.2.0.1") },
                Subnet { unprotected: true, outbound: false, ..subnet("10.3.0.0/24", "10.3.0.1") },
                subnet("fd00::/64", "fd00::1"),
            ],
            open: vec![("10.1.0.9".parse().unwrap(), 6, 80)],
            translated: vec![("0.0.0.0".parse().unwrap(), 53), ("192.0.2.1".parse().unwrap(), 54)],
        };
        for (source, destination, protocol, port, status, expected) in [
            // From outside to a container's own address.
            ("192.0.2.2", "10.1.0.2", 6, 80, 0, true),
            ("192.0.2.2", "10.1.0.2", 6, 80, SOURCE_CHANGED, true),
            ("fd01::2", "fd00::2", 6, 80, 0, true),
            ("192.0.2.2", "10.1.0.9", 6, 80, 0, false),
            ("192.0.2.2", "10.1.0.9", 17, 80, 0, true),
            ("192.0.2.2", "10.3.0.2", 6, 80, 0, false),
            // From network to network, and within one.
            ("10.3.0.2", "10.1.0.2", 1, 0, 0, true),
            ("10.1.0.3", "10.1.0.2", 6, 80, 0, false),
            ("10.2.0.3", "10.2.0.2", 6, 80, 0, true),
            ("10.2.0.1", "10.2.0.2", 6, 80, 0, false),
            // Out, with the container's own address.
            ("10.1.0.2", "192.0.2.2", 17, 53, 0, true),
            ("10.1.0.2", "192.0.2.2", 17, 53, SOURCE_CHANGED, false),
            ("10.3.0.2", "192.0.2.2", 17, 99, 0, false),
            // To a published port of the host.
            ("192.0.2.2", "192.0.2.1", 17, 53, 0, true),
            ("192.0.2.2", "192.0.2.1", 17, 54, 0, true),
            ("192.0.2.2", "192.0.2.9", 17, 54, 0, false),
            ("fd01::2", "fd01::1", 17, 53, 0, false),
            ("192.0.2.2", "192.0.2.1", 17, 53, DESTINATION_CHANGED, false),
            ("192.0.2.2", "192.0.2.1", 6, 53, 0, false),
            ("192.0.2.2", "192.0.2.9", 6, 22, 0, false),
        ] {
            let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
            let flow = Flow { protocol, source, destination, port, status };
            assert_eq!(strays.have(&flow), expected, "{flow:?}");
        }
    }
}
