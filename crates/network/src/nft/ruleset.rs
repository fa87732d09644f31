//! What stands in the table: sets, chains, rules, elements. Pure; `tests/nftables.rs` has it as nft(8) prints it.

use std::net::Ipv4Addr;

use super::batch::{Batch, Element, Field, Hook, Set};
use super::expression::{Base, Connection, Expression, Meta, R};
use super::{Bridge, Publication};
use crate::address::Ipv4Net;

/// Names of our bridges.
const BRIDGES: &str = "bridges";
/// From which bridge to which containers may talk.
const PEERS: &str = "peers";
/// The addresses of containers.
const SUBNETS: &str = "subnets";
/// Those that leave with the host's address.
const OUTBOUND: &str = "outbound";
const PUBLISHED_ADDRESS: &str = "published_address";
const PUBLISHED_ANY: &str = "published_any";

/// Kinds of sets: (name, key, data, interval).
const SETS: &[Set<'_>] = &[
    Set { name: BRIDGES, key: &[Field::LinkName], data: &[], interval: false },
    Set { name: PEERS, key: &[Field::LinkName, Field::LinkName], data: &[], interval: false },
    Set { name: SUBNETS, key: &[Field::Ipv4Address], data: &[], interval: true },
    Set { name: OUTBOUND, key: &[Field::Ipv4Address], data: &[], interval: true },
    Set {
        name: PUBLISHED_ADDRESS,
        key: &[Field::Ipv4Address, Field::Protocol, Field::Port],
        data: &[Field::Ipv4Address, Field::Port],
        interval: false,
    },
    Set {
        name: PUBLISHED_ANY,
        key: &[Field::Protocol, Field::Port],
        data: &[Field::Ipv4Address, Field::Port],
        interval: false,
    },
];

/// `NF_IP_PRI_*` and `NF_INET_*` of the kernel.
const CHAINS: &[(&str, Option<Hook>)] = &[
    ("publish", None),
    ("to_container", None),
    ("guard", Some(Hook { kind: "filter", number: 0, priority: -300 })),
    ("prerouting", Some(Hook { kind: "nat", number: 0, priority: -100 })),
    ("output", Some(Hook { kind: "nat", number: 3, priority: -100 })),
    ("postrouting", Some(Hook { kind: "nat", number: 4, priority: 100 })),
    ("forward", Some(Hook { kind: "filter", number: 2, priority: 0 })),
];

const IPV4: [Expression<'_>; 2] = [Expression::Meta(Meta::Family, R(0)), Expression::Equal(R(0), &[2])];
const NOT_FROM_LO: [Expression<'_>; 2] =
    [Expression::Meta(Meta::InputName, R(0)), Expression::NotEqual(R(0), b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0")];
const TO_BRIDGE: [Expression<'_>; 2] = [Expression::Meta(Meta::OutputName, R(0)), Expression::InSet(BRIDGES, R(0))];
const NOT_TO_BRIDGE: [Expression<'_>; 2] =
    [Expression::Meta(Meta::OutputName, R(0)), Expression::NotInSet(BRIDGES, R(0))];
const LOOPBACK: Expression<'_> = Expression::Equal(R(0), &[127]);
/// Offsets in the IPv4 header.
const SOURCE: u32 = 12;
const DESTINATION: u32 = 16;
/// `RTN_LOCAL`: an address of this host.
const LOCAL: [u8; 4] = 2u32.to_ne_bytes();
/// `NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED)`.
const ESTABLISHED_OR_RELATED: u32 = 0x2 | 0x4;
/// `IPS_DST_NAT`.
const DESTINATION_CHANGED: u32 = 0x20;

/// Fills a new table.
pub fn write(batch: &mut Batch<'_>, bridges: &[Bridge], publications: &[Publication]) {
    SETS.iter().for_each(|set| batch.add_set(set));
    CHAINS.iter().for_each(|(name, hook)| batch.add_chain(name, hook.as_ref()));
    for (chain, rule) in rules() {
        batch.add_rule(chain, &rule);
    }
    add_bridges(batch, bridges);
    add_publications(batch, publications);
}

fn rules() -> Vec<(&'static str, Vec<Expression<'static>>)> {
    let address = |offset, to| Expression::Payload { base: Base::Network, offset, length: 4, to };
    let first_byte = |offset| Expression::Payload { base: Base::Network, offset, length: 1, to: R(0) };
    let port = |to| Expression::Payload { base: Base::Transport, offset: 2, length: 2, to };
    let nat = Expression::DestinationNat { address: R(0), port: R(1) };
    let destination_changed =
        [Expression::Connection(Connection::Status, R(0)), Expression::AnyBit(R(0), DESTINATION_CHANGED)];
    let not_zero = [Expression::NotEqual(R(0), &[0; 4])];
    let rule = |parts: &[&[Expression<'static>]]| parts.concat();
    vec![
        // Ports of one address of the host, then those of all.
        (
            "publish",
            rule(&[
                &IPV4,
                &[
                    address(DESTINATION, R(0)),
                    Expression::Meta(Meta::Transport, R(1)),
                    port(R(2)),
                    Expression::Map { map: PUBLISHED_ADDRESS, key: R(0), to: R(0) },
                    nat,
                ],
            ]),
        ),
        (
            "publish",
            rule(&[
                &IPV4,
                &[
                    Expression::DestinationType(R(0)),
                    Expression::Equal(R(0), &LOCAL),
                    Expression::Meta(Meta::Transport, R(0)),
                    port(R(1)),
                    Expression::Map { map: PUBLISHED_ANY, key: R(0), to: R(0) },
                    nat,
                ],
            ]),
        ),
        // Nobody but this host itself speaks from or to 127.0.0.0/8, though the bridges route it (CVE-2020-8558).
        ("guard", rule(&[&NOT_FROM_LO, &IPV4, &[first_byte(SOURCE), LOOPBACK, Expression::Drop]])),
        ("guard", rule(&[&NOT_FROM_LO, &IPV4, &[first_byte(DESTINATION), LOOPBACK, Expression::Drop]])),
        ("prerouting", vec![Expression::Jump("publish")]),
        ("output", vec![Expression::Jump("publish")]),
        // Out into the world; from 127.0.0.1 through a published port; from a container through a published port.
        (
            "postrouting",
            rule(&[
                &NOT_TO_BRIDGE,
                &IPV4,
                &[address(SOURCE, R(0)), Expression::InSet(OUTBOUND, R(0)), Expression::Masquerade],
            ]),
        ),
        ("postrouting", rule(&[&TO_BRIDGE, &IPV4, &[first_byte(SOURCE), LOOPBACK, Expression::Masquerade]])),
        (
            "postrouting",
            rule(&[
                &TO_BRIDGE,
                &IPV4,
                &[address(SOURCE, R(0)), Expression::InSet(SUBNETS, R(0))],
                &destination_changed,
                &not_zero,
                &[Expression::Masquerade],
            ]),
        ),
        ("forward", rule(&[&TO_BRIDGE, &[Expression::Jump("to_container")]])),
        (
            "to_container",
            rule(&[
                &[Expression::Connection(Connection::State, R(0)), Expression::AnyBit(R(0), ESTABLISHED_OR_RELATED)],
                &not_zero,
                &[Expression::Accept],
            ]),
        ),
        ("to_container", rule(&[&destination_changed, &not_zero, &[Expression::Accept]])),
        (
            "to_container",
            vec![
                Expression::Meta(Meta::InputName, R(0)),
                Expression::Meta(Meta::OutputName, R(4)),
                Expression::InSet(PEERS, R(0)),
                Expression::Accept,
            ],
        ),
        ("to_container", vec![Expression::Drop]),
    ]
}

fn add_bridges(batch: &mut Batch<'_>, bridges: &[Bridge]) {
    let names = bridges.iter().map(|bridge| Element { key: link_name(&bridge.name), ..Element::default() });
    batch.add_elements(BRIDGES, &names.collect::<Vec<_>>());
    let peers = bridges.iter().filter(|bridge| bridge.peers);
    let peers = peers.map(|bridge| Element { key: link_name(&bridge.name).repeat(2), ..Element::default() });
    batch.add_elements(PEERS, &peers.collect::<Vec<_>>());
    for bridge in bridges {
        batch.add_elements(SUBNETS, &interval(bridge.subnet));
        if bridge.outbound {
            batch.add_elements(OUTBOUND, &interval(bridge.subnet));
        }
    }
}

/// Adds elements for published ports.
pub fn add_publications(batch: &mut Batch<'_>, publications: &[Publication]) {
    for (map, elements) in publication_elements(publications) {
        batch.add_elements(map, &elements);
    }
}

/// Removes elements of published ports.
pub fn remove_publications(batch: &mut Batch<'_>, publications: &[Publication]) {
    for (map, elements) in publication_elements(publications) {
        batch.delete_elements(map, &elements);
    }
}

fn publication_elements(publications: &[Publication]) -> [(&'static str, Vec<Element>); 2] {
    let (any, address): (Vec<&Publication>, Vec<&Publication>) =
        publications.iter().partition(|publication| publication.host_address.is_unspecified());
    let element = |publication: &&Publication| {
        let mut key = Vec::with_capacity(12);
        if !publication.host_address.is_unspecified() {
            key.extend_from_slice(&publication.host_address.octets());
        }
        key.extend_from_slice(&[publication.protocol.number(), 0, 0, 0]);
        key.extend_from_slice(&padded_port(publication.host_port));
        let mut data = publication.address.octets().to_vec();
        data.extend_from_slice(&padded_port(publication.port));
        Element { key, data, interval_end: false }
    };
    [(PUBLISHED_ADDRESS, address.iter().map(element).collect()), (PUBLISHED_ANY, any.iter().map(element).collect())]
}

fn padded_port(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

fn link_name(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

/// The beginning of a subnet and the first address after it.
fn interval(subnet: Ipv4Net) -> Vec<Element> {
    let octets = |bits: u32| Ipv4Addr::from_bits(bits).octets().to_vec();
    let mut elements = vec![Element { key: octets(subnet.first()), ..Element::default() }];
    if let Some(end) = subnet.last().checked_add(1) {
        elements.push(Element { key: octets(end), data: Vec::new(), interval_end: true });
    }
    elements
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Protocol;

    #[test]
    fn elements_of_published_ports() {
        let publication = |host: &str, host_port| Publication {
            protocol: Protocol::Udp,
            host_address: host.parse().unwrap(),
            host_port,
            address: Ipv4Addr::new(172, 17, 0, 2),
            port: 53,
        };
        let [(address_map, address), (any_map, any)] =
            publication_elements(&[publication("0.0.0.0", 5353), publication("10.0.0.1", 0x1234)]);
        assert_eq!((address_map, any_map), (PUBLISHED_ADDRESS, PUBLISHED_ANY));
        assert_eq!(any[0].key, [17, 0, 0, 0, 0x14, 0xe9, 0, 0]);
        assert_eq!(address[0].key, [10, 0, 0, 1, 17, 0, 0, 0, 0x12, 0x34, 0, 0]);
        assert_eq!(address[0].data, [172, 17, 0, 2, 0, 53, 0, 0]);
    }

    #[test]
    fn intervals_end_after_the_last_address() {
        let ends = interval("172.17.4.0/22".parse().unwrap());
        assert_eq!((&ends[0].key[..], &ends[1].key[..]), (&[172, 17, 4, 0][..], &[172, 17, 8, 0][..]));
        assert_eq!(interval("128.0.0.0/1".parse().unwrap()).len(), 1);
    }
}
