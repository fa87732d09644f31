//! Looking at the way of packets as the kernel has it now: links with their other ends, elements of published ports.
//! Read only; nothing of what the daemon remembers is used.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::netlink::message::{attributes, text, u32_at};
use crate::netlink::{Error, Socket};

const GET_LINK: u16 = 18;
/// Bytes of `struct ifinfomsg` and `struct ifaddrmsg`.
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const GET_ADDRESS: u16 = 22;
const GET_ROUTE: u16 = 26;
const ROUTE_HEADER: usize = 12;

/// nfnetlink's subsystem of nftables, and its requests (`<linux/netfilter/nf_tables.h>`).
const NFTABLES: u16 = 10 << 8;
const GET_SET: u16 = NFTABLES | 10;
const GET_SET_ELEMENTS: u16 = NFTABLES | 13;
/// `NFPROTO_INET`.
const INET: u8 = 1;

/// A link, with what it is tied to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkView {
    pub index: u32,
    pub name: String,
    pub kind: String,
    pub mtu: u32,
    pub up: bool,
    /// Index of the bridge that it is in.
    pub master: Option<u32>,
    /// Index of its other end, which may be in another namespace.
    pub peer: Option<u32>,
    /// Most bytes a second that it sends; 0 is no limit.
    pub rate: u64,
}

/// Links of the namespace that the calling thread is in.
pub fn links() -> Result<Vec<LinkView>, Error> {
    let mut socket = Socket::route()?;
    let limits = crate::netlink::shaper::list(&mut socket).unwrap_or_default();
    socket.dump(GET_LINK, &[0; LINK_HEADER], |payload| {
        let index = u32_at(payload, 4)?;
        let rate = limits.iter().find(|(link, _)| *link == index).map_or(0, |(_, rate)| *rate);
        let mut link = LinkView { index, up: u32_at(payload, 8)? & 1 != 0, rate, ..LinkView::default() };
        for (kind, value) in attributes(payload.get(LINK_HEADER..)?) {
            match kind {
                3 => link.name = text(value),
                4 => link.mtu = u32_at(value, 0)?,
                5 => link.peer = u32_at(value, 0).filter(|peer| *peer != index),
                10 => link.master = u32_at(value, 0),
                18 => {
                    link.kind = attributes(value).find(|(kind, _)| *kind == 1).map_or(String::new(), |(_, v)| text(v))
                }
                _ => {}
            }
        }
        Some(link)
    })
}

/// Addresses of the namespace's links: index, address, prefix length.
pub fn addresses() -> Result<Vec<(u32, IpAddr, u8)>, Error> {
    Socket::route()?.dump(GET_ADDRESS, &[0; ADDRESS_HEADER], |payload| {
        let (prefix, link) = (*payload.get(1)?, u32_at(payload, 4)?);
        let mut found = None;
        for (kind, value) in attributes(payload.get(ADDRESS_HEADER..)?) {
            // IFA_LOCAL is the address where it differs from IFA_ADDRESS, the peer's.
            if kind == 2 || kind == 1 && found.is_none() {
                found = address(value);
            }
        }
        Some((link, found?, prefix))
    })
}

/// Routes of the namespace's main table, as text: `default via 172.17.0.1 dev eth0`.
pub fn routes() -> Result<Vec<String>, Error> {
    let links = links()?;
    Socket::route()?.dump(GET_ROUTE, &[0; ROUTE_HEADER], |payload| {
        let (prefix, mut table, kind) = (*payload.get(1)?, u32::from(*payload.get(4)?), *payload.get(7)?);
        let (mut to, mut via, mut out) = (None, None, None);
        for (kind, value) in attributes(payload.get(ROUTE_HEADER..)?) {
            match kind {
                1 => to = address(value),
                4 => out = u32_at(value, 0),
                5 => via = address(value),
                15 => table = u32_at(value, 0)?,
                _ => {}
            }
        }
        // RT_TABLE_MAIN, RTN_UNICAST.
        if table != 254 || kind != 1 {
            return None;
        }
        let mut line = to.map_or("default".to_owned(), |to| format!("{to}/{prefix}"));
        if let Some(via) = via {
            line.push_str(&format!(" via {via}"));
        }
        if let Some(link) = out.and_then(|out| links.iter().find(|link| link.index == out)) {
            line.push_str(&format!(" dev {}", link.name));
        }
        Some(line)
    })
}

fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(Ipv4Addr::from(*value.first_chunk::<4>()?).into()),
        16 => Some(Ipv6Addr::from(*value.first_chunk::<16>()?).into()),
        _ => None,
    }
}

/// A published port, as an element of a map of an nftables table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedElement {
    pub map: String,
    /// `None`: every address of the host.
    pub host_address: Option<IpAddr>,
    /// IANA's number: 6, 17, 132.
    pub protocol: u8,
    pub host_port: u16,
    pub address: IpAddr,
    pub port: u16,
}

/// Elements of the maps of published ports (their names begin with `published`) in the table `inet NAME`. A table that
/// is not there has none.
pub fn published(table: &str) -> Result<Vec<PublishedElement>, Error> {
    let mut socket = Socket::netfilter()?;
    let mut header = vec![INET, 0, 0, 0];
    string(&mut header, 1, table);
    let maps = socket.dump(GET_SET, &header, |payload| {
        let values: Vec<(u16, &[u8])> = attributes(payload.get(4..)?).collect();
        let value = |wanted| values.iter().find(|(kind, _)| *kind == wanted).map(|(_, value)| text(value));
        let same = value(1)? == table;
        value(2).filter(|name| same && name.starts_with("published"))
    })?;
    let mut found = Vec::new();
    for map in maps {
        let mut header = vec![INET, 0, 0, 0];
        string(&mut header, 1, table);
        string(&mut header, 2, &map);
        let lists = socket.dump(GET_SET_ELEMENTS, &header, |payload| {
            let list = attributes(payload.get(4..)?).find(|(kind, _)| *kind == 3)?.1;
            Some(attributes(list).filter_map(|(_, element)| parse_element(&map, element)).collect::<Vec<_>>())
        })?;
        found.extend(lists.into_iter().flatten());
    }
    Ok(found)
}

/// Appends an attribute with a string.
fn string(out: &mut Vec<u8>, kind: u16, value: &str) {
    let length = 4 + value.len() + 1;
    out.extend_from_slice(&(length as u16).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value.as_bytes());
    out.resize(out.len() + 1 + (4 - length % 4) % 4, 0);
}

/// Key: [address,] protocol, port, each padded to four bytes; data: address, port.
fn parse_element(map: &str, element: &[u8]) -> Option<PublishedElement> {
    let value = |wanted: u16| {
        let data = attributes(element).find(|(kind, _)| *kind == wanted)?.1;
        attributes(data).find(|(kind, _)| *kind == 1).map(|(_, value)| value)
    };
    let (key, data) = (value(1)?, value(2)?);
    let port = |bytes: &[u8]| Some(u16::from_be_bytes(*bytes.first_chunk::<2>()?));
    let (host_address, key) = match key.len() {
        8 => (None, key),
        12 => (Some(address(&key[..4])?), &key[4..]),
        24 => (Some(address(&key[..16])?), &key[16..]),
        _ => return None,
    };
    let (to, rest) = match data.len() {
        8 => data.split_at(4),
        20 => data.split_at(16),
        _ => return None,
    };
    Some(PublishedElement {
        map: map.to_owned(),
        host_address,
        protocol: key[0],
        host_port: port(&key[4..])?,
        address: address(to)?,
        port: port(rest)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements() {
        let nested = |kind: u16, inner: &[u8]| {
            let mut out = ((inner.len() + 4) as u16).to_ne_bytes().to_vec();
            out.extend_from_slice(&kind.to_ne_bytes());
            out.extend_from_slice(inner);
            out
        };
        let element = |key: &[u8], data: &[u8]| [nested(1, &nested(1, key)), nested(2, &nested(1, data))].concat();
        let found =
            parse_element("m", &element(&[6, 0, 0, 0, 0x1f, 0x90, 0, 0], &[172, 17, 0, 2, 0, 80, 0, 0])).unwrap();
        assert_eq!((found.host_address, found.protocol, found.host_port), (None, 6, 8080));
        assert_eq!((found.address.to_string().as_str(), found.port), ("172.17.0.2", 80));
        let key = [127, 0, 0, 1, 17, 0, 0, 0, 0, 53, 0, 0];
        let found = parse_element("m", &element(&key, &[172, 17, 0, 2, 0, 53, 0, 0])).unwrap();
        assert_eq!(found.host_address, Some(IpAddr::from([127, 0, 0, 1])));
        for bad in [&element(&[1, 2], &[0; 8])[..], &element(&[0; 8], &[0; 3]), &[], &[4, 0]] {
            assert_eq!(parse_element("m", bad), None);
        }
        let mut out = Vec::new();
        string(&mut out, 1, "abc");
        assert_eq!(out.len(), 8);
        string(&mut out, 1, "abcd");
        assert_eq!(out.len(), 20);
    }
}
