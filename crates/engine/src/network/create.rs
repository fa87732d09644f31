//! `POST /networks/create`.

use std::collections::BTreeMap;

use ::network::{Driver, NetworkConfig, SubnetConfig};
use api::network::{Ipam, NetworkCreateRequest, NetworkCreateResponse};

use super::{find, publish, put};
use crate::{Engine, Error, Kind, Result};

/// Longest name.
const MAX_NAME: usize = 255;

/// Makes a network.
pub fn create(engine: &Engine, request: &NetworkCreateRequest) -> Result<NetworkCreateResponse> {
    check_name(&request.name)?;
    let driver = driver(&request.driver)?;
    // Docker's clients say swarm for an overlay; ours is known by this host alone.
    let scoped = request.scope == "swarm" && driver == Driver::Overlay;
    if !scoped && !matches!(request.scope.as_str(), "" | "local") {
        return Err(Error::not_implemented(&format!("networks of the scope {}", request.scope)));
    }
    if request.ingress {
        return Err(Error::not_implemented("ingress networks, which are Swarm's"));
    }
    let ipam = request.ipam.clone().unwrap_or_default();
    if !matches!(ipam.driver.as_str(), "" | "default") {
        return Err(Error::invalid(format!(
            "could not find plugin {} in v1 plugin registry: plugin not found",
            ipam.driver
        ))
        .with_kind(Kind::NotFound));
    }
    if let Some(name) = ipam.options.keys().next() {
        return Err(Error::invalid(format!("unknown option \"{name}\" for the IPAM driver default")));
    }
    let source = request.config_from.clone().unwrap_or_default().network;
    if engine.networks.records().iter().any(|record| record.name == request.name) {
        return Err(taken(&request.name));
    }
    let config = match source.as_str() {
        "" => config(engine, request, driver, &ipam)?,
        source => from_other(engine, request, driver, &ipam, source)?,
    };
    let mut refused = None;
    let commit = |record: &::network::NetworkRecord| {
        put(&engine.store, record).map_err(|error| {
            refused = Some(error);
            ::network::Error::NameTaken { name: record.name.clone() }
        })
    };
    let made = engine.networks.create(&config, commit);
    let record = match (made, refused) {
        (Ok(record), _) => record,
        (Err(_), Some(error)) => return Err(error),
        (Err(error), None) => {
            forget(engine, &config.name);
            return Err(translate(error));
        }
    };
    crate::container::serve_peers(engine, &record);
    publish(engine, "create", &record);
    Ok(NetworkCreateResponse { id: record.id, warning: String::new() })
}

/// The record of a network that did not come about.
fn forget(engine: &Engine, name: &str) {
    if engine.networks.records().iter().any(|record| record.name == name) {
        return;
    }
    if let Ok(Some(left)) = engine.store.records().by_name(super::KIND, name)
        && let Err(error) = engine.store.records().delete(super::KIND, &left.id)
    {
        tracing::error!(network = name, %error, "the record of a network that failed is still there");
    }
}

fn taken(name: &str) -> Error {
    Error::conflict(format!("network with name {name} already exists"))
}

fn check_name(name: &str) -> Result<()> {
    if matches!(name, "bridge" | "host" | "none" | "default") {
        let text = format!("operation is not permitted on predefined {name} network ");
        return Err(Error::new(Kind::Forbidden, text));
    }
    if name.trim().is_empty() {
        return Err(Error::invalid("invalid network name: name is empty"));
    }
    let odd = |c: char| c.is_control() || matches!(c, '/' | ':');
    if name.len() > MAX_NAME || name.contains(odd) || name.trim() != name || name.starts_with('-') {
        return Err(Error::invalid(format!("invalid network name: {name:?}")));
    }
    Ok(())
}

fn driver(name: &str) -> Result<Driver> {
    match name {
        "" | "bridge" => Ok(Driver::Bridge),
        "host" | "null" => {
            Err(Error::new(Kind::Forbidden, format!("only one instance of \"{name}\" network is allowed")))
        }
        "macvlan" => Ok(Driver::Macvlan),
        "ipvlan" => Ok(Driver::Ipvlan),
        "overlay" => Ok(Driver::Overlay),
        _ => Err(Error::not_found(format!("could not find plugin {name} in v1 plugin registry: plugin not found"))),
    }
}

fn config(engine: &Engine, request: &NetworkCreateRequest, driver: Driver, ipam: &Ipam) -> Result<NetworkConfig> {
    let mut options: BTreeMap<String, String> = request.options.clone().into_inner();
    let defaults = engine.config.network_options.iter().filter(|_| driver == Driver::Bridge);
    for (name, value) in defaults {
        options.entry(name.clone()).or_insert_with(|| value.clone());
    }
    let switch = |given: Option<bool>, option: &str, default: bool| match (given, options.get(option)) {
        (Some(given), _) => Ok(given),
        (None, None) => Ok(default),
        (None, Some(text)) => text
            .parse()
            .map_err(|_| Error::invalid(format!("invalid value \"{text}\" of {option}: it is not a boolean"))),
    };
    let ipv4 = switch(request.enable_ipv4, ::network::options::ENABLE_IPV4, true)?;
    let ipv6 = switch(request.enable_ipv6, ::network::options::ENABLE_IPV6, false)?;
    let subnet = |config: &api::network::IpamConfig| SubnetConfig {
        subnet: config.subnet.clone(),
        range: config.ip_range.clone(),
        gateway: config.gateway.clone(),
        auxiliary: config.auxiliary_addresses.clone().into_inner(),
    };
    Ok(NetworkConfig {
        name: request.name.clone(),
        driver,
        labels: request.labels.clone().into_inner(),
        ipam_options: (!ipam.options.is_null()).then(|| ipam.options.clone().into_inner()),
        ipv4,
        ipv6,
        internal: request.internal,
        attachable: request.attachable,
        config_only: request.config_only,
        config_from: String::new(),
        subnets: ipam.config.iter().map(subnet).collect(),
        options,
    })
}

/// With the configuration of a network that was made for that.
fn from_other(
    engine: &Engine,
    request: &NetworkCreateRequest,
    driver: Driver,
    ipam: &Ipam,
    source: &str,
) -> Result<NetworkConfig> {
    if request.config_only {
        return Err(Error::invalid("a configuration-only network cannot depend on another one"));
    }
    let own = !request.options.is_empty() || !ipam.config.is_empty() || request.enable_ipv6 == Some(true);
    if own || request.internal || request.attachable {
        return Err(Error::new(
            Kind::Forbidden,
            "user specified configurations are not supported if the network depends on a configuration network",
        ));
    }
    let missing = || Error::not_found(format!("configuration network \"{source}\" does not exist"));
    let record = find(engine, source).map_err(|_| missing())?;
    if !record.config_only {
        return Err(Error::new(Kind::Forbidden, format!("network \"{source}\" is not a configuration network")));
    }
    let subnet = |subnet: &::network::Subnet| SubnetConfig {
        subnet: subnet.net.to_string(),
        range: subnet.range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: subnet.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        auxiliary: subnet.auxiliary.iter().map(|(name, address)| (name.clone(), address.to_string())).collect(),
    };
    let mut labels = record.labels.clone();
    labels.extend(request.labels.clone().into_inner());
    Ok(NetworkConfig {
        name: request.name.clone(),
        driver,
        labels,
        options: record.options.clone(),
        ipam_options: record.ipam_options.clone(),
        ipv4: record.ipv4,
        ipv6: record.ipv6,
        internal: record.internal,
        attachable: record.attachable,
        config_only: false,
        config_from: record.name.clone(),
        subnets: record.subnets.iter().map(subnet).collect(),
    })
}

fn translate(error: ::network::Error) -> Error {
    use ::network::Error as E;
    let kind = match &error {
        E::InvalidNetwork { .. } | E::InvalidOption { .. } | E::UnknownOption { .. } => Kind::InvalidParameter,
        E::NameTaken { .. } => Kind::Conflict,
        E::OverlayRange => Kind::InvalidParameter,
        E::PoolOverlaps { .. } | E::BridgeTaken { .. } | E::ParentTaken { .. } => Kind::Forbidden,
        E::UnsupportedDriver { .. } => Kind::NotImplemented,
        _ => Kind::System,
    };
    let chain = Error::system("", error).full_text();
    Error::new(kind, chain.strip_prefix(": ").unwrap_or(&chain))
}
