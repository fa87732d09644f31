//! Ports that are served by a socket which listens, instead of being translated: which they are, and what the forwarder is
//! told of them.
//!
//! ```text
//!  reserved port ─listen─▶ keeper ("forward:tcp:[::1]:8080")     so that the forwarder can be started again
//!                     └──▶ forwarder (target)                    so that somebody accepts
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use forward::{Client, Forward};
use keeper::Keeper;
use rustix::event::{PollFd, PollFlags};

use super::{Networks, Shared, lock};
use crate::address::Protocol;
use crate::config::PublishedPorts;
use crate::endpoint::{BoundPort, EndpointRecord};
use crate::error::{Error, Result};

/// Before the names of such sockets in the keeper.
const PREFIX: &str = "forward:";

/// How the forwarder and the keeper are reached.
pub struct Forwarder {
    /// Path of the keeper's socket.
    pub keeper: PathBuf,
    /// Connects to the forwarder; starts it where there is none and the argument says so.
    pub connect: Box<dyn Fn(bool) -> std::io::Result<Client> + Send + Sync>,
}

/// What is known of the forwarder. Without one nothing is forwarded.
#[derive(Default)]
pub(super) struct Forwarding {
    reached: OnceLock<Forwarder>,
    client: Mutex<Option<Arc<Client>>>,
    /// Whose container's each forward is, by [`Forward::id`].
    owners: Mutex<HashMap<String, String>>,
}

/// A socket that is to be served.
pub(super) struct Socket {
    pub id: String,
    pub descriptor: OwnedFd,
}

/// What an endpoint's ports ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Planned {
    forward: Forward,
    /// `[::1]` beside a port of every IPv4 address: served if it was free.
    extra: bool,
}

/// The name of a socket.
pub(super) fn id(protocol: Protocol, listen: SocketAddr) -> Option<String> {
    let target = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
    Some(Forward { protocol: word(protocol)?, listen, target }.id())
}

fn word(protocol: Protocol) -> Option<forward::Protocol> {
    match protocol {
        Protocol::Tcp => Some(forward::Protocol::Tcp),
        Protocol::Udp => Some(forward::Protocol::Udp),
        Protocol::Sctp => None,
    }
}

/// Whether the socket that reserves the port also serves it.
pub(super) fn is_served(policy: PublishedPorts, address: IpAddr, protocol: Protocol) -> bool {
    let loopback = address == Ipv6Addr::UNSPECIFIED || address == Ipv6Addr::LOCALHOST;
    protocol != Protocol::Sctp && (loopback || policy == PublishedPorts::RespectHostFirewall)
}

/// What is to be forwarded of the endpoint's ports. Pure.
fn plan(policy: PublishedPorts, endpoint: &EndpointRecord) -> Vec<Planned> {
    let mut all = Vec::new();
    for port in endpoint.ports.iter().filter(|port| port.host_port != 0) {
        let Some(protocol) = word(port.protocol) else { continue };
        let ipv6 = port.host_address.is_ipv6();
        let Some(placed) = endpoint.placed(ipv6).or(endpoint.placed(!ipv6)) else { continue };
        let target = SocketAddr::new(placed.net.address, port.container_port);
        let mut push = |address: IpAddr, extra| {
            let listen = SocketAddr::new(address, port.host_port);
            all.push(Planned { forward: Forward { protocol, listen, target }, extra });
        };
        if is_served(policy, port.host_address, port.protocol) {
            push(port.host_address, false);
        }
        if port.host_address == Ipv4Addr::UNSPECIFIED && has_extra(&endpoint.ports, port) {
            push(Ipv6Addr::LOCALHOST.into(), true);
        }
    }
    all
}

/// Whether a port of every IPv4 address is not published on IPv6 itself.
fn has_extra(ports: &[BoundPort], port: &BoundPort) -> bool {
    let same = |other: &&BoundPort| other.protocol == port.protocol && other.host_port == port.host_port;
    !ports.iter().filter(same).any(|other| other.host_address.is_ipv6())
}

impl Networks {
    /// From now on ports are forwarded that cannot be translated. To be called once, before [`Networks::restore`].
    pub fn forward_with(&self, forwarder: Forwarder) {
        let _ = self.shared.forwarding.reached.set(forwarder);
    }

    /// After a restart of the daemon: exactly what the `living` containers' endpoints publish is forwarded. `held` are all
    /// ports that containers hold, with their containers' ids.
    pub fn restore_forwards(&self, living: &[EndpointRecord], held: &[(String, BoundPort)]) {
        let shared = &self.shared;
        let Some(reached) = shared.forwarding.reached.get() else { return };
        let policy = shared.config.published_ports;
        let wanted: Vec<(&str, Planned)> = living
            .iter()
            .flat_map(|endpoint| plan(policy, endpoint).into_iter().map(|one| (endpoint.container_id.as_str(), one)))
            .collect();
        let mut known: BTreeSet<String> = wanted.iter().map(|(_, planned)| planned.forward.id()).collect();
        for (container, port) in held {
            for id in ids(port) {
                lock(&shared.forwarding.owners).insert(id.clone(), container.clone());
                known.insert(id);
            }
        }
        if let Ok(keeper) = Keeper::connect(&reached.keeper) {
            for name in keeper.list().unwrap_or_default() {
                if name.strip_prefix(PREFIX).is_some_and(|id| !known.contains(id)) {
                    let _ = keeper.release(&name);
                }
            }
        }
        let wanted_ids: BTreeSet<String> = wanted.iter().map(|(_, planned)| planned.forward.id()).collect();
        if let Ok(client) = shared.forwarder(false) {
            for id in client.served().unwrap_or_default().into_iter().filter(|id| !wanted_ids.contains(id)) {
                let _ = client.withdraw(&id);
            }
        }
        shared.lead(&wanted).unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "published ports are not served");
        });
    }

    /// The ports are free again: nobody listens on them for the container any more.
    pub fn release_forwards(&self, container: &str, ports: &[BoundPort]) {
        self.shared.release_forwards(container, ports);
    }

    /// What is forwarded of an endpoint's ports.
    pub fn forwards_of(&self, endpoint: &EndpointRecord) -> Vec<Forward> {
        let served = self.forwarded();
        let planned = plan(self.shared.config.published_ports, endpoint).into_iter().map(|planned| planned.forward);
        planned.filter(|forward| served.contains(&forward.id())).collect()
    }

    /// What the forwarder serves, by `tcp:[::1]:8080`; nothing where none runs.
    fn forwarded(&self) -> Vec<String> {
        self.shared.forwarder(false).ok().and_then(|client| client.served().ok()).unwrap_or_default()
    }

    /// Ends the forwarder: nothing runs any more.
    pub fn stop_forwarder(&self) {
        let client = self.shared.forwarder(false);
        // Whoever watches over it sees that its end is wanted.
        *lock(&self.shared.forwarding.client) = None;
        if let Ok(client) = client
            && let Err(error) = client.stop()
        {
            tracing::debug!(%error, "the forwarder is still there");
        }
    }
}

/// The names that a port's sockets may have.
fn ids(port: &BoundPort) -> impl Iterator<Item = String> + '_ {
    let extra = (port.host_address == Ipv4Addr::UNSPECIFIED).then_some(Ipv6Addr::LOCALHOST.into());
    let addresses = std::iter::once(port.host_address).chain(extra).filter(|_| port.host_port != 0);
    addresses.filter_map(|address| id(port.protocol, SocketAddr::new(address, port.host_port)))
}

impl Shared {
    /// Whether there is a forwarder at all.
    pub(super) fn forwards(&self) -> bool {
        self.forwarding.reached.get().is_some()
    }

    /// The connection to the forwarder, which is started if it has to be.
    fn forwarder(self: &Arc<Shared>, start: bool) -> Result<Arc<Client>> {
        let failed = |source| Error::Forwarder { operation: "reach the forwarder of published ports", source };
        let missing = || failed(std::io::Error::from(std::io::ErrorKind::NotFound));
        let mut slot = lock(&self.forwarding.client);
        if let Some(client) = &*slot {
            return Ok(Arc::clone(client));
        }
        let reached = self.forwarding.reached.get().ok_or_else(missing)?;
        let client = Arc::new((reached.connect)(start).map_err(failed)?);
        *slot = Some(Arc::clone(&client));
        drop(slot);
        self.watch_forwarder(&client);
        Ok(client)
    }

    /// Waits for the end of the forwarder in a thread, then has another one serve what it did.
    fn watch_forwarder(self: &Arc<Shared>, client: &Client) {
        let process = match client.process() {
            Ok(process) => process,
            Err(error) => return tracing::warn!(%error, "the end of the forwarder will not be noticed"),
        };
        let shared = Arc::downgrade(self);
        let thread = std::thread::Builder::new().name("forwarder-watch".to_owned()).stack_size(256 * 1024);
        let watching = thread.spawn(move || {
            let mut ended = [PollFd::new(&process, PollFlags::IN)];
            let _ = rustix::io::retry_on_intr(|| rustix::event::poll(&mut ended, None));
            let Some(shared) = shared.upgrade() else { return };
            // On purpose, if nobody speaks with it any more.
            if lock(&shared.forwarding.client).take().is_none() {
                return;
            }
            tracing::warn!("the forwarder of published ports has ended, another one is started");
            let living: Vec<EndpointRecord> = lock(&shared.state).endpoints.values().cloned().collect();
            for endpoint in &living {
                if let Err(error) = shared.lead_here(endpoint) {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(endpoint = endpoint.id, error, "a published port is not served");
                }
            }
        });
        if let Err(error) = watching {
            tracing::warn!(%error, "the end of the forwarder will not be noticed");
        }
    }

    /// Serves the sockets of an endpoint's ports.
    pub(super) fn serve(self: &Arc<Shared>, endpoint: &EndpointRecord, sockets: &[Socket]) -> Result<()> {
        let Some(reached) = self.forwarding.reached.get().filter(|_| !sockets.is_empty()) else { return Ok(()) };
        let sockets: BTreeMap<&str, &OwnedFd> = sockets.iter().map(|s| (s.id.as_str(), &s.descriptor)).collect();
        let mut keeper = None;
        for planned in plan(self.config.published_ports, endpoint) {
            let id = planned.forward.id();
            let Some(socket) = sockets.get(id.as_str()) else { continue };
            lock(&self.forwarding.owners).insert(id.clone(), endpoint.container_id.clone());
            let served = (|| {
                let keeper = match &keeper {
                    Some(keeper) => keeper,
                    None => keeper.insert(Keeper::connect(&reached.keeper).map_err(kept)?),
                };
                let name = format!("{PREFIX}{id}");
                keeper.release(&name).map_err(kept)?;
                keeper.hold(&name, socket).map_err(kept)?;
                self.tell(|client| client.serve(&planned.forward, socket.as_fd()))
            })();
            match served {
                Err(error) if planned.extra => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(port = id, error, "a port does not answer on the IPv6 loopback address");
                }
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// Says something to the forwarder; to another one, if the one of before has just ended.
    fn tell<T>(self: &Arc<Shared>, say: impl Fn(&Client) -> Result<T, forward::Error>) -> Result<T> {
        let client = self.forwarder(true)?;
        let said = say(&client).or_else(|error| {
            if client.served().is_ok() {
                return Err(error);
            }
            let mut slot = lock(&self.forwarding.client);
            if slot.as_ref().is_some_and(|present| Arc::ptr_eq(present, &client)) {
                *slot = None;
            }
            drop(slot);
            let next = self.forwarder(true).map_err(|_| error)?;
            // Whoever watches over the one of before has the rest served.
            say(&next)
        });
        said.map_err(|error| Error::Forwarder {
            operation: "tell the forwarder of published ports",
            source: std::io::Error::other(error),
        })
    }

    /// What the forwarder has of an endpoint's ports leads to it from now on.
    pub(super) fn lead_here(self: &Arc<Shared>, endpoint: &EndpointRecord) -> Result<()> {
        let planned = plan(self.config.published_ports, endpoint).into_iter();
        self.lead(&planned.map(|one| (endpoint.container_id.as_str(), one)).collect::<Vec<_>>())
    }

    fn lead(self: &Arc<Shared>, wanted: &[(&str, Planned)]) -> Result<()> {
        let Some(reached) = self.forwarding.reached.get().filter(|_| !wanted.is_empty()) else { return Ok(()) };
        let keeper = Keeper::connect(&reached.keeper).map_err(kept)?;
        let mut outcome = Ok(());
        for (container, planned) in wanted {
            let id = planned.forward.id();
            let served = (|| {
                let Some(socket) = keeper.get(&format!("{PREFIX}{id}")).map_err(kept)? else {
                    if !planned.extra {
                        // Reserved by a daemon that translated it.
                        tracing::warn!(container, port = id, "not served until its container is started again");
                    }
                    return Ok(());
                };
                lock(&self.forwarding.owners).insert(id.clone(), (*container).to_owned());
                if self.tell(|client| client.redirect(&planned.forward))? {
                    return Ok(());
                }
                self.tell(|client| client.serve(&planned.forward, socket.as_fd()))
            })();
            outcome = outcome.and(served);
        }
        outcome
    }

    /// The container's ports lead nowhere, and stay its own.
    pub(super) fn pause_forwards(self: &Arc<Shared>, container: &str, ports: &[BoundPort]) {
        self.end_forwards(container, ports, false);
    }

    /// Nobody listens on the ports any more.
    pub(super) fn release_forwards(self: &Arc<Shared>, container: &str, ports: &[BoundPort]) {
        self.end_forwards(container, ports, true);
    }

    fn end_forwards(self: &Arc<Shared>, container: &str, ports: &[BoundPort], release: bool) {
        let Some(reached) = self.forwarding.reached.get() else { return };
        let mut keeper = None;
        for id in ports.iter().flat_map(ids) {
            let mut owners = lock(&self.forwarding.owners);
            if owners.get(&id).is_none_or(|owner| owner != container) {
                continue;
            }
            if release {
                owners.remove(&id);
            }
            drop(owners);
            if let Ok(client) = self.forwarder(false)
                && let Err(error) = client.withdraw(&id)
            {
                tracing::debug!(port = id, %error, "the socket went with the forwarder");
            }
            if release {
                keeper = keeper.or_else(|| Keeper::connect(&reached.keeper).ok());
                if let Some(Err(error)) = keeper.as_ref().map(|keeper| keeper.release(&format!("{PREFIX}{id}"))) {
                    tracing::warn!(port = id, %error, "the keeper still holds a port");
                }
            }
        }
    }
}

fn kept(error: keeper::Error) -> Error {
    Error::Forwarder { operation: "keep the socket of a published port", source: std::io::Error::other(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{IpNet, MacAddress};
    use crate::endpoint::Placed;

    #[test]
    fn what_is_forwarded() {
        use PublishedPorts::{Open, RespectHostFirewall as Respect};
        let check = |policy, ipv6: bool, ports: &[(&str, Protocol)], expected: &[&str]| {
            let placed = |text: &str| Some(Placed { net: text.parse::<IpNet>().unwrap(), gateway: None });
            let port = |(address, protocol): &(&str, Protocol)| BoundPort {
                container_port: 80,
                protocol: *protocol,
                host_address: address.parse().unwrap(),
                host_port: 8080,
            };
            let endpoint = EndpointRecord {
                id: "e".to_owned(),
                network_id: "n".to_owned(),
                container_id: "c".to_owned(),
                link: String::new(),
                interface: "eth0".to_owned(),
                mac: MacAddress([2, 0, 0, 0, 0, 1]),
                ipv4: placed("172.17.0.2/16"),
                ipv6: if ipv6 { placed("fd00::2/64") } else { None },
                link_local: Vec::new(),
                routed: false,
                ports: ports.iter().map(port).collect(),
            };
            let found: Vec<String> = plan(policy, &endpoint)
                .iter()
                .map(|one| {
                    let extra = if one.extra { "?" } else { "" };
                    format!("{}{extra} {}", one.forward.id(), one.forward.target)
                })
                .collect();
            assert_eq!(found, expected);
        };
        use Protocol::{Sctp, Tcp, Udp};
        check(Open, false, &[("0.0.0.0", Tcp)], &["tcp:[::1]:8080? 172.17.0.2:80"]);
        check(Open, false, &[("127.0.0.1", Tcp), ("10.0.0.1", Udp), ("0.0.0.0", Sctp)], &[]);
        check(Open, true, &[("0.0.0.0", Tcp), ("::", Tcp)], &["tcp:[::]:8080 [fd00::2]:80"]);
        check(Open, false, &[("::1", Udp)], &["udp:[::1]:8080 172.17.0.2:80"]);
        check(Open, true, &[("2001:db8::1", Tcp)], &[]);
        check(Respect, false, &[("10.0.0.1", Tcp)], &["tcp:10.0.0.1:8080 172.17.0.2:80"]);
        check(
            Respect,
            false,
            &[("0.0.0.0", Udp)],
            &["udp:0.0.0.0:8080 172.17.0.2:80", "udp:[::1]:8080? 172.17.0.2:80"],
        );
        check(Respect, false, &[("0.0.0.0", Sctp)], &[]);
    }
}
