//! A container's place in the network: which namespace, which endpoint, and the three files in `/etc`.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use api::container::{NetworkMode, PortKey};
use network::{Endpoint, EndpointConfig, EndpointRecord, HostPort, PortBinding, Sandbox};

use super::directory::{self, HOSTNAME, HOSTS, RESOLV_CONF};
use super::link::{self, Linked};
use super::{Record, spec};
use crate::events::Of;
use crate::{Engine, Error, Kind, Result};

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

/// Finds or takes the namespace.
pub(super) fn namespace(engine: &Engine, record: &Record) -> Result<Namespace> {
    match NetworkMode::parse(&record.host_config.network_mode) {
        NetworkMode::Host => Ok(Namespace::Host),
        NetworkMode::Container(other) => {
            let other = engine.containers.find(&other)?;
            let pid = other.snapshot().state.pid;
            if !other.snapshot().state.phase.is_alive() || pid == 0 {
                return Err(Error::conflict(format!(
                    "cannot join network namespace of a non running container: {}",
                    other.id
                )));
            }
            let file = fs::File::open(format!("/proc/{pid}/ns/net"))
                .map_err(|error| Error::system("open the other container's network namespace", error))?;
            Ok(Namespace::Shared(file.into()))
        }
        NetworkMode::Bridge | NetworkMode::None | NetworkMode::Named(_) => {
            let sandbox = engine.networks.sandbox();
            Ok(Namespace::Own(sandbox.map_err(|error| Error::system("failed to set up container networking", error))?))
        }
    }
}

/// Whether the container gets an endpoint.
pub(super) fn wants_endpoint(record: &Record) -> bool {
    !record.config.network_disabled && NetworkMode::parse(&record.host_config.network_mode).is_networked()
}

/// What is asked of the endpoint. Pure.
pub(super) fn endpoint_config(record: &Record) -> Result<EndpointConfig> {
    let request = &record.endpoint_request;
    let mac = if request.mac_address.is_empty() { &record.config.mac_address } else { &request.mac_address };
    let mac = match mac.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| Error::invalid(format!("invalid MAC address: {text}")))?),
    };
    let address = request.ipam_config.as_ref().map(|ipam| ipam.ipv4_address.as_str()).filter(|text| !text.is_empty());
    let address = match address {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| Error::invalid(format!("invalid IPv4 address: {text}")))?),
    };
    Ok(EndpointConfig {
        container_id: record.id.as_str().to_owned(),
        mac,
        address,
        ports: ports(record)?,
        ..EndpointConfig::default()
    })
}

/// `-p` and `-P`.
fn ports(record: &Record) -> Result<Vec<PortBinding>> {
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
    let protocol = match key.protocol {
        api::container::Protocol::Tcp => network::Protocol::Tcp,
        api::container::Protocol::Udp => network::Protocol::Udp,
        api::container::Protocol::Sctp => network::Protocol::Sctp,
    };
    PortBinding { container_port: key.port, protocol, host_address, host_port }
}

/// Connects the namespace to the default bridge.
pub(super) fn attach(engine: &Engine, record: &Record, sandbox: &Sandbox, config: &EndpointConfig) -> Result<Endpoint> {
    let endpoint = engine.networks.attach(sandbox, config).map_err(|error| translate(record, error))?;
    publish(engine, "connect", &endpoint.record);
    Ok(endpoint)
}

/// Docker's words around ours.
fn translate(record: &Record, error: network::Error) -> Error {
    use network::Error as E;
    let ports = matches!(
        error,
        E::PortAllocated { .. }
            | E::AddressInUse { .. }
            | E::Bind { .. }
            | E::PortsExhausted { .. }
            | E::UnsupportedProtocol { .. }
            | E::Ipv6Disabled { .. }
            | E::NftablesUnavailable { .. }
            | E::Nftables { .. }
    );
    let kind = match &error {
        E::AddressTaken { .. } => Kind::Forbidden,
        E::AddressOutside { .. } => Kind::InvalidParameter,
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
    Error::new(kind, format!("failed to set up container networking: {inner}"))
}

/// Releases address and ports.
pub(super) fn detach(engine: &Engine, endpoint: &EndpointRecord) {
    if let Err(error) = engine.networks.detach(endpoint) {
        let error = Error::system("detach", error);
        tracing::error!(endpoint = endpoint.id, error = error.full_text(), "the endpoint was not released completely");
    }
}

/// Tells of a connection or its end.
pub(super) fn publish(engine: &Engine, action: &str, endpoint: &EndpointRecord) {
    let name = engine.networks.records().into_iter().find(|record| record.id == endpoint.network_id);
    let name = name.map_or_else(|| "bridge".to_owned(), |record| record.name);
    let attributes = [("container", endpoint.container_id.clone()), ("name", name), ("type", "bridge".to_owned())];
    engine.events.publish(Of::Network, action, &endpoint.network_id, attributes.into_iter().collect());
}

/// Writes resolv.conf and hostname, and hosts as far as it is known before there is an endpoint.
pub(super) fn write_files(engine: &Engine, record: &Record) -> Result<()> {
    let own = engine.container_dir(&record.id);
    let mode = NetworkMode::parse(&record.host_config.network_mode);
    if let NetworkMode::Container(other) = &mode {
        // Docker shares the other's files; ours are copies of them at the start.
        let other = engine.container_dir(&engine.containers.find(other)?.id);
        for name in [RESOLV_CONF, HOSTS, HOSTNAME] {
            let text = fs::read_to_string(other.join(name)).unwrap_or_default();
            directory::write(&own, name, &text)?;
        }
        return Ok(());
    }
    let hostname = spec::hostname(record, &engine.host);
    directory::write(&own, HOSTNAME, &network::hosts::hostname_file(&hostname))?;
    let (path, host) =
        network::resolv::host_file().map_err(|error| Error::system("read the host's resolv.conf", error))?;
    let overrides = overrides(engine, record);
    let untouched = overrides.servers.is_empty() && overrides.search.is_empty() && overrides.options.is_empty();
    let text = if mode == NetworkMode::Host && untouched {
        host
    } else {
        network::resolv::container_resolv_conf(path, &host, &overrides, false)
    };
    directory::write(&own, RESOLV_CONF, &text)?;
    if !wants_endpoint(record) {
        write_hosts(engine, record, None, &[])?;
    }
    Ok(())
}

fn overrides(engine: &Engine, record: &Record) -> network::resolv::Overrides {
    let host = &record.host_config;
    let pick = |own: &[String], default: &[String]| if own.is_empty() { default.to_vec() } else { own.to_vec() };
    network::resolv::Overrides {
        servers: pick(&host.dns, &engine.config.dns),
        search: pick(&host.dns_search, &engine.config.dns_search),
        options: pick(&host.dns_options, &engine.config.dns_options),
    }
}

/// Writes hosts, in place: it may be mounted already.
pub(super) fn write_hosts(
    engine: &Engine,
    record: &Record,
    endpoint: Option<&EndpointRecord>,
    links: &[Linked],
) -> Result<()> {
    let own = engine.container_dir(&record.id);
    let mode = NetworkMode::parse(&record.host_config.network_mode);
    if mode == NetworkMode::Host && record.host_config.extra_hosts.is_empty() {
        let text = fs::read_to_string("/etc/hosts").unwrap_or_default();
        return directory::write(&own, HOSTS, &text);
    }
    let gateway = endpoint.map(|endpoint| IpAddr::from(endpoint.gateway));
    let mut extra = Vec::new();
    for text in &record.host_config.extra_hosts {
        let (name, address) = text.split_once(':').unwrap_or((text, ""));
        let address = if address == "host-gateway" {
            gateway.or_else(|| engine.networks.default_bridge().bridge.map(|bridge| bridge.gateway.into()))
        } else {
            address.trim_start_matches('[').trim_end_matches(']').parse().ok()
        };
        let address = address.ok_or_else(|| Error::invalid(format!("invalid IP address in add-host: \"{text}\"")))?;
        extra.push((address, name.to_owned()));
    }
    extra.extend(link::hosts(links));
    let hostname = spec::hostname(record, &engine.host);
    let addresses: Vec<IpAddr> = endpoint.map(|endpoint| endpoint.address.into()).into_iter().collect();
    let text = network::hosts::hosts_file(&network::hosts::Hosts {
        hostname: &hostname,
        domain: &record.config.domainname,
        addresses: &addresses,
        extra: &extra,
        ipv6: false,
    });
    directory::write(&own, HOSTS, &text)
}

/// A living container's endpoint, for a network's document.
#[derive(Debug)]
pub(crate) struct EndpointNames {
    pub container_id: String,
    pub container_name: String,
    pub endpoint: EndpointRecord,
}

/// The endpoints of all living containers.
pub(crate) fn endpoint_resources(engine: &Engine) -> Vec<EndpointNames> {
    let all = engine.containers.all();
    all.iter()
        .filter_map(|container| {
            let record = container.snapshot();
            let endpoint = record.endpoint.clone().filter(|_| record.state.phase.is_alive())?;
            Some(EndpointNames {
                container_id: record.id.as_str().to_owned(),
                container_name: record.name.clone(),
                endpoint,
            })
        })
        .collect()
}
