//! Connection tracking's memory of UDP (`<linux/netfilter/nfnetlink_conntrack.h>`).
//!
//! A flow of UDP datagrams is tied to a container, or to none, by its first one. When the port's container changes, what is
//! remembered has to go, or a client that goes on sending reaches the old address. TCP connections end by themselves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::address::Protocol;
use crate::endpoint::{BoundPort, EndpointRecord};
use crate::netlink::message::{attributes, flags};
use crate::netlink::{Error, Request, Socket};

const SUBSYSTEM: u16 = 1;
const GET: u16 = SUBSYSTEM << 8 | 1;
const DELETE: u16 = SUBSYSTEM << 8 | 2;
/// `struct nfgenmsg` with `AF_INET` and `AF_INET6`.
const HEADERS: [[u8; 4]; 2] = [[2, 0, 0, 0], [10, 0, 0, 0]];
const TUPLE_ORIGINAL: u16 = 1;
const ID: u16 = 12;
const ZONE: u16 = 18;

/// An entry: its key, and what tells it from a later one with the same key.
struct Entry {
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
    let mut socket = Socket::netfilter()?;
    let entries = socket.dump(GET, &header, |payload| {
        let attribute = |wanted| attributes(payload.get(4..)?).find(|(kind, _)| *kind == wanted).map(|(_, v)| v);
        let tuple = attribute(TUPLE_ORIGINAL)?;
        let (protocol, address, port) = destination(tuple)?;
        let concerned = |bound: &&&BoundPort| {
            protocol == Protocol::Udp.number()
                && port == bound.host_port
                && (bound.host_address.is_unspecified() || bound.host_address == address)
        };
        ports.iter().find(concerned)?;
        let (id, zone) = (attribute(ID)?.to_vec(), attribute(ZONE).map(<[u8]>::to_vec));
        Some(Entry { tuple: tuple.to_vec(), id, zone })
    })?;
    for entry in entries {
        let mut request = Request::new();
        request.message(DELETE, flags::ACK, &header, |a| {
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
    Ok(())
}

/// Protocol, address and port to which the first datagram went.
fn destination(tuple: &[u8]) -> Option<(u8, IpAddr, u16)> {
    let find = |bytes, wanted| attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let (ip, transport) = (find(tuple, 1)?, find(tuple, 2)?);
    let address: IpAddr = match find(ip, 2) {
        Some(ipv4) => Ipv4Addr::from(*ipv4.first_chunk::<4>()?).into(),
        None => Ipv6Addr::from(*find(ip, 4)?.first_chunk::<16>()?).into(),
    };
    let port = u16::from_be_bytes(*find(transport, 3)?.first_chunk::<2>()?);
    Some((*find(transport, 1)?.first()?, address, port))
}
