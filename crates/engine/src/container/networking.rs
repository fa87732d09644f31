//! A container's place in the network: which namespace, which endpoint, and the three files in `/etc`.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use api::container::{HostConfig, NetworkMode, PortKey};
use network::{Endpoint, EndpointConfig, EndpointRecord, HostPort, NetworkRecord, PortBinding, Route, Sandbox};

use super::attachment::Attachment;
use super::directory::{self, HOSTNAME, HOSTS, RESOLV_CONF, RESOLV_CONF_HASH};
use super::link::{self, Linked};
use super::{Record, spec};
use crate::events::Of;
use crate::id::ContainerId;
use crate::{Config, Engine, Error, Kind, Result};

/// The network namespace of a start.
pub(super) enum Namespace {
    /// The host's.
    Host,
    /// A prepared one of its own.
    Own(Sandbox),
    /// Another container's.
    Shared(OwnedFd),
}

impl Namespace {
    /// What the runtime is to join.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Namespace::Host => None,
            Namespace::Own(sandbox) => Some(sandbox.descriptor()),
            Namespace::Shared(descriptor) => Some(descriptor.as_fd()),
        }
    }
}

/// Whether the container has a network namespace of its own.
pub(super) fn makes_namespace(record: &Record) -> bool {
    let mode = NetworkMode::parse(&record.host_config.network_mode);
    !matches!(mode, NetworkMode::Host | NetworkMode::Container(_))
}

/// Finds or takes the namespace.
pub(super) fn namespace(engine: &Engine, record: &Record) -> Result<Namespace> {
    match NetworkMode::parse(&record.host_config.network_mode) {
        NetworkMode::Host => Ok(Namespace::Host),
        NetworkMode::Container(other) => {
            let other = engine.containers.find(&other)?;
            if !other.snapshot().state.phase.is_alive() || other.snapshot().state.pid == 0 {
                return Err(Error::conflict(format!(
                    "cannot join network namespace of a non running container: {}",
                    other.id
                )));
            }
            Ok(Namespace::Shared(namespace_of(&other.snapshot())?))
        }
        NetworkMode::Bridge | NetworkMode::None | NetworkMode::Named(_) => {
            let sandbox = engine.networks.sandbox();
            Ok(Namespace::Own(sandbox.map_err(|error| Error::system("failed to set up container networking", error))?))
        }
    }
}

/// The namespace of a running container.
pub(super) fn namespace_of(record: &Record) -> Result<OwnedFd> {
    let file = fs::File::open(format!("/proc/{}/ns/net", record.state.pid))
        .map_err(|error| Error::system("open the container's network namespace", error))?;
    Ok(file.into())
}

/// One network of a container that is about to start.
#[derive(Debug)]
pub(super) struct Planned {
    /// Which of the record's attachments.
    pub at: usize,
    pub network: NetworkRecord,
    /// `None` where the driver makes no endpoints.
    pub config: Option<EndpointConfig>,
}

/// Whether the container gets endpoints of bridges.
pub(super) fn wants_endpoint(record: &Record) -> bool {
    !record.config.network_disabled && NetworkMode::parse(&record.host_config.network_mode).is_networked()
}

/// Whether what is asked of the networks can be read at all.
pub(super) fn check(record: &Record) -> Result<()> {
    ports(record)?;
    mac(record, 0).map(drop)
}

/// What is asked of each of the container's networks.
pub(super) fn plan(engine: &Engine, record: &Record) -> Result<Vec<Planned>> {
    if record.config.network_disabled {
        return Ok(Vec::new());
    }
    let mut planned = Vec::new();
    let bridgeless = engine.networks.default_bridge().is_none();
    for (at, attachment) in record.networks.iter().enumerate() {
        // Who asks for the default network where there is none has none, as with Docker.
        if bridgeless && attachment.name == "bridge" {
            continue;
        }
        let network = crate::network::find(engine, &attachment.name)
            .or_else(|error| engine.networks.record(&attachment.network_id).ok_or(error))
            .map_err(|error| prefixed(error.kind, &error.message))?;
        check_joinable(&network)?;
        let config = match network.driver.has_endpoints() {
            true => Some(endpoint_config(record, at, &network)?),
            false => None,
        };
        planned.push(Planned { at, network, config });
    }
    let wanted = ports(record)?;
    let routes: Vec<Route> = planned.iter().map(|one| route(record, one.at, &one.network)).collect();
    let (ipv4, ipv6) = Route::choose(&routes);
    for (at, one) in planned.iter_mut().enumerate() {
        let Some(config) = &mut one.config else { continue };
        (config.default_ipv4, config.default_ipv6) = (ipv4 == Some(at), ipv6 == Some(at));
        config.ports = ports_of(&wanted, config.default_ipv4, config.default_ipv6, ipv6.is_some());
    }
    Ok(planned)
}

/// No container is in a network that only holds a configuration.
pub(super) fn check_joinable(network: &NetworkRecord) -> Result<()> {
    match network.config_only {
        true => {
            let name = &network.name;
            Err(Error::invalid(format!("network {name} is a configuration-only network: no container can be in it")))
        }
        false => Ok(()),
    }
}

/// Of the wanted ports those that one endpoint publishes. What names an IPv6 address goes where IPv6 leads out, or, if it
/// does nowhere, to whoever will refuse it.
pub(super) fn ports_of(wanted: &[PortBinding], ipv4: bool, ipv6: bool, somewhere: bool) -> Vec<PortBinding> {
    let here = |binding: &&PortBinding| match binding.host_address {
        None => ipv4 || ipv6,
        Some(IpAddr::V4(_)) => ipv4,
        Some(IpAddr::V6(_)) => ipv6 || (ipv4 && !somewhere),
    };
    wanted.iter().filter(here).cloned().collect()
}

/// What decides about the way out through one of the attachments.
pub(super) fn route(record: &Record, at: usize, network: &NetworkRecord) -> Route {
    let isolated = |mode: network::options::GatewayMode| mode == network::options::GatewayMode::Isolated;
    let bridge = network.bridge.as_ref();
    let joins = network.driver.has_endpoints();
    Route {
        network: network.name.clone(),
        priority: record.networks.get(at).map_or(0, |attachment| attachment.request.gw_priority),
        internal: network.internal,
        ipv4: network.ipv4 && joins && !bridge.is_some_and(|bridge| isolated(bridge.gateway_mode_v4)),
        ipv6: network.ipv6 && joins && !bridge.is_some_and(|bridge| isolated(bridge.gateway_mode_v6)),
    }
}

/// The Ethernet address that was asked for; the container's own old field counts for its first network.
fn mac(record: &Record, at: usize) -> Result<Option<network::MacAddress>> {
    let asked = record.networks.get(at).map_or("", |attachment| attachment.request.mac_address.as_str());
    let text = if asked.is_empty() && at == 0 { record.config.mac_address.as_str() } else { asked };
    match text {
        "" => Ok(None),
        text => Ok(Some(text.parse().map_err(|_| Error::invalid(format!("invalid MAC address: {text}")))?)),
    }
}

/// What is asked of one endpoint, without ports and ways out.
pub(super) fn endpoint_config(record: &Record, at: usize, network: &NetworkRecord) -> Result<EndpointConfig> {
    let attachment = record.networks.get(at).cloned().unwrap_or_default();
    let request = &attachment.request;
    let ipam = request.ipam_config.clone().unwrap_or_default();
    let address = |text: &str| match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| Error::invalid(format!("invalid IP address: {text}"))),
    };
    let options =
        network::options::endpoint(&request.driver_opts).map_err(|error| Error::invalid(error.to_string()))?;
    let before = attachment.endpoint.iter().filter(|endpoint| endpoint.network_id == network.id);
    Ok(EndpointConfig {
        container_id: record.id.as_str().to_owned(),
        network_id: Some(network.id.clone()),
        mac: mac(record, at)?,
        interface: options.interface,
        ipv4: address(&ipam.ipv4_address)?,
        ipv6: address(&ipam.ipv6_address)?,
        preferred: before.flat_map(|endpoint| endpoint.addresses()).collect(),
        link_local: ipam.link_local_ips.iter().filter_map(|text| text.parse().ok()).collect(),
        sysctls: options.sysctls,
        rate_in: options.rate_in,
        rate_out: options.rate_out,
        ..EndpointConfig::default()
    })
}

/// `-p` and `-P`.
pub(super) fn ports(record: &Record) -> Result<Vec<PortBinding>> {
    let host = &record.host_config;
    let mut wanted: BTreeMap<PortKey, Vec<PortBinding>> = BTreeMap::new();
    for (text, bindings) in &host.port_bindings {
        for key in PortKey::parse_range(text)? {
            for binding in bindings {
                let host_port = match binding.host_ports()? {
                    None => HostPort::Ephemeral,
                    Some((first, last)) if first == last => HostPort::Fixed(first),
                    Some((first, last)) => HostPort::Range(first, last),
                };
                let host_address = match binding.host_ip.as_str() {
                    "" => None,
                    text => Some(text.parse().map_err(|_| Error::invalid(format!("invalid IP address: {text}")))?),
                };
                wanted.entry(key).or_default().push(port(key, host_address, host_port));
            }
        }
    }
    if host.publish_all_ports {
        for text in record.config.exposed_ports.keys() {
            for key in PortKey::parse_range(text)? {
                wanted.entry(key).or_insert_with(|| vec![port(key, None, HostPort::Ephemeral)]);
            }
        }
    }
    Ok(wanted.into_values().flatten().collect())
}

fn port(key: PortKey, host_address: Option<IpAddr>, host_port: HostPort) -> PortBinding {
    PortBinding { container_port: key.port, protocol: protocol(key.protocol), host_address, host_port }
}

/// The same word of the other crate.
pub(super) fn protocol(protocol: api::container::Protocol) -> network::Protocol {
    match protocol {
        api::container::Protocol::Tcp => network::Protocol::Tcp,
        api::container::Protocol::Udp => network::Protocol::Udp,
        api::container::Protocol::Sctp => network::Protocol::Sctp,
    }
}

/// Connects the namespace to a network.
pub(super) fn attach(engine: &Engine, record: &Record, sandbox: &Sandbox, config: &EndpointConfig) -> Result<Endpoint> {
    engine.networks.attach(sandbox, config).map_err(|error| translate(record, error))
}

fn prefixed(kind: Kind, text: &str) -> Error {
    Error::new(kind, format!("failed to set up container networking: {text}"))
}

/// Docker's words around ours.
pub(super) fn translate(record: &Record, error: network::Error) -> Error {
    use network::Error as E;
    let ports = matches!(
        error,
        E::PortAllocated { .. }
            | E::AddressInUse { .. }
            | E::Bind { .. }
            | E::PortsExhausted { .. }
            | E::UnsupportedProtocol { .. }
            | E::Ipv6Disabled { .. }
            | E::NotForwardable { .. }
            | E::Forwarder { .. }
            | E::NftablesUnavailable { .. }
            | E::Nftables { .. }
    );
    let kind = match &error {
        E::AddressTaken { .. } => Kind::Forbidden,
        E::InvalidOption { .. } | E::NotPublishable { .. } => Kind::InvalidParameter,
        E::UnsupportedDriver { .. } | E::NoShaper | E::NotForwardable { .. } => Kind::NotImplemented,
        E::AddressOutside { .. } | E::Ipv6Disabled { .. } | E::InterfaceTaken { .. } => Kind::InvalidParameter,
        E::UnknownNetwork { .. } => Kind::NotFound,
        _ => Kind::System,
    };
    let chain = Error::system("", error).full_text();
    let inner = chain.strip_prefix(": ").unwrap_or(&chain);
    if ports {
        return Error::new(
            kind,
            format!(
                "failed to set up container networking: driver failed programming external connectivity on endpoint {} \
                 ({}): {inner}",
                record.name, record.id
            ),
        );
    }
    prefixed(kind, inner)
}

/// Releases address and ports.
pub(super) fn detach(engine: &Engine, endpoint: &EndpointRecord) {
    if let Err(error) = engine.networks.detach(endpoint) {
        let error = Error::system("detach", error);
        tracing::error!(endpoint = endpoint.id, error = error.full_text(), "the endpoint was not released completely");
    }
}

/// Tells of a connection or its end.
pub(super) fn publish(engine: &Engine, action: &str, record: &Record, attachment: &Attachment) {
    let driver = engine.networks.record(&attachment.network_id).map_or("bridge", |network| network.driver.as_str());
    let attributes =
        [("container", record.id.as_str().to_owned()), ("name", attachment.name.clone()), ("type", driver.to_owned())];
    engine.events.publish(Of::Network, action, &attachment.network_id, attributes.into_iter().collect());
}

/// Everything that the container's run had of its networks is given back.
pub(super) fn release(engine: &Engine, record: &Record) {
    super::resolver::forget(engine, record);
    engine.networks.release_forwards(record.id.as_str(), &record.held_ports);
    record.endpoints().for_each(|endpoint| detach(engine, endpoint));
    if let Err(error) = engine.networks.permit(record.id.as_str(), Vec::new()) {
        tracing::warn!(container = record.id.short(), %error, "links are still permitted");
    }
    super::connect::let_go(engine, record);
}

/// Lets a starting container talk to those it links to, where the default bridge lets nobody talk.
pub(super) fn permit(engine: &Engine, record: &Record) -> Result<()> {
    if engine.config.icc || record.links.is_empty() {
        return Ok(());
    }
    let permitted = engine.networks.permit(record.id.as_str(), link::permissions(engine, record));
    permitted.map_err(|error| translate(record, error))
}

/// Whose `/etc` files the container has: its own, or those of the container whose network it shares.
pub(super) fn owner(engine: &Engine, record: &Record) -> ContainerId {
    let mut owner = record.id.clone();
    let mut mode = NetworkMode::parse(&record.host_config.network_mode);
    // A chain of any length ends: nobody can share with a container that is made later.
    for _ in 0..64 {
        let NetworkMode::Container(other) = &mode else { break };
        let Ok(other) = engine.containers.find(other) else { break };
        owner = other.id.clone();
        mode = NetworkMode::parse(&other.snapshot().host_config.network_mode);
    }
    owner
}

/// Writes resolv.conf and hostname, and hosts as far as it is known before there is an endpoint.
pub(super) fn write_files(engine: &Engine, record: &Record) -> Result<()> {
    let own = engine.container_dir(&record.id);
    let mode = NetworkMode::parse(&record.host_config.network_mode);
    if matches!(mode, NetworkMode::Container(_)) {
        return Ok(()); // it has the other's
    }
    let hostname = spec::hostname(record, &engine.host);
    directory::write(&own, HOSTNAME, &network::hosts::hostname_file(&hostname))?;
    write_resolv_conf(engine, record)?;
    if !wants_endpoint(record) {
        write_hosts(engine, record, &[], &[])?;
    }
    Ok(())
}

/// Writes resolv.conf, and beside it what was written, to tell later whether somebody has changed it.
fn write_resolv_conf(engine: &Engine, record: &Record) -> Result<()> {
    let own = engine.container_dir(&record.id);
    let mode = NetworkMode::parse(&record.host_config.network_mode);
    let (path, host) =
        network::resolv::host_file().map_err(|error| Error::system("read the host's resolv.conf", error))?;
    let overrides = overrides(&engine.config, &record.host_config);
    let untouched = overrides.servers.is_empty() && overrides.search.is_empty() && overrides.options.is_empty();
    let text = if mode == NetworkMode::Host && untouched {
        host
    } else if super::resolver::is_wanted(record) {
        network::resolv::internal_resolv_conf(path, &host, &overrides)
    } else {
        let networks = record.networks.iter();
        let ipv6 = networks.filter_map(|attachment| crate::network::find(engine, &attachment.name).ok());
        network::resolv::container_resolv_conf(path, &host, &overrides, ipv6.into_iter().any(|network| network.ipv6))
    };
    directory::write(&own, RESOLV_CONF, &text)?;
    directory::write(&own, RESOLV_CONF_HASH, &oci::Digest::of(text.as_bytes()).hex())
}

/// A running container gets a resolver of ours: its resolv.conf says so, unless somebody has changed it.
pub(super) fn renew_resolv_conf(engine: &Engine, record: &Record) -> Result<()> {
    let own = engine.container_dir(&record.id);
    let read = |name: &str| fs::read_to_string(own.join(name)).unwrap_or_default();
    match oci::Digest::of(read(RESOLV_CONF).as_bytes()).hex() == read(RESOLV_CONF_HASH) {
        true => write_resolv_conf(engine, record),
        false => Ok(()),
    }
}

/// What resolv.conf says other than the host's. Pure.
pub(super) fn overrides(config: &Config, host: &HostConfig) -> network::resolv::Overrides {
    let pick = |own: &[String], default: &[String]| if own.is_empty() { default.to_vec() } else { own.to_vec() };
    network::resolv::Overrides {
        servers: pick(&host.dns, &config.dns),
        search: pick(&host.dns_search, &config.dns_search),
        options: pick(&host.dns_options, &config.dns_options),
    }
}

/// Writes hosts, in place: it may be mounted already.
pub(super) fn write_hosts(
    engine: &Engine,
    record: &Record,
    endpoints: &[&EndpointRecord],
    links: &[Linked],
) -> Result<()> {
    let own = engine.container_dir(&record.id);
    let mode = NetworkMode::parse(&record.host_config.network_mode);
    if mode == NetworkMode::Host && record.host_config.extra_hosts.is_empty() {
        let text = fs::read_to_string("/etc/hosts").unwrap_or_default();
        return directory::write(&own, HOSTS, &text);
    }
    let mut extra = Vec::new();
    for text in &record.host_config.extra_hosts {
        let (name, address) = text.split_once([':', '=']).unwrap_or((text, ""));
        let address = if address == "host-gateway" {
            crate::network::host_gateway(engine)
        } else {
            address.trim_start_matches('[').trim_end_matches(']').parse().ok()
        };
        let address = address.ok_or_else(|| Error::invalid(format!("invalid IP address in add-host: \"{text}\"")))?;
        extra.push((address, name.to_owned()));
    }
    extra.extend(link::hosts(links));
    let hostname = spec::hostname(record, &engine.host);
    let addresses: Vec<IpAddr> = endpoints.iter().flat_map(|endpoint| endpoint.addresses()).collect();
    let text = network::hosts::hosts_file(&network::hosts::Hosts {
        hostname: &hostname,
        domain: &record.config.domainname,
        addresses: &addresses,
        extra: &extra,
        ipv6: addresses.iter().any(IpAddr::is_ipv6),
    });
    directory::write(&own, HOSTS, &text)
}

/// Adds a running container's new addresses to hosts, or takes away those that it lost; what else was written there stays.
pub(super) fn change_hosts(engine: &Engine, record: &Record, endpoint: &EndpointRecord, present: bool) -> Result<()> {
    let own = engine.container_dir(&record.id);
    let hostname = spec::hostname(record, &engine.host);
    let names = match record.config.domainname.as_str() {
        "" => hostname,
        domain => format!("{hostname}.{domain} {hostname}"),
    };
    let path = own.join(HOSTS);
    let mut text = fs::read_to_string(&path).map_err(|error| Error::system("read the hosts file", error))?;
    for line in endpoint.addresses().map(|address| format!("{address}\t{names}\n")) {
        if present && text.split_inclusive('\n').any(|other| other == line) {
            continue;
        } else if present {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&line);
        } else {
            text = text.split_inclusive('\n').filter(|other| *other != line).collect();
        }
    }
    directory::write(&own, HOSTS, &text)
}

/// A living container's place in a network, for that network's document.
#[derive(Debug)]
pub(crate) struct EndpointNames {
    pub container_id: String,
    pub container_name: String,
    pub attachment: Attachment,
}

/// Those of all living containers.
pub(crate) fn endpoint_resources(engine: &Engine) -> Vec<EndpointNames> {
    let all = engine.containers.all();
    let living = all.iter().map(|container| container.snapshot()).filter(|record| record.state.phase.is_alive());
    living
        .flat_map(|record| {
            let named = |attachment: &Attachment| EndpointNames {
                container_id: record.id.as_str().to_owned(),
                container_name: record.name.clone(),
                attachment: attachment.clone(),
            };
            record.networks.iter().map(named).collect::<Vec<_>>()
        })
        .collect()
}
