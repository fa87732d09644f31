//! `POST /hoist/containers/{id}/ports/add` and `…/remove`: published ports change, while the container runs or not.
//!
//! What is changed counts for later starts too: it goes into the host configuration, as if it had been given at `create`.

use api::container::{HostConfig, NetworkMode, PortBinding, PortChange, PortKey, PortMap};
use network::BoundPort;

use super::{Container, Phase, Record, connect, networking, persist, publish};
use crate::{Engine, Error, Result};

/// Publishes ports; the answer has those that were chosen.
pub fn add_ports(engine: &Engine, id: &str, request: &PortChange) -> Result<PortChange> {
    let container = engine.containers.find(id)?;
    let _operation = container.operate();
    container.settled();
    let record = container.snapshot();
    check(&record, request)?;
    let mut host = record.host_config.clone();
    let mut answer = PortMap::new();
    for (text, bindings) in &request.ports {
        for key in PortKey::parse_range(text)? {
            let known = host.port_bindings.entry(key.to_string()).or_default();
            let one = [PortBinding::default()];
            // A port that is named alone goes to a free one.
            let wanted = if bindings.is_empty() { &one[..] } else { &bindings[..] };
            for binding in wanted {
                if known.contains(binding) && !binding.host_port.is_empty() {
                    let text = format!("{key} is published at {} already", shown(binding));
                    return Err(Error::conflict(text));
                }
                known.push(binding.clone());
                answer.entry(key.to_string()).or_default().push(binding.clone());
            }
        }
    }
    let added = HostConfig { port_bindings: answer.clone(), ..HostConfig::default() };
    let wanted = networking::ports(&Record { host_config: added, ..Record::clone(&record) })?;
    if record.state.phase.is_alive() {
        let bound = connect::publish(engine, &container, &wanted)?;
        answer = port_map(&bound);
    }
    change(engine, &container, host)?;
    Ok(PortChange { ports: answer })
}

/// Withdraws ports; the answer has those that were published.
pub fn remove_ports(engine: &Engine, id: &str, request: &PortChange) -> Result<PortChange> {
    let container = engine.containers.find(id)?;
    let _operation = container.operate();
    container.settled();
    let record = container.snapshot();
    check(&record, request)?;
    let mut host = spelled_out(&record)?;
    let mut gone: Vec<BoundPort> = Vec::new();
    let mut answer = PortMap::new();
    for (text, bindings) in &request.ports {
        for key in PortKey::parse_range(text)? {
            let any = [PortBinding::default()];
            let wanted = if bindings.is_empty() { &any[..] } else { &bindings[..] };
            for binding in wanted {
                let before = gone.len();
                for port in record.living_endpoints().flat_map(|endpoint| &endpoint.ports) {
                    if is_of(port, key, binding) && !gone.contains(port) {
                        gone.push(port.clone());
                    }
                }
                let known = host.port_bindings.get_mut(&key.to_string());
                let taken = known.map(|known| take(known, binding, &gone[before..])).unwrap_or_default();
                if taken.is_empty() && gone.len() == before {
                    let text = format!("no port {key} of {} is published at {}", record.name, shown(binding));
                    return Err(Error::not_found(text));
                }
                answer.entry(key.to_string()).or_default().extend(taken);
            }
            if host.port_bindings.get(&key.to_string()).is_some_and(|left| left.is_empty()) {
                host.port_bindings.remove(&key.to_string());
            }
        }
    }
    if record.state.phase.is_alive() {
        connect::withdraw(engine, &container, &gone);
        answer = port_map(&gone);
    }
    change(engine, &container, host)?;
    Ok(PortChange { ports: answer })
}

fn check(record: &Record, request: &PortChange) -> Result<()> {
    if matches!(record.state.phase, Phase::Removing | Phase::Dead) {
        return Err(Error::conflict(format!("container {} is marked for removal", record.id)));
    }
    if !NetworkMode::parse(&record.host_config.network_mode).is_networked() {
        let mode = &record.host_config.network_mode;
        return Err(Error::invalid(format!("a container with the network mode {mode} has no published ports")));
    }
    match request.ports.is_empty() {
        true => Err(Error::invalid("no port is named")),
        false => Ok(()),
    }
}

fn change(engine: &Engine, container: &Container, host: HostConfig) -> Result<()> {
    container.update(|record| {
        // What is published is exposed, as at `create`.
        for key in host.port_bindings.keys() {
            record.config.exposed_ports.entry(key.clone()).or_default();
        }
        record.host_config = host;
    });
    persist::save(engine, container)?;
    let record = container.snapshot();
    publish(engine, &record, "update", &[]);
    Ok(())
}

/// The host configuration with what `-P` stands for written out, so that a part of it can go.
fn spelled_out(record: &Record) -> Result<HostConfig> {
    let mut host = record.host_config.clone();
    if host.publish_all_ports {
        for text in record.config.exposed_ports.keys() {
            for key in PortKey::parse_range(text)? {
                let known = host.port_bindings.entry(key.to_string()).or_default();
                if known.is_empty() {
                    known.push(PortBinding::default());
                }
            }
        }
        host.publish_all_ports = false;
    }
    Ok(host)
}

/// Whether a published port is meant: what the binding leaves open is not looked at.
fn is_of(port: &BoundPort, key: PortKey, binding: &PortBinding) -> bool {
    let address = binding.host_ip.is_empty() || binding.host_ip.parse() == Ok(port.host_address);
    let within = |(first, last)| (first..=last).contains(&port.host_port);
    let number = binding.host_ports().ok().flatten().is_none_or(within);
    (port.container_port, port.protocol) == (key.port, networking::protocol(key.protocol)) && address && number
}

/// Takes the bindings away that are meant; else the one from which the ports that go have come.
fn take(known: &mut Vec<PortBinding>, binding: &PortBinding, gone: &[BoundPort]) -> Vec<PortBinding> {
    let meant = |other: &PortBinding| {
        let address = binding.host_ip.is_empty() || binding.host_ip == other.host_ip;
        address && (binding.host_port.is_empty() || binding.host_port == other.host_port)
    };
    let (taken, left): (Vec<PortBinding>, Vec<PortBinding>) = known.drain(..).partition(meant);
    *known = left;
    if !taken.is_empty() {
        return taken;
    }
    let source = |other: &PortBinding| {
        gone.iter().any(|port| {
            let address = other.host_ip.is_empty() || other.host_ip.parse() == Ok(port.host_address);
            let within = |(first, last)| (first..=last).contains(&port.host_port);
            address && other.host_ports().ok().flatten().is_none_or(within)
        })
    };
    // A range before any port at all.
    let at = known.iter().position(|other| !other.host_port.is_empty() && source(other));
    at.or_else(|| known.iter().position(source)).map(|at| known.remove(at)).into_iter().collect()
}

fn port_map(ports: &[BoundPort]) -> PortMap {
    let mut map = PortMap::new();
    for port in ports {
        let host_port = if port.host_port == 0 { String::new() } else { port.host_port.to_string() };
        let binding = PortBinding { host_ip: port.host_address.to_string(), host_port };
        map.entry(format!("{}/{}", port.container_port, port.protocol)).or_default().push(binding);
    }
    map
}

fn shown(binding: &PortBinding) -> String {
    match (binding.host_ip.as_str(), binding.host_port.as_str()) {
        ("", "") => "any port of the host".to_owned(),
        ("", port) => format!("the host's port {port}"),
        (address, "") => address.to_owned(),
        (address, port) if address.contains(':') => format!("[{address}]:{port}"),
        (address, port) => format!("{address}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(ip: &str, port: &str) -> PortBinding {
        PortBinding { host_ip: ip.to_owned(), host_port: port.to_owned() }
    }

    #[test]
    fn what_a_withdrawal_means() {
        let port = |address: &str, host_port| BoundPort {
            container_port: 80,
            protocol: network::Protocol::Tcp,
            host_address: address.parse().unwrap(),
            host_port,
        };
        let key = PortKey::parse("80").unwrap();
        for (binding, expected) in [
            (binding("", ""), true),
            (binding("", "8080"), true),
            (binding("", "8000-8100"), true),
            (binding("127.0.0.1", "8080"), true),
            (binding("127.0.0.2", "8080"), false),
            (binding("", "8081"), false),
        ] {
            assert_eq!(is_of(&port("127.0.0.1", 8080), key, &binding), expected, "{binding:?}");
        }
        assert!(!is_of(&port("127.0.0.1", 8080), PortKey::parse("80/udp").unwrap(), &binding("", "")));

        let mut known = vec![binding("", "8080"), binding("", ""), binding("", "9000-9010")];
        assert_eq!(take(&mut known, &binding("", "8080"), &[port("0.0.0.0", 8080)]), [binding("", "8080")]);
        assert_eq!(take(&mut known, &binding("", "9005"), &[port("0.0.0.0", 9005)]), [binding("", "9000-9010")]);
        assert_eq!(take(&mut known, &binding("", ""), &[]).len(), 1, "all");
        assert!(known.is_empty());
    }
}
