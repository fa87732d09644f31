//! Networks: the three that are always there, and those that users make. A file for each verb.

mod create;
mod inspect;
mod prune;
mod remove;

use std::collections::BTreeMap;

use ::network::{NetworkRecord, Networks, Pool};

use crate::events::Of;
use crate::{Config, Engine, Error, Result};

pub use crate::container::{connect, disconnect};
pub use create::create;
pub use inspect::{inspect, list};
pub use prune::prune;
pub use remove::remove;

const KIND: &str = "network";

/// Opens the networks with what was recorded of them, and records what is new.
pub(crate) fn open(config: &Config, store: &store::Store) -> Result<Networks> {
    let failed = |error| Error::system("read the networks' records", error);
    let stored = store.records().list(KIND).map_err(failed)?;
    let readable = |document: &store::Record| match serde_json::from_str::<NetworkRecord>(&document.json) {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::error!(network = document.id, %error, "a network's record cannot be read");
            None
        }
    };
    let records: Vec<NetworkRecord> = stored.iter().filter_map(readable).collect();
    let options = options(config, records)?;
    let networks = Networks::open(options).map_err(|error| Error::system("open the networks", error))?;
    for record in networks.records() {
        put(store, &record)?;
    }
    Ok(networks)
}

/// Stores a network's record.
fn put(store: &store::Store, record: &NetworkRecord) -> Result<()> {
    let json = serde_json::to_string(record).map_err(|error| Error::system("write a network's record", error))?;
    match store.records().put(KIND, &record.id, Some(&record.name), &json) {
        Err(store::Error::NameTaken { .. }) => {
            Err(Error::conflict(format!("network with name {} already exists", record.name)))
        }
        outcome => outcome.map_err(|error| Error::system("store a network's record", error)),
    }
}

/// By name, by id, or by an unambiguous beginning of an id, in this order.
pub(crate) fn find(engine: &Engine, text: &str) -> Result<NetworkRecord> {
    let records = engine.networks.records();
    let exact = records.iter().find(|record| record.name == text).or(records.iter().find(|record| record.id == text));
    let mut beginning = records.iter().filter(|record| !text.is_empty() && record.id.starts_with(text));
    match (exact, beginning.next(), beginning.count()) {
        (Some(record), ..) | (None, Some(record), 0) => Ok(record.clone()),
        (None, Some(_), more) => {
            Err(Error::invalid(format!("network {text} is ambiguous ({} matches found based on ID prefix)", more + 1)))
        }
        (None, None, _) => Err(Error::not_found(format!("network {text} not found"))),
    }
}

/// A network made by a user, as against the three that are always there.
pub(crate) fn is_user_defined(name: &str) -> bool {
    !matches!(name, "bridge" | "host" | "none" | "default")
}

fn publish(engine: &Engine, action: &str, record: &NetworkRecord) {
    let attributes = [("name", record.name.clone()), ("type", record.driver.as_str().to_owned())];
    engine.events.publish(Of::Network, action, &record.id, attributes.into_iter().collect());
}

/// `base=10.10.0.0/16,size=24`.
pub(crate) fn parse_pool(text: &str) -> Option<Pool> {
    let fields: BTreeMap<&str, &str> = text.split(',').map(|field| field.split_once('=')).collect::<Option<_>>()?;
    let pool = Pool { base: fields.get("base")?.parse().ok()?, size: fields.get("size")?.parse().ok()? };
    let most = if pool.base.is_ipv6() { 126 } else { 30 };
    (fields.len() == 2 && pool.base == pool.base.network() && (pool.base.prefix..=most).contains(&pool.size))
        .then_some(pool)
}

/// The settings as the networks take them. Pure.
pub(crate) fn options(config: &Config, records: Vec<NetworkRecord>) -> Result<::network::Config> {
    let defaults = ::network::Config::default();
    let options = ::network::Config {
        bridge_name: config.bridge_name(),
        default_bridge: config.default_bridge,
        table_name: config.table_name(),
        bip: parsed("bip", &config.bip)?,
        bip6: parsed("bip6", &config.bip6)?,
        fixed_cidr: parsed("fixed-cidr", &config.fixed_cidr)?,
        fixed_cidr_v6: parsed("fixed-cidr-v6", &config.fixed_cidr_v6)?,
        default_gateway: parsed("default-gateway", &config.default_gateway)?,
        default_gateway_v6: parsed("default-gateway-v6", &config.default_gateway_v6)?,
        ipv6: config.ipv6,
        pools: match config.address_pools.as_slice() {
            [] => defaults.pools,
            texts => {
                let pool = |text: &String| parse_pool(text).ok_or_else(|| invalid("address pool", text));
                texts.iter().map(pool).collect::<Result<_>>()?
            }
        },
        mtu: config.mtu,
        icc: config.icc,
        masquerade: config.ip_masq,
        ip_forward: config.ip_forward,
        host_address: parsed("host address", &config.host_address)?.unwrap_or(defaults.host_address),
        published_ports: match config.respect_host_firewall {
            true => ::network::PublishedPorts::RespectHostFirewall,
            false => ::network::PublishedPorts::Open,
        },
        sandboxes: defaults.sandboxes,
        records,
    };
    if let Some(bip) = options.bip
        && (bip.is_ipv6()
            || !(1..=30).contains(&bip.prefix)
            || bip.address == bip.network().address
            || bip.address == bip.broadcast())
    {
        return Err(invalid("bip", &bip.to_string()));
    }
    if let Some(mtu) = options.mtu.filter(|mtu| !(68..=65535).contains(mtu)) {
        return Err(invalid("mtu", &mtu.to_string()));
    }
    Ok(options)
}

fn invalid(what: &str, text: &str) -> Error {
    Error::invalid(format!("invalid {what} \"{text}\""))
}

fn parsed<T: std::str::FromStr>(what: &str, text: &Option<String>) -> Result<Option<T>> {
    match text {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| invalid(what, text)),
    }
}

/// The host's address in the default network: what `host-gateway` stands for.
pub fn host_gateway(engine: &Engine) -> Option<std::net::IpAddr> {
    engine.networks.default_bridge()?.subnets.first().and_then(|subnet| subnet.gateway)
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
        check(|config| config.bip6 = Some("x".to_owned()), Some("invalid bip6 \"x\""));
        check(|config| config.address_pools = vec!["base=10.1.0.0/16,size=24".to_owned()], None);
        for bad in
            ["base=10.1.0.0/16", "base=10.1.0.0/16,size=8", "base=10.1.0.1/16,size=24", "base=10.1.0.0/16,size=31"]
        {
            assert!(parse_pool(bad).is_none(), "{bad}");
        }
    }
}
