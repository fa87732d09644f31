//! `--network` in both notations, and the endpoint settings that come of it and its neighbours.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::csv;
use crate::cli::Parsed;

/// One `--network` value.
#[derive(Debug, Default, Clone)]
pub(crate) struct Attachment {
    pub(crate) target: String,
    aliases: Vec<String>,
    links: Vec<String>,
    driver_opts: Map<String, Value>,
    ip: String,
    ip6: String,
    link_local: Vec<String>,
    mac: String,
    gw_priority: i64,
}

/// True when the text is the `name=…,…` notation: somewhere a word, `=`, a word.
fn is_long(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.char_indices().any(|(i, c)| c == '=' && text[..i].ends_with(word) && text[i + 1..].starts_with(word))
}

/// Parses one value.
pub(crate) fn parse(text: &str) -> Result<Attachment, String> {
    if !is_long(text) {
        return Ok(Attachment { target: text.to_owned(), ..Attachment::default() });
    }
    let mut out = Attachment::default();
    for field in csv::split(text)? {
        let lower = field.to_lowercase();
        let (key, value) = match lower.split_once('=') {
            Some((key, value)) if !key.is_empty() => (key.trim(), value.trim()),
            _ => return Err(format!("invalid field {field}")),
        };
        match key {
            "name" => out.target = value.to_owned(),
            "alias" => out.aliases.push(value.to_owned()),
            "ip" => out.ip = value.to_owned(),
            "ip6" => out.ip6 = value.to_owned(),
            "mac-address" => out.mac = value.to_owned(),
            "link-local-ip" => out.link_local.push(value.to_owned()),
            "driver-opt" => match value.split_once('=') {
                Some((key, value)) if !key.is_empty() => {
                    out.driver_opts.insert(key.trim().to_owned(), value.trim().into());
                }
                _ => return Err("invalid key value pair format in driver options".to_owned()),
            },
            // Ours; to the daemon they are options of the driver.
            "rate-in" | "rate-out" => {
                out.driver_opts.insert(key.to_owned(), value.into());
            }
            "gw-priority" => {
                out.gw_priority =
                    value.parse().map_err(|_| format!("invalid gw-priority ({value}): invalid syntax"))?;
            }
            other => return Err(format!("invalid field key {other}")),
        }
    }
    if out.target.is_empty() {
        return Err("network name/id is not specified".to_owned());
    }
    Ok(out)
}

/// A network made by the user, as against `default`, `bridge`, `host`, `none`, `container:x`.
fn is_user_defined(name: &str) -> bool {
    !matches!(name, "default" | "bridge" | "host" | "none") && !name.starts_with("container:")
}

/// Network mode and `EndpointsConfig` for the create request.
pub(crate) fn endpoints(parsed: &Parsed) -> Result<(String, Map<String, Value>), String> {
    let mut networks = Vec::new();
    for value in parsed.list("network") {
        networks.push(parse(value)?);
    }
    let mode = networks.first().map_or_else(|| "default".to_owned(), |n| n.target.clone());
    let mut out = Map::new();
    if networks.is_empty() {
        let mut attachment = Attachment { target: "default".to_owned(), ..Attachment::default() };
        apply_flags(&mut attachment, parsed)?;
        out.insert("default".to_owned(), settings(&attachment)?);
    }
    let single = networks.len() == 1;
    let (mut user, mut fixed) = (false, false);
    for (i, mut network) in networks.into_iter().enumerate() {
        if is_user_defined(&network.target) {
            user = true
        } else {
            fixed = true
        }
        if i == 0 {
            apply_flags(&mut network, parsed)?;
        }
        let endpoint = settings(&network)?;
        if out.contains_key(&network.target) {
            return Err(format!("network {} is specified multiple times", crate::human::quote(&network.target)));
        }
        if single && is_plain(&network) {
            continue;
        }
        out.insert(network.target.clone(), endpoint);
    }
    if user && fixed {
        return Err(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes".to_owned()
        );
    }
    Ok((mode, out))
}

fn is_plain(network: &Attachment) -> bool {
    network.aliases.is_empty()
        && network.links.is_empty()
        && network.driver_opts.is_empty()
        && network.ip.is_empty()
        && network.ip6.is_empty()
        && network.link_local.is_empty()
        && network.mac.is_empty()
        && network.gw_priority == 0
}

/// The older flags belong to the first network.
fn apply_flags(network: &mut Attachment, parsed: &Parsed) -> Result<(), String> {
    let conflict = |flag: &str, what: &str| {
        Err(format!("conflicting options: cannot specify both --{flag} and per-network {what}"))
    };
    let aliases = parsed.owned_list("network-alias");
    let links = parsed.owned_list("link");
    let local = parsed.owned_list("link-local-ip");
    let (ip, ip6, mac) = (parsed.str("ip"), parsed.str("ip6"), parsed.str("mac-address"));
    if !network.aliases.is_empty() && !aliases.is_empty() {
        return conflict("network-alias", "alias");
    }
    if !network.ip.is_empty() && !ip.is_empty() {
        return conflict("ip", "IPv4 address");
    }
    if !network.ip6.is_empty() && !ip6.is_empty() {
        return conflict("ip6", "IPv6 address");
    }
    if !network.mac.is_empty() && !mac.is_empty() {
        return conflict("mac-address", "MAC address");
    }
    if !network.link_local.is_empty() && !local.is_empty() {
        return conflict("link-local-ip", "link-local IP addresses");
    }
    if !aliases.is_empty() {
        network.aliases = aliases;
    }
    if is_user_defined(&network.target) && !links.is_empty() {
        network.links = links;
    }
    if !ip.is_empty() {
        network.ip = ip.to_owned();
    }
    if !ip6.is_empty() {
        network.ip6 = ip6.to_owned();
    }
    if !mac.is_empty() {
        network.mac = mac.to_owned();
    }
    if !local.is_empty() {
        network.link_local = local;
    }
    Ok(())
}

/// True for the spellings that Go's `net.ParseMAC` takes for 6, 8 and 20 bytes.
pub(crate) fn is_mac(text: &str) -> bool {
    let hex = |part: &str, len: usize| part.len() == len && part.bytes().all(|b| b.is_ascii_hexdigit());
    let count = |n: usize| matches!(n, 6 | 8 | 20);
    let by = |sep: char, len: usize, bytes: usize| {
        let parts: Vec<&str> = text.split(sep).collect();
        count(parts.len() * bytes) && parts.iter().all(|p| hex(p, len))
    };
    by(':', 2, 1) || by('-', 2, 1) || by('.', 4, 2)
}

fn settings(network: &Attachment) -> Result<Value, String> {
    if network.target.trim().is_empty() {
        return Err("no name set for network".to_owned());
    }
    if !is_user_defined(&network.target) {
        if !network.aliases.is_empty() {
            return Err("network-scoped aliases are only supported for user-defined networks".to_owned());
        }
        if !network.links.is_empty() {
            return Err("links are only supported for user-defined networks".to_owned());
        }
    }
    if !network.mac.is_empty() && !is_mac(network.mac.trim()) {
        return Err(format!("{} is not a valid mac address", network.mac));
    }
    let list = |items: &[String]| if items.is_empty() { Value::Null } else { json!(items) };
    let ipam = if network.ip.is_empty() && network.ip6.is_empty() && network.link_local.is_empty() {
        Value::Null
    } else {
        let mut ipam = Map::new();
        for (key, text) in [("IPv4Address", &network.ip), ("IPv6Address", &network.ip6)] {
            if !text.is_empty() {
                // Go prints addresses in their shortest form; what is none is left for the daemon to refuse.
                let shown = text.parse::<IpAddr>().map_or_else(|_| text.clone(), |ip| ip.to_string());
                ipam.insert(key.to_owned(), shown.into());
            }
        }
        if !network.link_local.is_empty() {
            ipam.insert("LinkLocalIPs".to_owned(), json!(network.link_local));
        }
        ipam.into()
    };
    Ok(json!({
        "IPAMConfig": ipam,
        "Links": list(&network.links),
        "Aliases": list(&network.aliases),
        "MacAddress": network.mac.trim(),
        "DriverOpts": if network.driver_opts.is_empty() { Value::Null } else { network.driver_opts.clone().into() },
        "GwPriority": network.gw_priority,
        "NetworkID": "",
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": null,
    }))
}
