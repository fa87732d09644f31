//! What stands in the table: sets, chains, rules, elements. Pure; `tests/nftables.rs` has it as nft(8) prints it.
//!
//! Every set that holds addresses exists twice, for IPv4 and for IPv6; the rules are made from one text for both.

use std::net::IpAddr;

use super::batch::{Batch, Element, Field, Hook, Set};
use super::expression::{Base, Connection, Expression, Meta, R};
use super::{Bridge, Permission, Publication};
use crate::address::{IpNet, octets};

/// Names of our bridges.
const BRIDGES: &str = "bridges";
/// From which link to which containers anything may go: of the same bridge, or from an interface that is trusted.
const PEERS: &str = "peers";
/// Our bridges as a packet's origin, with the chain that judges it: one look-up tells the internal ones from the others, and
/// spares what is no affair of ours the rest.
const SOURCES: &str = "sources";
/// Bridges without a way out, twice: what stays inside.
const WITHIN: &str = "within";

/// Names of the sets of one family.
struct Names {
    /// `NFPROTO_*` as meta nfproto has it.
    family: u8,
    address: Field,
    /// The addresses of containers.
    subnets: &'static str,
    /// Those that leave with the host's address.
    outbound: &'static str,
    /// Subnets whose containers may be reached at their own addresses.
    unprotected: &'static str,
    /// Ports that may be reached at the container's own address.
    open: &'static str,
    /// Who may talk to whom although their bridge lets nobody talk.
    permitted: &'static str,
    published_address: &'static str,
    published_any: &'static str,
}

const FAMILIES: [Names; 2] = [
    Names {
        family: 2,
        address: Field::Ipv4Address,
        subnets: "subnets",
        outbound: "outbound",
        unprotected: "unprotected",
        open: "open",
        permitted: "permitted",
        published_address: "published_address",
        published_any: "published_any",
    },
    Names {
        family: 10,
        address: Field::Ipv6Address,
        subnets: "subnets6",
        outbound: "outbound6",
        unprotected: "unprotected6",
        open: "open6",
        permitted: "permitted6",
        published_address: "published_address6",
        published_any: "published_any6",
    },
];

impl Names {
    fn of(address: IpAddr) -> &'static Names {
        &FAMILIES[usize::from(address.is_ipv6())]
    }

    /// 4-byte registers that an address takes.
    fn registers(&self) -> u32 {
        if self.family == 2 { 1 } else { 4 }
    }

    fn source(&self, to: R) -> Expression<'static> {
        let (offset, length) = if self.family == 2 { (12, 4) } else { (8, 16) };
        Expression::Payload { base: Base::Network, offset, length, to }
    }

    fn destination(&self, to: R) -> Expression<'static> {
        let (offset, length) = if self.family == 2 { (16, 4) } else { (24, 16) };
        Expression::Payload { base: Base::Network, offset, length, to }
    }

    fn is(&self) -> [Expression<'static>; 2] {
        const V4: [u8; 1] = [2];
        const V6: [u8; 1] = [10];
        let family: &'static [u8] = if self.family == 2 { &V4 } else { &V6 };
        [Expression::Meta(Meta::Family, R(0)), Expression::Equal(R(0), family)]
    }
}

fn sets() -> Vec<Set<'static>> {
    const LINK: &[Field] = &[Field::LinkName];
    const LINKS: &[Field] = &[Field::LinkName, Field::LinkName];
    let set = |name, key| Set { name, key, data: &[], interval: false };
    let sources = Set { name: SOURCES, key: LINK, data: &[Field::Verdict], interval: false };
    let mut all = vec![set(BRIDGES, LINK), set(PEERS, LINKS), sources, set(WITHIN, LINKS)];
    for names in &FAMILIES {
        const V4: &[Field] = &[Field::Ipv4Address];
        const V6: &[Field] = &[Field::Ipv6Address];
        const V4_PORT: &[Field] = &[Field::Ipv4Address, Field::Port];
        const V6_PORT: &[Field] = &[Field::Ipv6Address, Field::Port];
        const V4_SERVICE: &[Field] = &[Field::Ipv4Address, Field::Protocol, Field::Port];
        const V6_SERVICE: &[Field] = &[Field::Ipv6Address, Field::Protocol, Field::Port];
        const V4_PAIR: &[Field] = &[Field::Ipv4Address, Field::Ipv4Address, Field::Protocol, Field::Port];
        const V6_PAIR: &[Field] = &[Field::Ipv6Address, Field::Ipv6Address, Field::Protocol, Field::Port];
        let (address, port, service, pair) = match names.address {
            Field::Ipv6Address => (V6, V6_PORT, V6_SERVICE, V6_PAIR),
            _ => (V4, V4_PORT, V4_SERVICE, V4_PAIR),
        };
        for name in [names.subnets, names.outbound, names.unprotected] {
            all.push(Set { name, key: address, data: &[], interval: true });
        }
        all.push(set(names.open, service));
        all.push(set(names.permitted, pair));
        all.push(Set { name: names.published_address, key: service, data: port, interval: false });
        all.push(Set { name: names.published_any, key: &[Field::Protocol, Field::Port], data: port, interval: false });
    }
    all
}

/// `NF_IP_PRI_*` and `NF_INET_*` of the kernel.
const CHAINS: &[(&str, Option<Hook>)] = &[
    ("publish", None),
    ("to_bridge", None),
    ("from_bridge", None),
    ("from_internal", None),
    ("guard", Some(Hook { kind: "filter", number: 0, priority: -300 })),
    ("prerouting", Some(Hook { kind: "nat", number: 0, priority: -100 })),
    ("output", Some(Hook { kind: "nat", number: 3, priority: -100 })),
    ("postrouting", Some(Hook { kind: "nat", number: 4, priority: 100 })),
    // Before the others' chains, which may look at the mark.
    ("forward", Some(Hook { kind: "filter", number: 2, priority: -1 })),
];

const NOT_FROM_LO: [Expression<'_>; 2] =
    [Expression::Meta(Meta::InputName, R(0)), Expression::NotEqual(R(0), b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0")];
const TO_BRIDGE: [Expression<'_>; 2] = [Expression::Meta(Meta::OutputName, R(0)), Expression::InSet(BRIDGES, R(0))];
const NOT_TO_BRIDGE: [Expression<'_>; 2] =
    [Expression::Meta(Meta::OutputName, R(0)), Expression::NotInSet(BRIDGES, R(0))];
const LOOPBACK: Expression<'_> = Expression::Equal(R(0), &[127]);
const LOOPBACK6: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// `RTN_LOCAL`: an address of this host.
const LOCAL: [u8; 4] = 2u32.to_ne_bytes();
/// `NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED)`.
const ESTABLISHED_OR_RELATED: u32 = 0x2 | 0x4;
/// `IPS_DST_NAT`.
const DESTINATION_CHANGED: u32 = 0x20;

/// Fills a new table.
pub fn write(batch: &mut Batch<'_>, bridges: &[Bridge], publications: &[Publication], permissions: &[Permission]) {
    sets().iter().for_each(|set| batch.add_set(set));
    CHAINS.iter().for_each(|(name, hook)| batch.add_chain(name, hook.as_ref()));
    for (chain, rule) in rules() {
        batch.add_rule(chain, &rule);
    }
    let mut elements = bridge_elements(bridges);
    elements.extend(publication_elements(publications));
    elements.extend(permission_elements(permissions));
    add(batch, &elements);
}

/// Elements with the set or map that they are of.
pub type Elements = Vec<(&'static str, Vec<Element>)>;

/// Puts the elements into their sets.
pub fn add(batch: &mut Batch<'_>, elements: &Elements) {
    elements.iter().for_each(|(set, elements)| batch.add_elements(set, elements));
}

/// Takes the elements out of their sets.
pub fn remove(batch: &mut Batch<'_>, elements: &Elements) {
    elements.iter().for_each(|(set, elements)| batch.delete_elements(set, elements));
}

type Rules = Vec<(&'static str, Vec<Expression<'static>>)>;

fn rules() -> Rules {
    let destination_changed = [
        Expression::Connection(Connection::Status, R(0)),
        Expression::AnyBit(R(0), DESTINATION_CHANGED),
        Expression::NotEqual(R(0), &[0; 4]),
    ];
    let established = [
        Expression::Connection(Connection::State, R(0)),
        Expression::AnyBit(R(0), ESTABLISHED_OR_RELATED),
        Expression::NotEqual(R(0), &[0; 4]),
    ];
    let from_to = |set| {
        [
            Expression::Meta(Meta::InputName, R(0)),
            Expression::Meta(Meta::OutputName, R(4)),
            Expression::InSet(set, R(0)),
        ]
    };
    let mut rules: Rules = Vec::new();
    rules.extend(publish());
    rules.extend(guard());
    rules.push(("prerouting", vec![Expression::Jump("publish")]));
    rules.push(("output", vec![Expression::Jump("publish")]));
    rules.extend(postrouting(&destination_changed));
    rules.extend(forward());
    rules.push(("from_internal", [&from_to(WITHIN)[..], &[Expression::Return]].concat()));
    rules.push(("from_internal", vec![Expression::Drop]));
    rules.push(("to_bridge", [&established[..], &[Expression::Accept]].concat()));
    rules.push(("to_bridge", [&destination_changed[..], &[Expression::Accept]].concat()));
    rules.push(("to_bridge", [&from_to(PEERS)[..], &[Expression::Accept]].concat()));
    for names in &FAMILIES {
        let step = names.registers();
        let open = [
            names.destination(R(0)),
            Expression::Meta(Meta::Transport, R(step)),
            port(R(step + 1)),
            Expression::InSet(names.open, R(0)),
            Expression::Accept,
        ];
        let permitted = [
            names.source(R(0)),
            names.destination(R(step)),
            Expression::Meta(Meta::Transport, R(2 * step)),
            port(R(2 * step + 1)),
            Expression::InSet(names.permitted, R(0)),
            Expression::Accept,
        ];
        let unprotected = [names.destination(R(0)), Expression::InSet(names.unprotected, R(0)), Expression::Accept];
        for rule in [&open[..], &permitted[..], &unprotected[..]] {
            rules.push(("to_bridge", [&names.is()[..], rule].concat()));
        }
    }
    rules.push(("to_bridge", vec![Expression::Drop]));
    rules
}

/// The destination port.
fn port(to: R) -> Expression<'static> {
    Expression::Payload { base: Base::Transport, offset: 2, length: 2, to }
}

/// Ports of one address of the host, then those of all.
fn publish() -> Rules {
    let mut rules: Rules = Vec::new();
    for names in &FAMILIES {
        let step = names.registers();
        let nat = Expression::DestinationNat { family: names.family, address: R(0), port: R(step) };
        let one = [
            names.destination(R(0)),
            Expression::Meta(Meta::Transport, R(step)),
            port(R(step + 1)),
            Expression::Map { map: names.published_address, key: R(0), to: R(0) },
            nat,
        ];
        // An answer to ::1 cannot be routed back to it: connections to it are not redirected.
        let not_loopback: &[Expression<'static>] = match names.family {
            2 => &[],
            _ => &[names.destination(R(0)), Expression::NotEqual(R(0), LOOPBACK6)],
        };
        let all = [
            Expression::DestinationType(R(0)),
            Expression::Equal(R(0), &LOCAL),
            Expression::Meta(Meta::Transport, R(0)),
            port(R(1)),
            Expression::Map { map: names.published_any, key: R(0), to: R(0) },
            nat,
        ];
        rules.push(("publish", [&names.is()[..], &one].concat()));
        rules.push(("publish", [&names.is()[..], not_loopback, &all].concat()));
    }
    rules
}

/// Nobody but this host itself speaks from or to 127.0.0.0/8, though the bridges route it (CVE-2020-8558).
fn guard() -> Rules {
    let [ipv4, _] = &FAMILIES;
    // Every packet passes here: names of interfaces, which cost most, are looked at last.
    let first_byte = |offset| Expression::Payload { base: Base::Network, offset, length: 1, to: R(0) };
    let rule = |offset| [&ipv4.is()[..], &[first_byte(offset), LOOPBACK], &NOT_FROM_LO, &[Expression::Drop]].concat();
    vec![("guard", rule(12)), ("guard", rule(16))]
}

/// Every packet that is forwarded passes here, also what goes from port to port of a bridge, where frames are filtered. So
/// there are two look-ups, whatever its way.
///
/// Marks what is ours to decide, for [`super::foreign`]: what comes to our bridges, and what goes out of them to anything
/// but another bridge, whose owner decides about that.
fn forward() -> Rules {
    const BRIDGE: &[u8] = b"bridge\0\0\0\0\0\0\0\0\0\0";
    let mark = [
        Expression::Meta(Meta::Mark, R(0)),
        Expression::SetBits(R(0), super::foreign::MARK),
        Expression::SetMark(R(0)),
    ];
    let by_source = vec![Expression::Meta(Meta::InputName, R(0)), Expression::Verdict { map: SOURCES, key: R(0) }];
    let no_bridge = [Expression::Meta(Meta::OutputKind, R(0)), Expression::NotEqual(R(0), BRIDGE)];
    vec![
        ("forward", by_source),
        ("forward", [&TO_BRIDGE[..], &[Expression::Jump("to_bridge")]].concat()),
        ("from_bridge", [&TO_BRIDGE[..], &[Expression::Goto("to_bridge")]].concat()),
        ("from_bridge", [&no_bridge[..], &mark].concat()),
        ("from_bridge", vec![Expression::Accept]),
        ("to_bridge", mark.to_vec()),
    ]
}

/// Out into the world; from 127.0.0.1 through a published port; from a container through a published port.
fn postrouting(destination_changed: &[Expression<'static>]) -> Rules {
    let mut rules: Rules = Vec::new();
    for names in &FAMILIES {
        let from = |set| [names.source(R(0)), Expression::InSet(set, R(0))];
        let masquerade = &[Expression::Masquerade][..];
        rules.push(("postrouting", [&NOT_TO_BRIDGE[..], &names.is(), &from(names.outbound), masquerade].concat()));
        if names.family == 2 {
            let first_byte = Expression::Payload { base: Base::Network, offset: 12, length: 1, to: R(0) };
            let loopback = [first_byte, LOOPBACK, Expression::Masquerade];
            rules.push(("postrouting", [&TO_BRIDGE[..], &names.is(), &loopback].concat()));
        }
        let hairpin = [&TO_BRIDGE[..], &names.is(), &from(names.subnets), destination_changed, masquerade].concat();
        rules.push(("postrouting", hairpin));
    }
    rules
}

/// What the sets know of bridges.
pub fn bridge_elements(bridges: &[Bridge]) -> Elements {
    let element = |key: Vec<u8>| Element { key, ..Element::default() };
    let twice = |bridge: &Bridge| element(link_name(&bridge.name).repeat(2));
    let mut peers: Vec<Element> = bridges.iter().filter(|bridge| bridge.peers).map(twice).collect();
    for bridge in bridges {
        let from = bridge.trusted.iter().map(|link| [link_name(link), link_name(&bridge.name)].concat());
        peers.extend(from.map(element));
    }
    let source = |bridge: &Bridge| Element {
        chain: Some(if bridge.internal { "from_internal" } else { "from_bridge" }),
        ..element(link_name(&bridge.name))
    };
    let mut all: Elements = vec![
        (BRIDGES, bridges.iter().map(|bridge| element(link_name(&bridge.name))).collect()),
        (PEERS, peers),
        (SOURCES, bridges.iter().map(source).collect()),
        (WITHIN, bridges.iter().filter(|bridge| bridge.internal).map(twice).collect()),
    ];
    for subnet in bridges.iter().flat_map(|bridge| &bridge.subnets) {
        let names = Names::of(subnet.net.address);
        all.push((names.subnets, interval(subnet.net)));
        if subnet.outbound {
            all.push((names.outbound, interval(subnet.net)));
        }
        if subnet.unprotected {
            all.push((names.unprotected, interval(subnet.net)));
        }
    }
    all.retain(|(_, elements)| !elements.is_empty());
    all
}

/// What the maps know of published ports.
pub fn publication_elements(publications: &[Publication]) -> Elements {
    let mut all: Elements = Vec::new();
    for publication in publications {
        let names = Names::of(publication.address);
        let service = |address: Option<IpAddr>, port: u16| {
            let mut key = address.map(octets).unwrap_or_default();
            key.extend_from_slice(&[publication.protocol.number(), 0, 0, 0]);
            key.extend_from_slice(&padded_port(port));
            key
        };
        let mut data = octets(publication.address);
        data.extend_from_slice(&padded_port(publication.port));
        let host = publication.host_address;
        let (set, key, data) = match publication.host_port {
            0 => (names.open, service(Some(publication.address), publication.port), Vec::new()),
            port if host.is_unspecified() => (names.published_any, service(None, port), data),
            port => (names.published_address, service(Some(host), port), data),
        };
        let element = Element { key, data, ..Element::default() };
        match all.iter_mut().find(|(name, _)| *name == set) {
            Some((_, elements)) => elements.push(element),
            None => all.push((set, vec![element])),
        }
    }
    all
}

/// What the sets know of who may talk to whom.
pub fn permission_elements(permissions: &[Permission]) -> Elements {
    let element = |permission: &Permission| {
        let mut key = octets(permission.from);
        key.extend(octets(permission.to));
        key.extend_from_slice(&[permission.protocol.number(), 0, 0, 0]);
        key.extend_from_slice(&padded_port(permission.port));
        (Names::of(permission.to).permitted, vec![Element { key, ..Element::default() }])
    };
    permissions.iter().map(element).collect()
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
fn interval(subnet: IpNet) -> Vec<Element> {
    let start = subnet.network();
    let mut elements = vec![Element { key: octets(start.address), ..Element::default() }];
    let end = subnet.last().checked_add(1).filter(|end| subnet.is_ipv6() || *end <= u128::from(u32::MAX));
    if let Some(end) = end {
        elements.push(Element { key: octets(subnet.at(end)), interval_end: true, ..Element::default() });
    }
    elements
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Protocol;

    #[test]
    fn elements_of_published_ports() {
        let publication = |host: &str, host_port, address: &str| Publication {
            protocol: Protocol::Udp,
            host_address: host.parse().unwrap(),
            host_port,
            address: address.parse().unwrap(),
            port: 53,
        };
        let all = publication_elements(&[
            publication("0.0.0.0", 5353, "172.17.0.2"),
            publication("10.0.0.1", 0x1234, "172.17.0.2"),
            publication("::", 5353, "fd00::2"),
            publication("0.0.0.0", 0, "172.17.0.2"),
        ]);
        let sets: Vec<_> = all.iter().map(|(set, _)| *set).collect();
        assert_eq!(sets, ["published_any", "published_address", "published_any6", "open"]);
        assert_eq!(all[0].1[0].key, [17, 0, 0, 0, 0x14, 0xe9, 0, 0]);
        assert_eq!(all[1].1[0].key, [10, 0, 0, 1, 17, 0, 0, 0, 0x12, 0x34, 0, 0]);
        assert_eq!(all[1].1[0].data, [172, 17, 0, 2, 0, 53, 0, 0]);
        assert_eq!(all[2].1[0].data.len(), 20);
        assert_eq!(
            (all[3].1[0].key.as_slice(), all[3].1[0].data.len()),
            (&[172, 17, 0, 2, 17, 0, 0, 0, 0, 53, 0, 0][..], 0)
        );
    }

    #[test]
    fn intervals_end_after_the_last_address() {
        let ends = interval("172.17.4.0/22".parse().unwrap());
        assert_eq!((&ends[0].key[..], &ends[1].key[..]), (&[172, 17, 4, 0][..], &[172, 17, 8, 0][..]));
        assert_eq!(interval("128.0.0.0/1".parse().unwrap()).len(), 1);
        assert_eq!(interval("fd00::/64".parse().unwrap())[1].key[..8], [0xfd, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(interval("ff00::/8".parse().unwrap()).len(), 1);
    }
}
