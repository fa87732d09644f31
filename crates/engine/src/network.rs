//! Networks: the three that are always there.

use ::network::{Driver, NetworkRecord, Networks};
use api::filters::Filters;
use api::network::{EndpointResource, Ipam, IpamConfig, Network};

use crate::container::{EndpointNames, endpoint_resources};
use crate::{Config, Engine, Error, Result, time};

const KIND: &str = "network";

/// Opens the networks with what was recorded of them, and records what is new.
pub(crate) fn open(config: &Config, store: &store::Store) -> Result<Networks> {
    let failed = |error| Error::system("read the networks' records", error);
    let stored = store.records().list(KIND).map_err(failed)?;
    let records: Vec<NetworkRecord> =
        stored.iter().filter_map(|document| serde_json::from_str(&document.json).ok()).collect();
    let options = options(config, records)?;
    let networks = Networks::open(options).map_err(|error| Error::system("open the networks", error))?;
    for record in networks.records() {
        let json = serde_json::to_string(&record).map_err(|error| Error::system("write a network's record", error))?;
        store.records().put(KIND, &record.id, Some(&record.name), &json).map_err(failed)?;
    }
    Ok(networks)
}

/// The settings as the networks take them. Pure.
pub(crate) fn options(config: &Config, records: Vec<NetworkRecord>) -> Result<::network::Config> {
    let invalid = |what: &str, text: &str| Error::invalid(format!("invalid {what} \"{text}\""));
    let defaults = ::network::Config::default();
    let options = ::network::Config {
        bridge_name: config.bridge_name(),
        table_name: config.table_name(),
        bip: match &config.bip {
            Some(text) => Some(text.parse().map_err(|_| invalid("bip", text))?),
            None => None,
        },
        mtu: config.mtu,
        icc: config.icc,
        masquerade: config.ip_masq,
        ip_forward: config.ip_forward,
        host_address: match &config.host_address {
            Some(text) => text.parse().map_err(|_| invalid("host address", text))?,
            None => defaults.host_address,
        },
        records,
        ..defaults
    };
    if let Some(bip) = options.bip
        && (!(1..=30).contains(&bip.prefix) || bip.address == bip.network().address || bip.address == bip.broadcast())
    {
        return Err(invalid("bip", &bip.to_string()));
    }
    if let Some(mtu) = options.mtu.filter(|mtu| !(68..=65535).contains(mtu)) {
        return Err(invalid("mtu", &mtu.to_string()));
    }
    Ok(options)
}

/// `GET /networks`.
pub fn list(engine: &Engine, filters: &Filters) -> Result<Vec<Network>> {
    filters.check(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
    let dangling = if filters.contains("dangling") { Some(filters.bool_or("dangling", false)?) } else { None };
    for kind in filters.get("type") {
        if !matches!(kind, "builtin" | "custom") {
            return Err(Error::invalid(format!("invalid filter: 'type'='{kind}'")));
        }
    }
    let records = engine.networks.records();
    let matching = records.iter().filter(|record| {
        filters.matches("name", |part| record.name.contains(part))
            && filters.matches_prefix("id", &record.id)
            && filters.matches_exactly("driver", driver(record))
            && filters.matches_exactly("scope", "local")
            && filters.matches_exactly("type", "builtin")
            && !filters.contains("label")
            // The built-in ones never count as unused.
            && dangling != Some(true)
    });
    Ok(matching.map(|record| document(record, &[])).collect())
}

/// `GET /networks/{id}`: by id, name, or the beginning of an id.
pub fn inspect(engine: &Engine, id: &str) -> Result<Network> {
    let records = engine.networks.records();
    let exact = records.iter().find(|record| record.id == id || record.name == id);
    let mut beginning = records.iter().filter(|record| !id.is_empty() && record.id.starts_with(id));
    let record = match (exact, beginning.next(), beginning.next()) {
        (Some(record), ..) | (None, Some(record), None) => record,
        (None, Some(_), Some(_)) => {
            return Err(Error::invalid(format!("network {id} is ambiguous (2 matches found based on ID prefix)")));
        }
        (None, None, _) => return Err(Error::not_found(format!("network {id} not found"))),
    };
    Ok(document(record, &endpoint_resources(engine)))
}

fn driver(record: &NetworkRecord) -> &'static str {
    match record.driver {
        Driver::Bridge => "bridge",
        Driver::Host => "host",
        Driver::Null => "null",
    }
}

fn document(record: &NetworkRecord, endpoints: &[EndpointNames]) -> Network {
    let bridge = record.bridge.as_ref();
    let config = bridge.map(|bridge| IpamConfig {
        subnet: bridge.subnet.network().to_string(),
        gateway: bridge.gateway.to_string(),
        ..IpamConfig::default()
    });
    let options = bridge.map(|bridge| {
        let on = |yes: bool| yes.to_string();
        [
            ("com.docker.network.bridge.default_bridge", on(true)),
            ("com.docker.network.bridge.enable_icc", on(bridge.icc)),
            ("com.docker.network.bridge.enable_ip_masquerade", on(bridge.masquerade)),
            ("com.docker.network.bridge.host_binding_ipv4", "0.0.0.0".to_owned()),
            ("com.docker.network.bridge.name", bridge.link.clone()),
            ("com.docker.network.driver.mtu", bridge.mtu.to_string()),
        ]
    });
    let containers = endpoints.iter().filter(|named| named.endpoint.network_id == record.id).map(|named| {
        let resource = EndpointResource {
            name: named.container_name.clone(),
            endpoint_id: named.endpoint.id.clone(),
            mac_address: named.endpoint.mac.to_string(),
            ipv4_address: format!("{}/{}", named.endpoint.address, named.endpoint.prefix),
            ipv6_address: String::new(),
        };
        (named.container_id.clone(), resource)
    });
    Network {
        name: record.name.clone(),
        id: record.id.clone(),
        created: time::rfc3339(record.created),
        scope: "local".to_owned(),
        driver: driver(record).to_owned(),
        enable_ipv4: true,
        enable_ipv6: false,
        ipam: Ipam {
            driver: "default".to_owned(),
            options: api::Map::default(),
            config: config.map(|config| vec![config].into()).unwrap_or_default(),
        },
        containers: containers.collect(),
        options: options.map_or_else(api::Map::new, |options| options.into_iter().collect()),
        labels: api::Map::new(),
        ..Network::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_make_no_sense() {
        let check = |change: fn(&mut Config), expected: Option<&str>| {
            let mut config = Config::default();
            change(&mut config);
            let refused = options(&config, Vec::new()).err().map(|error| error.message);
            assert_eq!(refused.as_deref(), expected);
        };
        check(|_| {}, None);
        check(|config| config.bip = Some("10.9.0.1/24".to_owned()), None);
        check(|config| config.bip = Some("10.9.0.1".to_owned()), Some("invalid bip \"10.9.0.1\""));
        check(|config| config.bip = Some("10.9.0.0/24".to_owned()), Some("invalid bip \"10.9.0.0/24\""));
        check(|config| config.bip = Some("10.9.0.255/24".to_owned()), Some("invalid bip \"10.9.0.255/24\""));
        check(|config| config.mtu = Some(67), Some("invalid mtu \"67\""));
        check(|config| config.host_address = Some("x".to_owned()), Some("invalid host address \"x\""));
    }
}
