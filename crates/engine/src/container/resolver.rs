//! Names of containers in user-defined networks: what the resolver is told of a container, and when.
//!
//! ```text
//!  start, connect      serve (sockets in the namespace, once) ─▶ set (names, addresses)
//!  rename, disconnect  set or remove, change
//!  exit                remove ─▶ drop: the namespace is held by nobody any more
//!  a new daemon        what is served is found; only what is missing is made
//! ```

use std::collections::HashSet;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use dns::{Endpoint, Sandbox};
use network::{NetworkRecord, ResolverSockets, Route};

use super::attachment::dns_names;
use super::{Record, networking};
use crate::network::is_user_defined;
use crate::{Engine, Error, Result};

/// Whether the container has a resolver of ours: it is in a network that a user made.
pub(super) fn is_wanted(record: &Record) -> bool {
    networking::wants_endpoint(record) && record.networks.iter().any(|attachment| is_user_defined(&attachment.name))
}

fn failed(error: dns::Error) -> Error {
    Error::system("tell the resolver", error)
}

/// Takes a container's sandbox up, or changes what it may ask; and tells its names.
pub(super) fn serve(engine: &Engine, record: &Record, namespace: BorrowedFd<'_>) -> Result<()> {
    if !is_wanted(record) {
        return Ok(());
    }
    match try_serve(engine, record, namespace) {
        // It has just ended, and whoever watches it may not have noticed yet.
        Err(_) if engine.resolver.connected().is_none_or(|client| client.sandboxes().is_err()) => {
            engine.resolver.forget();
            serve_living(engine)?;
            try_serve(engine, record, namespace)
        }
        outcome => outcome,
    }
}

fn try_serve(engine: &Engine, record: &Record, namespace: BorrowedFd<'_>) -> Result<()> {
    take_up(engine, record, namespace)?;
    let client = engine.resolver.ensure(engine)?;
    endpoints(record).try_for_each(|endpoint| client.set(endpoint)).map_err(failed)
}

/// A build's step asks for others' names, and has none.
pub(super) fn serve_step(engine: &Engine, record: &Record, namespace: BorrowedFd<'_>) -> Result<()> {
    take_up(engine, record, namespace)
}

fn take_up(engine: &Engine, record: &Record, namespace: BorrowedFd<'_>) -> Result<()> {
    let client = engine.resolver.ensure(engine)?;
    let id = record.id.as_str();
    if engine.resolver.serves(id) {
        client.change(sandbox(engine, record)).map_err(failed)?;
    } else {
        let sockets = ResolverSockets::new(namespace)
            .map_err(|error| Error::system("failed to set up container networking", error))?;
        client.serve(sandbox(engine, record), sockets.udp.as_fd(), sockets.tcp.as_fd(), namespace).map_err(failed)?;
        engine.resolver.note(id, true);
    }
    Ok(())
}

/// A living container has another name, or other networks.
pub(super) fn renew(engine: &Engine, record: &Record) {
    let Some(client) = engine.resolver.connected().filter(|_| is_wanted(record)) else { return };
    let told = client
        .change(sandbox(engine, record))
        .and_then(|()| endpoints(record).try_for_each(|endpoint| client.set(endpoint)));
    if let Err(error) = told {
        tracing::warn!(container = record.id.short(), %error, "the container's names are out of date");
    }
}

/// An endpoint is no more.
pub(super) fn remove(engine: &Engine, endpoint: &str) {
    if let Some(client) = engine.resolver.connected()
        && let Err(error) = client.remove(endpoint)
    {
        tracing::debug!(endpoint, %error, "the names went with the resolver");
    }
}

/// A container has ended: its names go, and its sockets, which hold its namespace.
pub(super) fn forget(engine: &Engine, record: &Record) {
    let Some(client) = engine.resolver.connected() else { return };
    record.endpoints().for_each(|endpoint| remove(engine, &endpoint.id));
    if engine.resolver.serves(record.id.as_str()) {
        engine.resolver.note(record.id.as_str(), false);
        if let Err(error) = client.drop_sandbox(record.id.as_str()) {
            tracing::debug!(container = record.id.short(), %error, "the sockets went with the resolver");
        }
    }
}

/// After the opening: the resolver serves the living containers, and only those.
pub(super) fn restore(engine: &Arc<Engine>) -> Result<()> {
    let living = living(engine);
    let shared = overlays(engine);
    let Some(client) = engine.resolver.find() else {
        return if living.is_empty() && shared.is_empty() { Ok(()) } else { serve_living(engine) };
    };
    let known: HashSet<String> =
        living.iter().map(|record| record.id.as_str().to_owned()).chain(shared.iter().map(peers_id)).collect();
    for id in client.sandboxes().map_err(failed)? {
        if known.contains(&id) {
            engine.resolver.note(&id, true);
        } else {
            client.drop_sandbox(&id).map_err(failed)?;
        }
    }
    serve_living(engine)
}

/// Another resolver serves what the one before did.
pub(crate) fn serve_names(engine: &Engine) {
    if let Err(error) = serve_living(engine) {
        tracing::error!(error = error.full_text(), "the running containers do not find each other by name");
    }
}

fn living(engine: &Engine) -> Vec<Arc<Record>> {
    let all = engine.containers.all();
    let records = all.iter().map(|container| container.snapshot());
    records.filter(|record| record.state.phase.is_alive() && is_wanted(record)).collect()
}

/// All living containers' names, without a moment in which one is missing; and the sockets that are.
fn serve_living(engine: &Engine) -> Result<()> {
    let living = living(engine);
    for network in overlays(engine) {
        serve_peers(engine, &network);
    }
    if living.is_empty() {
        return Ok(());
    }
    let client = engine.resolver.ensure(engine)?;
    client.set_all(living.iter().flat_map(|record| endpoints(record).collect::<Vec<_>>()).collect()).map_err(failed)?;
    for record in &living {
        let served =
            networking::namespace_of(record).and_then(|namespace| try_serve(engine, record, namespace.as_fd()));
        if let Err(error) = served {
            tracing::error!(container = record.id.short(), error = error.full_text(), "it has no resolver");
        }
    }
    Ok(())
}

fn overlays(engine: &Engine) -> Vec<NetworkRecord> {
    engine.networks.records().into_iter().filter(|network| network.overlay.is_some()).collect()
}

/// Under which name the resolver serves the other hosts of a network.
fn peers_id(network: &NetworkRecord) -> String {
    format!("network:{}", network.id)
}

/// The other hosts of an overlay network may ask for the names of its containers here.
pub(crate) fn serve_peers(engine: &Engine, network: &NetworkRecord) {
    if network.overlay.is_none() || engine.resolver.serves(&peers_id(network)) {
        return;
    }
    let served = (|| {
        let sockets = engine.networks.peer_sockets(network).map_err(|error| Error::system("listen", error))?;
        let own = std::fs::File::open("/proc/thread-self/ns/net").map_err(|error| Error::system("listen", error))?;
        let sandbox =
            Sandbox { id: peers_id(network), networks: vec![network.id.clone()], of_peers: true, ..Sandbox::default() };
        let client = engine.resolver.ensure(engine)?;
        client.serve(sandbox, sockets.udp.as_fd(), sockets.tcp.as_fd(), own.as_fd()).map_err(failed)?;
        engine.resolver.note(&peers_id(network), true);
        Ok(())
    })();
    if let Err(error) = served {
        let error: Error = error;
        tracing::error!(network = network.name, error = error.full_text(), "its other hosts do not learn names here");
    }
}

/// A network is no more.
pub(crate) fn forget_peers(engine: &Engine, network: &NetworkRecord) {
    let id = peers_id(network);
    if engine.resolver.serves(&id) {
        engine.resolver.note(&id, false);
        if let Some(client) = engine.resolver.connected()
            && let Err(error) = client.drop_sandbox(&id)
        {
            tracing::debug!(network = network.name, %error, "the sockets went with the resolver");
        }
    }
}

/// What the resolver is to know of a container's network stack.
fn sandbox(engine: &Engine, record: &Record) -> Sandbox {
    let mut routes: Vec<Route> = Vec::new();
    let mut networks: Vec<String> = Vec::new();
    let mut peers: Vec<SocketAddr> = Vec::new();
    for (at, attachment) in record.networks.iter().enumerate() {
        if let (Some(_), Some(network)) = (&attachment.endpoint, engine.networks.record(&attachment.network_id)) {
            routes.push(networking::route(record, at, &network));
            let resolvers = network.overlay.iter().flat_map(|overlay| &overlay.resolvers);
            peers.extend(resolvers.map(|peer| SocketAddr::new(*peer, ::network::overlay::RESOLVER_PORT)));
            networks.push(network.id);
        }
    }
    let forwards = routes.iter().any(|route| !route.internal);
    let (ipv4, ipv6) = Route::choose(&routes);
    if let Some(first) = ipv4.or(ipv6) {
        networks[..=first].rotate_right(1);
    }
    let link = |text: &String| {
        let (target, alias) = super::link::parse(text).ok()?;
        let target = engine.containers.find(target).map_or(target.to_owned(), |target| target.snapshot().name.clone());
        Some((alias.to_owned(), target))
    };
    let links = record.networks.iter().flat_map(|attachment| attachment.request.links.iter()).filter_map(link);
    let servers = match record.host_config.dns.is_empty() {
        true => &engine.config.dns,
        false => &*record.host_config.dns,
    };
    Sandbox {
        id: record.id.as_str().to_owned(),
        networks,
        links: links.collect(),
        servers: servers.iter().filter_map(|text| text.parse().ok()).collect(),
        forwards,
        peers,
        of_peers: false,
    }
}

/// The container's names, network by network.
fn endpoints(record: &Record) -> impl Iterator<Item = Endpoint> + '_ {
    let named = record.networks.iter().filter(|attachment| is_user_defined(&attachment.name));
    named.filter_map(|attachment| {
        let endpoint = attachment.endpoint.as_ref()?;
        Some(Endpoint {
            id: endpoint.id.clone(),
            network: attachment.network_id.clone(),
            network_name: attachment.name.clone(),
            names: dns_names(record, attachment),
            addresses: endpoint.addresses().collect(),
        })
    })
}
