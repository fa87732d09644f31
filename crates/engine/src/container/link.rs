//! `--link`: another container of the default bridge by an alias, in `/etc/hosts` and in the environment.
//!
//! ```text
//!  create  NAME[:ALIAS] ──▶ Link { target, alias }            in the record; the request's field is emptied
//!  start   Link ──▶ Linked { address, names, environment }    the target has to run
//! ```
//! A target that was removed takes its links with it, as with Docker.

use std::fs;
use std::net::IpAddr;

use api::container::{HostConfig, NetworkMode, PortKey, Protocol};
use serde::{Deserialize, Serialize};

use super::directory::{self, HOSTS};
use super::{Record, persist, spec};
use crate::id::ContainerId;
use crate::{Engine, Error, Kind, Result};

/// Most containers that share a namespace one through the other on the way to the one that owns it.
const MAX_CHAIN: usize = 16;

/// A link as the record has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    pub target: ContainerId,
    pub alias: String,
}

/// A link to a running container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Linked {
    pub address: IpAddr,
    /// For `/etc/hosts`: the alias, the target's host name, its name.
    pub names: String,
    pub environment: Vec<String>,
}

/// Target and alias of `NAME`, `NAME:ALIAS`, or `/NAME:/SELF/ALIAS` as [`documents`] writes it.
pub(super) fn parse(text: &str) -> Result<(&str, &str)> {
    if text.is_empty() {
        return Err(Error::invalid("empty string specified for links"));
    }
    let (name, alias) = text.split_once(':').unwrap_or((text, text));
    let (name, alias) = match name.strip_prefix('/') {
        Some(name) => (name, alias.rsplit('/').next().unwrap_or(alias)),
        None => (name, alias),
    };
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | '/' | '=' | '#');
    if name.is_empty() || alias.is_empty() || alias.contains(odd) {
        return Err(Error::invalid(format!("bad format for links: {text}")));
    }
    Ok((name, alias))
}

/// Takes the links out of the request.
pub(super) fn plan(engine: &Engine, host: &mut HostConfig) -> Result<Vec<Link>> {
    let mut links: Vec<Link> = Vec::new();
    for text in std::mem::take(&mut host.links) {
        let (name, alias) = parse(&text)?;
        // Not found is what clients take for a missing image.
        let find = |name: &str| {
            let failed =
                |error: Error| Error::invalid(format!("could not get container for {name}: {}", error.message));
            engine.containers.find(name).map_err(failed)
        };
        let mut target = find(name)?;
        for _ in 0..MAX_CHAIN {
            let NetworkMode::Container(owner) = NetworkMode::parse(&target.snapshot().host_config.network_mode) else {
                break;
            };
            target = find(&owner)?;
        }
        if NetworkMode::parse(&target.snapshot().host_config.network_mode) == NetworkMode::Host {
            return Err(Error::invalid(HOST_CONFLICT));
        }
        if links.iter().any(|link| link.alias == alias) {
            return Err(Error::conflict(format!("the alias \"{alias}\" is given to two links")));
        }
        links.push(Link { target: target.id.clone(), alias: alias.to_owned() });
    }
    Ok(links)
}

/// `DELETE /containers/CONTAINER/ALIAS?link=1`: takes a link away. What a running container has of it stays until it ends.
pub(super) fn remove(engine: &Engine, name: &str) -> Result<()> {
    let none = || Error::not_found(format!("Cannot get parent / for name /{}", name.trim_start_matches('/')));
    let (parent, alias) = name.trim_start_matches('/').rsplit_once('/').ok_or_else(none)?;
    let container = engine.containers.find(parent)?;
    let _operation = container.operate();
    if !container.snapshot().links.iter().any(|link| link.alias == alias) {
        return Err(none());
    }
    container.update(|record| record.links.retain(|link| link.alias != alias));
    persist::save(engine, &container)
}

/// Docker's words for links together with the host's network.
pub(super) const HOST_CONFLICT: &str =
    "conflicting options: host type networking can't be used with links. This would result in undefined behavior";

/// The links as `inspect` shows them: `/target:/self/alias`.
pub(super) fn documents(engine: &Engine, record: &Record) -> Vec<String> {
    let targets = record.links.iter().filter_map(|link| Some((link, engine.containers.get(&link.target)?)));
    targets.map(|(link, target)| format!("/{}:/{}/{}", target.snapshot().name, record.name, link.alias)).collect()
}

/// The links of a container that is about to start.
pub(super) fn resolve(engine: &Engine, record: &Record) -> Result<Vec<Linked>> {
    let targets = record.links.iter().filter_map(|link| Some((link, engine.containers.get(&link.target)?.snapshot())));
    targets.map(|(link, target)| linked(record, link, &target)).collect()
}

/// The links of a container that runs, for its further processes: those whose target runs.
pub(super) fn present(engine: &Engine, record: &Record) -> Vec<Linked> {
    let targets = record.links.iter().filter_map(|link| Some((link, engine.containers.get(&link.target)?.snapshot())));
    targets.filter_map(|(link, target)| linked(record, link, &target).ok()).collect()
}

fn linked(record: &Record, link: &Link, target: &Record) -> Result<Linked> {
    let path = format!("/{}/{}", record.name, link.alias);
    if !target.state.phase.is_alive() {
        let text = format!("Cannot link to a non running container: /{} AS {path}", target.name);
        return Err(Error::new(Kind::System, text));
    }
    let Some(address) = address(target) else {
        let text = format!("Cannot link to /{}, as it does not belong to the default network", target.name);
        return Err(Error::new(Kind::System, text));
    };
    Ok(Linked { address, names: names(link, target), environment: environment(&path, &link.alias, address, target) })
}

/// Where the target is on the default bridge.
fn address(target: &Record) -> Option<IpAddr> {
    target.bridge_endpoint()?.addresses().next()
}

/// What the targets on the default bridge may be asked for where nobody else may talk.
pub(super) fn permissions(engine: &Engine, record: &Record) -> Vec<network::Permission> {
    let mut all = Vec::new();
    let Some(from) = address(record) else { return all };
    for link in &record.links {
        let Some(target) = engine.containers.get(&link.target).map(|target| target.snapshot()) else { continue };
        let Some(to) = address(&target).filter(|_| target.state.phase.is_alive()) else { continue };
        for key in target.config.exposed_ports.keys().flat_map(|text| PortKey::parse_range(text).unwrap_or_default()) {
            let protocol = super::networking::protocol(key.protocol);
            all.push(network::Permission { from, to, protocol, port: key.port });
        }
    }
    all
}

/// What `/etc/hosts` calls the target.
fn names(link: &Link, target: &Record) -> String {
    // One with the host's network is no target, so its own facts suffice.
    let hostname = spec::own_hostname(target);
    match link.alias == target.name {
        true => format!("{} {hostname}", link.alias),
        false => format!("{} {hostname} {}", link.alias, target.name),
    }
}

/// The variables of one link. Pure.
fn environment(path: &str, alias: &str, address: IpAddr, target: &Record) -> Vec<String> {
    let alias = alias.to_uppercase().replace('-', "_");
    let exposed = target.config.exposed_ports.keys();
    let mut ports: Vec<PortKey> = exposed.flat_map(|text| PortKey::parse_range(text).unwrap_or_default()).collect();
    ports.sort_by_key(|key| (key.port, key.protocol != Protocol::Tcp, key.protocol.as_str()));
    ports.dedup();
    let url = |key: &PortKey| format!("{}://{}", key.protocol.as_str(), std::net::SocketAddr::new(address, key.port));
    let mut all: Vec<String> = ports.first().map(|key| format!("{alias}_PORT={}", url(key))).into_iter().collect();
    for key in &ports {
        let (port, protocol) = (key.port, key.protocol.as_str());
        let name = format!("{alias}_PORT_{port}_{}", protocol.to_uppercase());
        all.push(format!("{name}={}", url(key)));
        all.push(format!("{name}_ADDR={address}"));
        all.push(format!("{name}_PORT={port}"));
        all.push(format!("{name}_PROTO={protocol}"));
    }
    all.push(format!("{alias}_NAME={path}"));
    for variable in &target.config.env {
        if let Some((name, value)) = variable.split_once('=').filter(|(name, _)| !matches!(*name, "HOME" | "PATH")) {
            all.push(format!("{alias}_ENV_{name}={value}"));
        }
    }
    all
}

/// Lines for `/etc/hosts`.
pub(super) fn hosts(links: &[Linked]) -> impl Iterator<Item = (IpAddr, String)> + '_ {
    links.iter().map(|linked| (linked.address, linked.names.clone()))
}

/// A target was started, maybe with another address: those that link to it get to know.
pub(super) fn renew(engine: &Engine, target: &Record) {
    let Some(address) = address(target) else { return };
    for container in engine.containers.all() {
        let record = container.snapshot();
        let mut links = record.links.iter().filter(|link| link.target == target.id).peekable();
        if links.peek().is_none() || !record.state.phase.is_alive() {
            continue;
        }
        let own = engine.container_dir(&record.id);
        let renewed = fs::read_to_string(own.join(HOSTS))
            .map(|text| links.fold(text, |text, link| with_address(&text, &names(link, target), address)));
        let written = renewed
            .map_err(|error| Error::system("read the hosts file", error))
            .and_then(|text| directory::write(&own, HOSTS, &text));
        if let Err(error) = written {
            tracing::warn!(container = record.id.short(), error = error.full_text(), "a link's address is out of date");
        }
    }
}

/// The text with another address for the line that has exactly these names. Pure.
fn with_address(text: &str, names: &str, address: IpAddr) -> String {
    let mut renewed = String::with_capacity(text.len() + 16);
    for line in text.split_inclusive('\n') {
        match line.trim_end_matches('\n').split_once('\t') {
            Some((_, present)) if present == names => renewed.push_str(&format!("{address}\t{names}\n")),
            _ => renewed.push_str(line),
        }
    }
    renewed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::Phase;

    #[test]
    fn forms() {
        for (text, expected) in [
            ("db", Some(("db", "db"))),
            ("db:store", Some(("db", "store"))),
            ("/db:/web/store", Some(("db", "store"))),
            ("", None),
            ("db:", None),
            (":store", None),
            ("db:a:b", None),
            ("db:a b", None),
            ("db:a\n1.2.3.4\tx", None),
        ] {
            assert_eq!(parse(text).ok(), expected, "{text}");
        }
    }

    fn target() -> Record {
        let config =
            r#"{"ExposedPorts":{"443/tcp":{},"80/udp":{},"80/tcp":{}},"Env":["PATH=/bin","HOME=/","A=b=c","X"]}"#;
        let mut target = spec::test_record(config, "{}");
        target.name = "db".to_owned();
        target
    }

    #[test]
    fn variables_and_names() {
        let target = target();
        let all = environment("/web/my-db", "my-db", IpAddr::from([172, 17, 0, 2]), &target);
        let expected = [
            "MY_DB_PORT=tcp://172.17.0.2:80",
            "MY_DB_PORT_80_TCP=tcp://172.17.0.2:80",
            "MY_DB_PORT_80_TCP_ADDR=172.17.0.2",
            "MY_DB_PORT_80_TCP_PORT=80",
            "MY_DB_PORT_80_TCP_PROTO=tcp",
            "MY_DB_PORT_80_UDP=udp://172.17.0.2:80",
            "MY_DB_PORT_80_UDP_ADDR=172.17.0.2",
            "MY_DB_PORT_80_UDP_PORT=80",
            "MY_DB_PORT_80_UDP_PROTO=udp",
            "MY_DB_PORT_443_TCP=tcp://172.17.0.2:443",
            "MY_DB_PORT_443_TCP_ADDR=172.17.0.2",
            "MY_DB_PORT_443_TCP_PORT=443",
            "MY_DB_PORT_443_TCP_PROTO=tcp",
            "MY_DB_NAME=/web/my-db",
            "MY_DB_ENV_A=b=c",
        ];
        assert_eq!(all, expected);
        let link = |alias: &str| Link { target: target.id.clone(), alias: alias.to_owned() };
        assert_eq!(names(&link("my-db"), &target), "my-db 0123456789ab db");
        assert_eq!(names(&link("db"), &target), "db 0123456789ab");
    }

    #[test]
    fn a_target_has_to_run() {
        let record = spec::test_record("{}", "{}");
        let mut target = target();
        let link = Link { target: target.id.clone(), alias: "store".to_owned() };
        let error = linked(&record, &link, &target).unwrap_err();
        assert_eq!(error.message, "Cannot link to a non running container: /db AS /web/store");
        target.state.phase = Phase::Running;
        let error = linked(&record, &link, &target).unwrap_err();
        assert_eq!(error.message, "Cannot link to /db, as it does not belong to the default network");
    }

    #[test]
    fn another_address() {
        let text = "127.0.0.1\tlocalhost\n172.17.0.2\tstore abc db\n10.0.0.1\tstore\nend";
        let renewed = with_address(text, "store abc db", IpAddr::from([172, 17, 0, 9]));
        assert_eq!(renewed, "127.0.0.1\tlocalhost\n172.17.0.9\tstore abc db\n10.0.0.1\tstore\nend");
    }
}
