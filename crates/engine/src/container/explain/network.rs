//! Links, addresses, published ports and listening sockets, and how they follow from each other.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

use ::network::trace::{self, LinkView, PublishedElement};
use api::container::Inspect;
use api::explain::{Explanation, Link, Port, Process, Socket};

use super::super::Record;
use crate::Engine;

/// Descriptors of one process that are looked at.
const MOST: usize = 65_536;

pub(super) fn read(
    engine: &Engine,
    record: &Record,
    known: &Inspect,
    processes: &[Process],
    told: &mut Explanation,
    differences: &mut Vec<String>,
) {
    let pid = record.state.pid;
    let in_host = told.namespaces.iter().any(|namespace| namespace.kind == "net" && namespace.shared == "host");
    let seen = fs::File::open(format!("/proc/{pid}/ns/net")).ok().and_then(|namespace| {
        let look = || (trace::links(), trace::addresses(), trace::routes());
        ::network::sandbox::in_namespace(namespace.as_fd(), look).ok()
    });
    let Some((Ok(links), Ok(addresses), routes)) = seen else {
        differences.push("its network namespace cannot be looked into".to_owned());
        return;
    };
    told.listening = listening(pid, processes, in_host).into();
    told.routes = routes.unwrap_or_default().into();
    if in_host {
        return;
    }
    let outside = trace::links().unwrap_or_default();
    told.links = links.iter().map(|link| describe(link, &addresses, &outside)).collect();
    let own: Vec<IpAddr> = addresses.iter().map(|(_, address, _)| *address).collect();
    compare_addresses(known, &own, differences);
    let elements = trace::published(&engine.config.table_name()).unwrap_or_default();
    let mine = elements.iter().filter(|element| own.contains(&element.address) && !element.address.is_loopback());
    let mut ports: Vec<Port> = mine.map(|element| port(element, &engine.config.table_name(), told)).collect();
    let table = |port: &Port| (port.protocol.clone(), port.host_address.clone(), port.host_port);
    let translated: Vec<_> = ports.iter().map(table).collect();
    let forwarded = record.endpoints().flat_map(|endpoint| engine.networks.forwards_of(endpoint));
    let forwarded = forwarded.map(|forward| served(&forward, told, &translated));
    ports.extend(forwarded.collect::<Vec<_>>());
    ports.sort_by(|a, b| (a.host_port, &a.host_address).cmp(&(b.host_port, &b.host_address)));
    compare_ports(known, &ports, differences);
    told.ports = ports.into();
}

fn describe(link: &LinkView, addresses: &[(u32, IpAddr, u8)], outside: &[LinkView]) -> Link {
    let peer = link.peer.filter(|_| link.kind == "veth");
    let peer = peer.and_then(|index| outside.iter().find(|other| other.index == index && other.kind == "veth"));
    let bridge = peer.and_then(|peer| outside.iter().find(|other| Some(other.index) == peer.master));
    Link {
        name: link.name.clone(),
        kind: if link.kind.is_empty() { "loopback".to_owned() } else { link.kind.clone() },
        mtu: i64::from(link.mtu),
        up: link.up,
        addresses: addresses
            .iter()
            .filter(|(index, _, _)| *index == link.index)
            .map(|(_, address, prefix)| format!("{address}/{prefix}"))
            .collect(),
        peer: peer.map_or_else(String::new, |peer| peer.name.clone()),
        bridge: bridge.map_or_else(String::new, |bridge| bridge.name.clone()),
        rate_in: bits(peer.map_or(0, |peer| peer.rate)),
        rate_out: bits(link.rate),
    }
}

/// Of bytes.
fn bits(rate: u64) -> i64 {
    i64::try_from(rate.saturating_mul(8)).unwrap_or(i64::MAX)
}

fn port(element: &PublishedElement, table: &str, told: &Explanation) -> Port {
    let protocol = match element.protocol {
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        132 => "sctp".to_owned(),
        other => other.to_string(),
    };
    let address = element.address.to_string();
    let has = |link: &&Link| link.addresses.iter().any(|with| with.split('/').next() == Some(address.as_str()));
    let link = told.links.iter().find(has);
    let listens = |socket: &&Socket| {
        let any = matches!(socket.address.as_str(), "0.0.0.0" | "::");
        socket.protocol == protocol && socket.port == i64::from(element.port) && (any || socket.address == address)
    };
    let any = if element.address.is_ipv4() { "0.0.0.0" } else { "::" };
    Port {
        host_address: element.host_address.map_or_else(|| any.to_owned(), |address| address.to_string()),
        host_port: i64::from(element.host_port),
        table: format!("inet {table}"),
        map: element.map.clone(),
        port: i64::from(element.port),
        bridge: link.map_or_else(String::new, |link| link.bridge.clone()),
        peer: link.map_or_else(String::new, |link| link.peer.clone()),
        link: link.map_or_else(String::new, |link| link.name.clone()),
        listeners: told.listening.iter().filter(listens).cloned().collect(),
        protocol,
        address,
    }
}

/// A port that the forwarder serves: of one that is translated too only what cannot be, the loopback address.
fn served(forward: &forward::Forward, told: &Explanation, translated: &[(String, String, i64)]) -> Port {
    let element = PublishedElement {
        map: "forwarder".to_owned(),
        host_address: Some(forward.listen.ip()),
        protocol: match forward.protocol {
            forward::Protocol::Tcp => 6,
            forward::Protocol::Udp => 17,
        },
        host_port: forward.listen.port(),
        address: forward.target.ip(),
        port: forward.target.port(),
    };
    let port = Port { table: String::new(), ..port(&element, "", told) };
    match translated.contains(&(port.protocol.clone(), port.host_address.clone(), port.host_port)) {
        true => Port { host_address: Ipv6Addr::LOCALHOST.to_string(), ..port },
        false => port,
    }
}

/// Sockets of the namespace that wait; with the host's network only those of the container's own processes.
fn listening(pid: i32, processes: &[Process], own_only: bool) -> Vec<Socket> {
    let owners = owners(processes);
    let mut found = Vec::new();
    for (file, protocol, state) in
        [("tcp", "tcp", "0A"), ("tcp6", "tcp", "0A"), ("udp", "udp", "07"), ("udp6", "udp", "07")]
    {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{file}")).unwrap_or_default();
        for (address, port, inode) in text.lines().skip(1).filter_map(|line| parse_socket(line, state)) {
            let owner = owners.get(&inode).map(|index| &processes[*index]);
            if owner.is_none() && own_only {
                continue;
            }
            found.push(Socket {
                protocol: protocol.to_owned(),
                address: address.to_string(),
                port: i64::from(port),
                pid: owner.map_or(0, |owner| owner.pid),
                command: owner.map_or_else(String::new, |owner| owner.command.clone()),
            });
        }
    }
    found
}

/// Which process has a socket open, by the socket's inode; the first one counts.
fn owners(processes: &[Process]) -> HashMap<u64, usize> {
    let mut owners = HashMap::new();
    for (index, process) in processes.iter().enumerate() {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{}/fd", process.pid)) else { continue };
        for descriptor in descriptors.flatten().take(MOST) {
            let Ok(target) = fs::read_link(descriptor.path()) else { continue };
            let inode = target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode {
                owners.entry(inode).or_insert(index);
            }
        }
    }
    owners
}

/// A line of `/proc/net/{tcp,udp}*` in this state: `0: 0100007F:0016 00000000:0000 0A … uid timeout inode`.
fn parse_socket(line: &str, wanted: &str) -> Option<(IpAddr, u16, u64)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    if *fields.get(3)? != wanted {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    let address: IpAddr = if address.len() == 8 {
        Ipv4Addr::from(word(0)?).into()
    } else {
        let mut bytes = [0; 16];
        for at in 0..4 {
            bytes[at * 4..at * 4 + 4].copy_from_slice(&word(at)?);
        }
        Ipv6Addr::from(bytes).into()
    };
    Some((address, u16::from_str_radix(port, 16).ok()?, fields.get(9)?.parse().ok()?))
}

fn compare_addresses(known: &Inspect, own: &[IpAddr], differences: &mut Vec<String>) {
    for (name, endpoint) in &known.network_settings.networks {
        if let Ok(address) = endpoint.ip_address.parse::<IpAddr>()
            && !own.contains(&address)
        {
            differences.push(format!("the record gives it {address} in {name}, and it has no such address"));
        }
    }
}

fn compare_ports(known: &Inspect, ports: &[Port], differences: &mut Vec<String>) {
    let mut recorded = Vec::new();
    for (key, bindings) in &known.network_settings.ports {
        let protocol = key.split_once('/').map_or("tcp", |(_, protocol)| protocol);
        for binding in bindings {
            recorded.push((protocol.to_owned(), binding.host_ip.clone(), binding.host_port.clone()));
        }
    }
    let found: Vec<(bool, (String, String, String))> = ports
        .iter()
        .map(|port| {
            let key = (port.protocol.clone(), port.host_address.clone(), port.host_port.to_string());
            (port.table.is_empty(), key)
        })
        .collect();
    for port in recorded.iter().filter(|port| !found.iter().any(|(_, found)| found == *port)) {
        let (protocol, address, port) = port;
        differences.push(format!(
            "{address}:{port}/{protocol} is published by the record, and neither in the nft table nor served by the forwarder"
        ));
    }
    let kernel = found.iter().filter(|(forwarded, _)| !forwarded).map(|(_, port)| port);
    for (protocol, address, port) in kernel.filter(|port| !recorded.contains(port)) {
        differences.push(format!("{address}:{port}/{protocol} leads to it in the nft table, and not by the record"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets() {
        let tcp = "   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0 100 0 0 10 0";
        assert_eq!(parse_socket(tcp, "0A"), Some((IpAddr::from([0, 0, 0, 0]), 8080, 12345)));
        assert_eq!(parse_socket(tcp, "07"), None);
        let local = "   1: 0100007F:0016 00000000:0000 0A 0:0 0:0 0 0 0 7 1";
        assert_eq!(parse_socket(local, "0A"), Some((IpAddr::from([127, 0, 0, 1]), 22, 7)));
        let six =
            "   0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 9 1";
        assert_eq!(parse_socket(six, "0A"), Some((IpAddr::from(Ipv6Addr::LOCALHOST), 80, 9)));
        for bad in ["", "0: zz:1 0:0 0A", "0: 00:0016 0 0A 0 0 0 0 0 7"] {
            assert_eq!(parse_socket(bad, "0A"), None);
        }
    }

    #[test]
    fn ports_are_compared() {
        let known: Inspect = serde_json::from_str(
            r#"{"NetworkSettings":{"Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}],"81/tcp":null}}}"#,
        )
        .unwrap();
        let port = Port {
            protocol: "tcp".to_owned(),
            host_address: "0.0.0.0".to_owned(),
            host_port: 8080,
            table: "inet hoist0".to_owned(),
            ..Port::default()
        };
        let mut differences = Vec::new();
        compare_ports(&known, std::slice::from_ref(&port), &mut differences);
        assert!(differences.is_empty(), "{differences:?}");
        compare_ports(&known, &[Port { host_port: 8081, ..port }], &mut differences);
        assert_eq!(differences.len(), 2);
    }
}
