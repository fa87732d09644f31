//! `network create`.

use std::net::IpAddr;

use client::Request;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::strings;
use crate::cli::{Args, Command, Kind, Parsed, check, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::options::kvfile;

/// Table of `network create`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["network create"],
    usage: "[OPTIONS] NETWORK",
    about: "Create a network",
    flags: &[
        flag("attachable", '\0', Kind::Bool(false), "Enable manual container attachment"),
        flag("aux-address", '\0', Kind::MAP, "Auxiliary IPv4 or IPv6 addresses used by Network driver (default map[])"),
        flag("config-from", '\0', Kind::Str(""), "The network from which to copy the configuration"),
        flag("config-only", '\0', Kind::Bool(false), "Create a configuration only network"),
        flag("driver", 'd', Kind::Str("bridge"), "Driver to manage the Network (default \"bridge\")"),
        flag("gateway", '\0', Kind::Many("strings", check::any), "IPv4 or IPv6 Gateway for the master subnet"),
        flag("ingress", '\0', Kind::Bool(false), "Create swarm routing-mesh network"),
        flag("internal", '\0', Kind::Bool(false), "Restrict external access to the network"),
        flag("ip-range", '\0', Kind::Many("strings", check::any), "Allocate container ip from a sub-range"),
        flag("ipam-driver", '\0', Kind::Str("default"), "IP Address Management Driver (default \"default\")"),
        flag("ipam-opt", '\0', Kind::MAP, "Set IPAM driver specific options (default map[])"),
        flag("ipv4", '\0', Kind::Bool(true), "Enable or disable IPv4 address assignment (default true)"),
        flag("ipv6", '\0', Kind::Bool(false), "Enable or disable IPv6 address assignment"),
        flag("label", '\0', Kind::Many("list", check::label), "Set metadata on a network"),
        flag("opt", 'o', Kind::MAP, "Set driver specific options (default map[])"),
        flag("scope", '\0', Kind::Str(""), "Control the network's scope"),
        flag(
            "subnet",
            '\0',
            Kind::Many("strings", check::any),
            "Subnet in CIDR format that represents a network segment",
        ),
    ],
    args: Args::Exactly(1),
    interspersed: true,
    run,
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
    #[serde(default)]
    warning: String,
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let pairs = |flag: &str| kvfile::to_map(parsed.list(flag));
    let source = parsed.str("config-from");
    let mut body = json!({
        "Driver": parsed.str("driver"),
        "Scope": parsed.str("scope"),
        "IPAM": {
            "Driver": parsed.str("ipam-driver"),
            "Options": pairs("ipam-opt"),
            "Config": ipam(parsed).map_err(Failure::new)?,
        },
        "Internal": parsed.bool("internal"),
        "Attachable": parsed.bool("attachable"),
        "Ingress": parsed.bool("ingress"),
        "ConfigOnly": parsed.bool("config-only"),
        "ConfigFrom": if source.is_empty() { Value::Null } else { json!({ "Network": source }) },
        "Options": pairs("opt"),
        "Labels": pairs("label"),
        "Name": parsed.args[0],
    });
    for (key, flag) in [("EnableIPv4", "ipv4"), ("EnableIPv6", "ipv6")] {
        if parsed.changed(flag) {
            body[key] = parsed.bool(flag).into();
        }
    }
    let created: Created = context.client()?.send(Request::post("/networks/create").json(&body))?.json()?;
    if !created.warning.is_empty() {
        eprintln!("WARNING: {}", created.warning);
    }
    crate::out::line(&created.id)
}

/// A subnet in CIDR notation: its first and last address as numbers, and its family.
struct Subnet {
    text: String,
    range: Option<(bool, u128, u128)>,
}

impl Subnet {
    fn new(text: &str) -> Subnet {
        let range = text.split_once('/').and_then(|(address, prefix)| {
            let address: IpAddr = address.parse().ok()?;
            let width = if address.is_ipv4() { 32 } else { 128 };
            let prefix: u32 = prefix.parse().ok().filter(|prefix| *prefix <= width)?;
            let host = u128::MAX.checked_shr(128 - (width - prefix)).unwrap_or(0);
            Some((address.is_ipv6(), number(address) & !host, number(address) | host))
        });
        Subnet { text: text.to_owned(), range }
    }

    fn contains(&self, other: &Subnet) -> bool {
        match (self.range, other.range) {
            (Some((ours, first, last)), Some((theirs, start, end))) => ours == theirs && first <= start && end <= last,
            _ => false,
        }
    }

    fn has(&self, address: &str) -> bool {
        let Ok(address) = address.parse::<IpAddr>() else { return false };
        self.range
            .is_some_and(|(ipv6, first, last)| ipv6 == address.is_ipv6() && (first..=last).contains(&number(address)))
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Ranges, gateways and further addresses go with the subnet in which they lie.
fn ipam(parsed: &Parsed) -> Result<Vec<Value>, String> {
    let list = |flag| strings(parsed, flag).map_err(|failure| failure.text);
    let subnets: Vec<Subnet> = list("subnet")?.iter().map(|text| Subnet::new(text)).collect();
    let (ranges, gateways) = (list("ip-range")?, list("gateway")?);
    if subnets.len() < ranges.len() || subnets.len() < gateways.len() {
        return Err("every ip-range or gateway must have a corresponding subnet".to_owned());
    }
    for (at, subnet) in subnets.iter().enumerate() {
        if subnets[..at].iter().any(|other| other.contains(subnet) || subnet.contains(other)) {
            return Err("multiple overlapping subnet configuration is not supported".to_owned());
        }
    }
    let mut configs: Vec<Map<String, Value>> = Vec::new();
    for subnet in &subnets {
        configs.push([("Subnet".to_owned(), json!(subnet.text))].into_iter().collect());
    }
    for range in &ranges {
        let wanted = Subnet::new(range);
        let at = subnets.iter().position(|subnet| subnet.contains(&wanted));
        let config = at.and_then(|at| configs.get_mut(at)).ok_or(format!("no matching subnet for range {range}"))?;
        if config.insert("IPRange".to_owned(), json!(range)).is_some() {
            return Err("cannot configure multiple ranges on the same subnet".to_owned());
        }
    }
    for gateway in &gateways {
        let at = subnets.iter().position(|subnet| subnet.has(gateway));
        let config =
            at.and_then(|at| configs.get_mut(at)).ok_or(format!("no matching subnet for gateway {gateway}"))?;
        if config.insert("Gateway".to_owned(), json!(gateway)).is_some() {
            return Err("cannot configure multiple gateways for the same subnet".to_owned());
        }
    }
    for (name, address) in kvfile::to_map(parsed.list("aux-address")) {
        let text = address.as_str().unwrap_or_default();
        let at = subnets.iter().position(|subnet| subnet.has(text));
        let config =
            at.and_then(|at| configs.get_mut(at)).ok_or(format!("no matching subnet for aux-address {text}"))?;
        if let Some(all) =
            config.entry("AuxiliaryAddresses").or_insert_with(|| Value::Object(Map::new())).as_object_mut()
        {
            all.insert(name, address);
        }
    }
    Ok(configs.into_iter().map(Value::Object).collect())
}
