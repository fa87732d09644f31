//! `GET /networks` and `GET /networks/{id}`.

use ::network::{Driver, NetworkRecord, options};
use api::filters::Filters;
use api::network::{ConfigFrom, EndpointResource, Ipam, IpamConfig, Network};

use super::find;
use crate::container::{EndpointNames, endpoint_resources};
use crate::{Engine, Error, Result, time};

/// All networks that pass the filters.
pub fn list(engine: &Engine, filters: &Filters) -> Result<Vec<Network>> {
    filters.check(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
    let dangling = if filters.contains("dangling") { Some(filters.bool_or("dangling", false)?) } else { None };
    for kind in filters.get("type") {
        if !matches!(kind, "builtin" | "custom") {
            return Err(Error::invalid(format!("invalid filter: 'type'='{kind}'")));
        }
    }
    let records = engine.networks.records();
    let endpoints = if dangling.is_some() { endpoint_resources(engine) } else { Vec::new() };
    let matching = records.iter().filter(|record| {
        let builtin = record.is_predefined();
        let used = endpoints.iter().any(|named| named.attachment.network_id == record.id);
        filters.matches("name", |part| record.name.contains(part))
            && filters.matches_prefix("id", &record.id)
            && filters.matches_exactly("driver", record.driver.as_str())
            && filters.matches_exactly("scope", "local")
            && filters.matches_exactly("type", if builtin { "builtin" } else { "custom" })
            && filters.matches_labels("label", &record.labels)
            // The built-in ones never count as unused.
            && dangling.is_none_or(|wanted| wanted == (!builtin && !used))
    });
    Ok(matching.map(|record| document(record, &[])).collect())
}

/// By name, id, or the beginning of an id.
pub fn inspect(engine: &Engine, id: &str, scope: &str) -> Result<Network> {
    let record = find(engine, id)?;
    if !matches!(scope, "" | "local") {
        return Err(Error::not_found(format!("network {id} not found")));
    }
    Ok(document(&record, &endpoint_resources(engine)))
}

fn document(record: &NetworkRecord, endpoints: &[EndpointNames]) -> Network {
    let config = record.subnets.iter().map(|subnet| IpamConfig {
        subnet: subnet.net.to_string(),
        ip_range: subnet.range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: subnet.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        auxiliary_addresses: subnet.auxiliary.iter().map(|(name, ip)| (name.clone(), ip.to_string())).collect(),
    });
    let config: Vec<IpamConfig> = config.collect();
    // Records of the built-in ones that are older than the difference have an empty list.
    let ipam_options = record.ipam_options.clone().filter(|_| !record.is_predefined());
    let ipam_options = ipam_options.map_or_else(api::Map::default, api::Map::from);
    let containers = endpoints
        .iter()
        .filter(|named| named.attachment.network_id == record.id && !named.attachment.endpoint_id.is_empty());
    Network {
        name: record.name.clone(),
        id: record.id.clone(),
        created: time::rfc3339(record.created),
        scope: "local".to_owned(),
        driver: if record.config_only { "null" } else { record.driver.as_str() }.to_owned(),
        enable_ipv4: record.ipv4,
        enable_ipv6: record.ipv6,
        ipam: Ipam {
            driver: "default".to_owned(),
            options: ipam_options,
            config: match record.driver {
                Driver::Bridge | Driver::Macvlan | Driver::Ipvlan | Driver::Overlay => config.into(),
                Driver::Host | Driver::Null => api::List::default(),
            },
        },
        internal: record.internal,
        attachable: record.attachable,
        config_from: ConfigFrom { network: record.config_from.clone() },
        config_only: record.config_only,
        containers: containers.map(|named| (named.container_id.clone(), resource(named))).collect(),
        options: options_of(record),
        labels: record.labels.clone().into_iter().collect(),
        ..Network::default()
    }
}

fn resource(named: &EndpointNames) -> EndpointResource {
    let endpoint = named.attachment.endpoint.as_ref();
    let address = |ipv6| {
        endpoint.and_then(|endpoint| endpoint.placed(ipv6)).map(|placed| placed.net.to_string()).unwrap_or_default()
    };
    EndpointResource {
        name: named.container_name.clone(),
        endpoint_id: named.attachment.endpoint_id.clone(),
        mac_address: endpoint.map(|endpoint| endpoint.mac.to_string()).unwrap_or_default(),
        ipv4_address: address(false),
        ipv6_address: address(true),
    }
}

/// As they were given; those of the default bridge follow from the daemon's settings.
fn options_of(record: &NetworkRecord) -> api::Map<String> {
    let Some(bridge) = record.bridge.as_ref().filter(|_| record.is_predefined()) else {
        return record.options.clone().into_iter().collect();
    };
    [
        (options::DEFAULT_BRIDGE, true.to_string()),
        (options::ICC, bridge.icc.to_string()),
        (options::MASQUERADE, bridge.masquerade.to_string()),
        (options::HOST_BINDING, "0.0.0.0".to_owned()),
        (options::BRIDGE_NAME, bridge.link.clone()),
        (options::MTU, bridge.mtu.to_string()),
    ]
    .into_iter()
    .collect()
}
