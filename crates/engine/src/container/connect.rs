//! `POST /networks/{id}/connect` and `…/disconnect`: a container's networks change, while it runs or not.
//!
//! ```text
//!  connect     attach ─▶ record: joining ─▶ hosts ─▶ rebalance ─▶ names ─▶ record ─▶ event
//!  disconnect  record: leaving ─▶ (ports and ways out move first) rebalance ─▶ hosts, names ─▶ disconnect ─▶ record ─▶ event
//! ```
//! What is begun is in the record before anything in the container depends on it: a daemon that dies on the way leaves
//! either an interface that nobody knows, which the next one deletes, or a change that the next one finishes.
//!
//! Rebalancing: the ways out and the published ports belong to the endpoints that [`network::Route::choose`] names; after a
//! change of networks they move there. The host's ports themselves stay reserved, by the shim or the keeper.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use api::container::NetworkMode;
use api::network::{NetworkConnectRequest, NetworkDisconnectRequest};
use network::{BoundPort, EndpointRecord, NetworkRecord, Route, Sandbox};

use super::attachment::{self, Attachment, Unsettled};
use super::{Container, Phase, Record, networking, persist, resolver};
use crate::shim::KEEPER_SOCKET;
use crate::{Engine, Error, Kind, Result};

/// Connects a container.
pub fn connect(engine: &Engine, network: &str, request: &NetworkConnectRequest) -> Result<()> {
    let container = engine.containers.find(&request.container)?;
    let network = crate::network::find(engine, network)?;
    let _operation = container.operate();
    container.settled();
    let record = container.snapshot();
    check_phase(&record)?;
    check_mode(&record, &network)?;
    networking::check_joinable(&network)?;
    let settings = request.endpoint_config.clone().unwrap_or_default();
    if let Some(option) = attachment::check(&network.name, Some(&network), &settings)?.first() {
        // The answer has no place for a warning.
        return Err(Error::invalid(format!("unknown option {option} for the {} driver", network.driver.as_str())));
    }
    if let Some(at) = position(&record, &network) {
        if record.state.phase.is_alive() {
            return Err(Error::new(
                Kind::Forbidden,
                format!("endpoint with name {} already exists in network {}", record.name, network.name),
            ));
        }
        // Of one that does not run, the wishes change.
        container.update(|record| record.networks[at] = Attachment::new(&network.name, settings));
        return persist::save(engine, &container);
    }
    let added = Attachment::new(&network.name, settings);
    if !record.state.phase.is_alive() {
        container.update(|record| push(record, added));
        return persist::save(engine, &container);
    }
    connect_running(engine, &container, &network, added)
}

/// The first network decides about the mode of one that had none.
fn push(record: &mut Record, added: Attachment) {
    record.networks.push(added);
}

fn connect_running(
    engine: &Engine,
    container: &Arc<Container>,
    network: &NetworkRecord,
    added: Attachment,
) -> Result<()> {
    let before = container.snapshot();
    let namespace = networking::namespace_of(&before)?;
    if !container.snapshot().state.phase.is_alive() {
        return Err(super::not_running(&container.id));
    }
    let mut planned = Record::clone(&before);
    planned.networks.push(added);
    let at = planned.networks.len() - 1;
    let config = networking::endpoint_config(&planned, at, network)?;
    let duplicate = namespace.try_clone().map_err(|error| Error::system("share the namespace", error))?;
    let sandbox = Sandbox::from_descriptor(duplicate);
    let endpoint = networking::attach(engine, &before, &sandbox, &config)?.record;
    let record = container.update(|record| {
        let mut attachment = planned.networks[at].clone();
        attachment.network_id.clone_from(&network.id);
        attachment.endpoint_id.clone_from(&endpoint.id);
        attachment.endpoint = Some(endpoint.clone());
        attachment.unsettled = Some(Unsettled::Joining);
        record.networks.push(attachment);
    });
    let outcome = persist::save(engine, container).and_then(|()| {
        let first = !resolver::is_wanted(&before);
        join(engine, container, &endpoint, namespace.as_fd(), first)
    });
    if let Err(error) = outcome {
        resolver::remove(engine, &endpoint.id);
        let _ = engine.networks.disconnect(namespace.as_fd(), &endpoint);
        let _ = networking::change_hosts(engine, &record, &endpoint, false);
        container.update(|record| record.networks.retain(|other| other.endpoint_id != endpoint.id));
        let _ = rebalance(engine, container, namespace.as_fd(), None);
        let _ = persist::save(engine, container);
        return Err(error);
    }
    settled(container, &endpoint.id);
    persist::save(engine, container)?;
    let record = container.snapshot();
    if let Some(attachment) = record.networks.iter().find(|other| other.endpoint_id == endpoint.id) {
        networking::publish(engine, "connect", &record, attachment);
    }
    Ok(())
}

/// What follows from an endpoint that is there. `first`: the container had no names of others before. May be repeated.
fn join(
    engine: &Engine,
    container: &Container,
    endpoint: &EndpointRecord,
    namespace: BorrowedFd<'_>,
    first: bool,
) -> Result<()> {
    let record = container.snapshot();
    networking::change_hosts(engine, &record, endpoint, true)?;
    rebalance(engine, container, namespace, None)?;
    resolver::serve(engine, &container.snapshot(), namespace)?;
    match first && resolver::is_wanted(&record) {
        true => networking::renew_resolv_conf(engine, &record),
        false => Ok(()),
    }
}

/// The endpoint is whole.
fn settled(container: &Container, endpoint: &str) {
    container.update(|record| {
        let of = record.networks.iter_mut().filter(|attachment| attachment.endpoint_id == endpoint);
        of.for_each(|attachment| attachment.unsettled = None);
    });
}

/// Finishes what an earlier daemon has begun with a living container.
pub(super) fn finish(engine: &Engine, container: &Container) -> Result<()> {
    let record = container.snapshot();
    for attachment in &record.networks {
        let (Some(unsettled), Some(endpoint)) = (attachment.unsettled, &attachment.endpoint) else { continue };
        let namespace = networking::namespace_of(&record)?;
        match unsettled {
            Unsettled::Joining => {
                join(engine, container, endpoint, namespace.as_fd(), true)?;
                settled(container, &endpoint.id);
            }
            Unsettled::Leaving => {
                leave(engine, container, endpoint, namespace.as_fd())?;
                container.update(|record| record.networks.retain(|other| other.endpoint_id != endpoint.id));
                resolver::renew(engine, &container.snapshot());
            }
        }
        tracing::info!(container = record.id.short(), network = attachment.name, ?unsettled, "finished what was begun");
        persist::save(engine, container)?;
    }
    Ok(())
}

/// Disconnects a container. `force`: also one that is not there any more.
pub fn disconnect(engine: &Engine, network: &str, request: &NetworkDisconnectRequest) -> Result<()> {
    let found = crate::network::find(engine, network);
    let container = engine.containers.find(&request.container)?;
    let _operation = container.operate();
    container.settled();
    let record = container.snapshot();
    check_phase(&record)?;
    let missing = |name: &str| {
        let text = format!("container {} is not connected to the network {name}", record.id);
        Err(Error::new(Kind::System, text))
    };
    let network = match found {
        Ok(network) => network,
        // A container that does not run can leave a network that was removed.
        Err(error) => {
            let at = record.networks.iter().position(|other| other.name == network || other.network_id == network);
            return match at.filter(|_| !record.state.phase.is_alive()) {
                Some(at) => {
                    container.update(|record| drop(record.networks.remove(at)));
                    persist::save(engine, &container)
                }
                None => Err(error),
            };
        }
    };
    if NetworkMode::parse(&record.host_config.network_mode) == NetworkMode::Host && network.name == "host" {
        return Err(Error::invalid(attachment::HOST_CONFLICT));
    }
    let Some(at) = position(&record, &network) else { return missing(&network.name) };
    let gone = record.networks[at].clone();
    if !record.state.phase.is_alive() {
        container.update(|record| drop(record.networks.remove(at)));
        return persist::save(engine, &container);
    }
    let namespace = networking::namespace_of(&record)?;
    if let Some(endpoint) = &gone.endpoint {
        container.update(|record| record.networks[at].unsettled = Some(Unsettled::Leaving));
        let left =
            persist::save(engine, &container).and_then(|()| leave(engine, &container, endpoint, namespace.as_fd()));
        if let Err(error) = left {
            settled(&container, &endpoint.id);
            let _ = persist::save(engine, &container);
            return Err(error);
        }
    }
    let record = container.update(|record| {
        record.networks.retain(|other| other.name != gone.name);
    });
    resolver::renew(engine, &record);
    persist::save(engine, &container)?;
    networking::publish(engine, "disconnect", &record, &gone);
    Ok(())
}

/// Takes an endpoint away, and what depends on it. May be repeated.
fn leave(engine: &Engine, container: &Container, endpoint: &EndpointRecord, namespace: BorrowedFd<'_>) -> Result<()> {
    resolver::remove(engine, &endpoint.id);
    rebalance(engine, container, namespace, Some(&endpoint.id))?;
    // Rebalancing has changed its ports.
    let record = container.snapshot();
    networking::change_hosts(engine, &record, endpoint, false)?;
    let endpoint = record.endpoints().find(|other| other.id == endpoint.id).unwrap_or(endpoint).clone();
    engine.networks.disconnect(namespace, &endpoint).map_err(|error| Error::system("disconnect the container", error))
}

fn position(record: &Record, network: &NetworkRecord) -> Option<usize> {
    record.networks.iter().position(|other| other.name == network.name)
}

fn check_phase(record: &Record) -> Result<()> {
    match record.state.phase {
        Phase::Removing | Phase::Dead => Err(Error::conflict(format!(
            "Container {} is marked for removal and cannot be connected or disconnected to the network",
            record.id
        ))),
        _ => Ok(()),
    }
}

/// Whether a container of this mode can be in the network beside its others.
fn check_mode(record: &Record, network: &NetworkRecord) -> Result<()> {
    let conflict = |text: &str| Err(Error::invalid(text));
    match NetworkMode::parse(&record.host_config.network_mode) {
        NetworkMode::Container(_) => return conflict(attachment::SHARED_CONFLICT),
        NetworkMode::Host => return conflict(attachment::HOST_CONFLICT),
        _ => {}
    }
    if network.name == "host" {
        return conflict(attachment::HOST_CONFLICT);
    }
    // One that runs and has left its last network has no interface: that is all that `none` could give it.
    let others = !record.networks.is_empty() || record.state.phase.is_alive();
    let in_none = record.networks.iter().any(|other| other.name == "none");
    match (network.name == "none" && others) || (in_none && network.name != "none") {
        true => conflict(attachment::NONE_CONFLICT),
        false => Ok(()),
    }
}

/// The endpoints, and what decides which of them leads out; not `without`.
fn present(engine: &Engine, record: &Record, without: Option<&str>) -> (Vec<(usize, EndpointRecord)>, Vec<Route>) {
    let (mut present, mut routes) = (Vec::new(), Vec::new());
    for (at, attachment) in record.networks.iter().enumerate() {
        let (Some(endpoint), Some(network)) = (&attachment.endpoint, engine.networks.record(&attachment.network_id))
        else {
            continue;
        };
        if without != Some(endpoint.id.as_str()) {
            present.push((at, endpoint.clone()));
            routes.push(networking::route(record, at, &network));
        }
    }
    (present, routes)
}

/// Moves ways out and published ports to the endpoints that lead out now; `without` is about to go.
fn rebalance(engine: &Engine, container: &Container, namespace: BorrowedFd<'_>, without: Option<&str>) -> Result<()> {
    let record = container.snapshot();
    let (present, routes) = present(engine, &record, without);
    let (ipv4, ipv6) = Route::choose(&routes);
    for (family, chosen) in [(false, ipv4), (true, ipv6)] {
        let target = chosen.and_then(|at| present.get(at)).map(|(_, endpoint)| endpoint);
        if let Some(target) = target {
            engine
                .networks
                .set_default_route(namespace, target, family)
                .map_err(|error| networking::translate(&record, error))?;
        }
        move_ports(engine, container, target.map(|endpoint| endpoint.id.as_str()), family)?;
    }
    publish_first(engine, container, &present, (ipv4, ipv6))
}

/// The ports of one family that the container holds are published at `target` and nowhere else.
fn move_ports(engine: &Engine, container: &Container, target: Option<&str>, ipv6: bool) -> Result<()> {
    let record = container.snapshot();
    let held: Vec<BoundPort> =
        record.held_ports.iter().filter(|port| port.host_address.is_ipv6() == ipv6).cloned().collect();
    for endpoint in record.endpoints().filter(|endpoint| target != Some(endpoint.id.as_str())) {
        let of_family: Vec<BoundPort> =
            endpoint.ports.iter().filter(|port| port.host_address.is_ipv6() == ipv6).cloned().collect();
        if of_family.is_empty() {
            continue;
        }
        let left =
            engine.networks.withdraw(endpoint, &of_family).map_err(|error| networking::translate(&record, error))?;
        note(container, left);
    }
    let record = container.snapshot();
    let Some(target) = record.endpoints().find(|endpoint| target == Some(endpoint.id.as_str())) else {
        return Ok(());
    };
    let missing: Vec<BoundPort> = held.into_iter().filter(|port| !target.ports.contains(port)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let whole = engine.networks.adopt_ports(target, &missing).map_err(|error| networking::translate(&record, error))?;
    note(container, whole);
    Ok(())
}

/// A container that was started without a way out and gets one: its ports are reserved now, and kept by the keeper.
fn publish_first(
    engine: &Engine,
    container: &Container,
    present: &[(usize, EndpointRecord)],
    ways_out: (Option<usize>, Option<usize>),
) -> Result<()> {
    let record = container.snapshot();
    let wanted = networking::ports(&record)?;
    if !record.held_ports.is_empty() || wanted.is_empty() {
        return Ok(());
    }
    publish_at(engine, container, present, ways_out, &wanted).map(drop)
}

/// Publishes ports at the endpoints that lead out; which ones they have become.
fn publish_at(
    engine: &Engine,
    container: &Container,
    present: &[(usize, EndpointRecord)],
    (ipv4, ipv6): (Option<usize>, Option<usize>),
    wanted: &[network::PortBinding],
) -> Result<Vec<BoundPort>> {
    let record = container.snapshot();
    let mut all = Vec::new();
    if ipv4.is_none() && ipv6.is_none() {
        return Ok(all);
    }
    let keeper = keeper::Keeper::connect(&engine.config.exec_root.join(KEEPER_SOCKET))
        .map_err(|error| Error::system("reach the keeper", error))?;
    for (at, (_, endpoint)) in present.iter().enumerate() {
        let (here4, here6) = (ipv4 == Some(at), ipv6 == Some(at));
        let ports = networking::ports_of(wanted, here4, here6, ipv6.is_some());
        if ports.is_empty() {
            continue;
        }
        let families: Vec<bool> =
            [(here4, false), (here6, true)].into_iter().filter(|(here, _)| *here).map(|(_, ipv6)| ipv6).collect();
        let published = engine.networks.publish(endpoint, &ports, &families);
        let published = match published {
            Ok(published) => published,
            Err(error) => {
                // All of them, or none.
                withdraw(engine, container, &all);
                return Err(networking::translate(&record, error));
            }
        };
        let reserved: Vec<BoundPort> = published.record.ports[endpoint.ports.len()..].to_vec();
        let held = reserved.iter().filter(|port| port.host_port != 0).zip(&published.holds);
        let mut names = Vec::new();
        let mut kept = Ok(());
        for (port, hold) in held {
            let name = hold_name(&record, port);
            kept = kept.and_then(|()| keeper.hold(&name, hold));
            names.push(name);
        }
        all.extend(reserved.iter().cloned());
        container.update(|record| {
            record.held_ports.extend(reserved);
            record.kept_ports.extend(names);
        });
        note(container, published.record);
        if let Err(error) = kept {
            withdraw(engine, container, &all);
            return Err(Error::system("keep a published port", error));
        }
    }
    Ok(all)
}

/// Publishes further ports of a running container where it leads out.
pub(super) fn publish(
    engine: &Engine,
    container: &Container,
    wanted: &[network::PortBinding],
) -> Result<Vec<BoundPort>> {
    let (present, routes) = present(engine, &container.snapshot(), None);
    publish_at(engine, container, &present, Route::choose(&routes), wanted)
}

/// Withdraws ports of a running container, and frees them on the host.
pub(super) fn withdraw(engine: &Engine, container: &Container, ports: &[BoundPort]) {
    let record = container.snapshot();
    for endpoint in record.endpoints().filter(|endpoint| endpoint.ports.iter().any(|port| ports.contains(port))) {
        match engine.networks.withdraw(endpoint, ports) {
            Ok(left) => note(container, left),
            Err(error) => {
                let error = networking::translate(&record, error);
                tracing::error!(container = record.id.short(), %error, "a port is still published");
            }
        }
    }
    engine.networks.release_forwards(record.id.as_str(), ports);
    let keeper = keeper::Keeper::connect(&engine.config.exec_root.join(KEEPER_SOCKET));
    for port in ports.iter().filter(|port| port.host_port != 0) {
        let name = hold_name(&record, port);
        if record.kept_ports.contains(&name) {
            if let Err(error) = keeper.as_ref().map_err(|_| ()).and_then(|keeper| keeper.release(&name).map_err(|_| ()))
            {
                tracing::warn!(container = record.id.short(), ?error, name, "the keeper still holds a port");
            }
        } else if let Some(run) = container.run() {
            let address = std::net::SocketAddr::new(port.host_address, port.host_port);
            let protocol = port.protocol.number();
            if let Err(error) = run.request(|request| shim_api::ToShim::Release { request, protocol, address }) {
                tracing::warn!(container = record.id.short(), %error, "the shim still holds a port");
            }
        }
    }
    container.update(|record| {
        record.held_ports.retain(|port| !ports.contains(port));
        let gone: Vec<String> = ports.iter().map(|port| hold_name(record, port)).collect();
        record.kept_ports.retain(|name| !gone.contains(name));
    });
}

/// Reserved ports that go to the shim: a message carries 253 descriptors, and layers are among them.
const MOST_WITH_SHIM: usize = 64;

/// Leaves as many of the sockets that reserve `ports` as the shim is given; the keeper gets the others.
pub(super) fn keep_surplus<'a>(
    engine: &Engine,
    record: &Record,
    ports: impl Iterator<Item = &'a BoundPort>,
    holds: &mut Vec<std::os::fd::OwnedFd>,
    kept: &mut Vec<String>,
) -> Result<()> {
    if holds.len() <= MOST_WITH_SHIM {
        return Ok(());
    }
    let failed = |error| Error::system("keep a published port", error);
    let keeper = keeper::Keeper::connect(&engine.config.exec_root.join(KEEPER_SOCKET)).map_err(failed)?;
    let surplus = holds.split_off(MOST_WITH_SHIM);
    let ports = ports.filter(|port| port.host_port != 0).skip(MOST_WITH_SHIM);
    for (port, hold) in ports.zip(&surplus) {
        let name = hold_name(record, port);
        // Of a start that a daemon's end cut short.
        keeper.release(&name).map_err(failed)?;
        keeper.hold(&name, hold).map_err(failed)?;
        kept.push(name);
    }
    Ok(())
}

/// Under which name the keeper holds a port.
fn hold_name(record: &Record, port: &BoundPort) -> String {
    format!("port:{}:{}:{}:{}", record.id, port.protocol, port.host_address, port.host_port)
}

/// The endpoint as it is now goes into the record.
fn note(container: &Container, endpoint: EndpointRecord) {
    container.update(|record| {
        for attachment in &mut record.networks {
            if attachment.endpoint_id == endpoint.id {
                attachment.endpoint = Some(endpoint.clone());
            }
        }
    });
}

/// The ports that the keeper holds for a container which has ended are free again.
pub(super) fn let_go(engine: &Engine, record: &Record) {
    release_kept(engine, &record.kept_ports);
}

/// The keeper lets go of such ports.
pub(super) fn release_kept(engine: &Engine, names: &[String]) {
    if names.is_empty() {
        return;
    }
    match keeper::Keeper::connect(&engine.config.exec_root.join(KEEPER_SOCKET)) {
        Ok(keeper) => {
            for name in names {
                let _ = keeper.release(name);
            }
        }
        Err(error) => tracing::debug!(%error, "no keeper, so it holds no ports"),
    }
}
