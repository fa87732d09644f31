//! Networks, ports and names.

use serde_json::Value;

use super::{Words, csv, object, strings};

pub(super) fn network(out: &mut Words, document: &Value, base: &Value) -> Result<(), String> {
    let (config, host) = (&document["Config"], &document["HostConfig"]);
    let mode = host["NetworkMode"].as_str().unwrap_or_default();
    let networks = &document["NetworkSettings"]["Networks"];
    let id = document["Id"].as_str().unwrap_or_default();
    let fixed = |name: &str| matches!(name, "" | "default" | "bridge" | "host" | "none");
    let first = if matches!(mode, "" | "default") { "bridge" } else { mode };
    let others: Vec<_> = object(networks).filter(|(name, _)| *name != mode && *name != first).collect();
    if let Some((name, _)) = others.iter().find(|(name, _)| fixed(name) != fixed(first)) {
        return Err(format!("the container is in {first} and in {name}, which needs a network connect after the run"));
    }
    let endpoint = networks.get(mode).or_else(|| networks.get(first)).unwrap_or(&Value::Null);
    let plain = ["DriverOpts", "GwPriority"].iter().all(|key| match &endpoint[*key] {
        Value::Object(map) => map.is_empty(),
        value => value.as_i64().unwrap_or(0) == 0,
    });
    if plain {
        if !matches!(mode, "" | "default" | "bridge") {
            out.value("network", mode);
        }
        out.field("ip", &endpoint["IPAMConfig"]["IPv4Address"]);
        out.field("ip6", &endpoint["IPAMConfig"]["IPv6Address"]);
        out.list("link-local-ip", &endpoint["IPAMConfig"]["LinkLocalIPs"]);
        for alias in strings(&endpoint["Aliases"]).iter().filter(|alias| Some(alias.as_str()) != id.get(..12)) {
            out.value("network-alias", alias);
        }
    } else {
        out.value("network", &attachment(mode, endpoint, id)?);
    }
    out.field("mac-address", &config["MacAddress"]);
    if strings(&host["Links"]).is_empty() {
        out.list("link", &endpoint["Links"]);
    }
    for (name, endpoint) in others {
        out.value("network", &attachment(name, endpoint, id)?);
    }
    for (port, bindings) in object(&host["PortBindings"]) {
        for binding in bindings.as_array().into_iter().flatten() {
            let text = |key: &str| binding[key].as_str().unwrap_or_default();
            let address = match text("HostIp") {
                "" => String::new(),
                ip if ip.contains(':') => format!("[{ip}]:"),
                ip => format!("{ip}:"),
            };
            match (address.as_str(), text("HostPort")) {
                ("", "") => out.value("publish", port),
                (address, host_port) => out.value("publish", &format!("{address}{host_port}:{port}")),
            }
        }
    }
    let exposed = object(&config["ExposedPorts"]).map(|(port, _)| port);
    for port in exposed.filter(|p| host["PortBindings"].get(p).is_none() && base["ExposedPorts"].get(p).is_none()) {
        out.value("expose", port);
    }
    out.truth("publish-all", &host["PublishAllPorts"]);
    out.list("dns", &host["Dns"]);
    out.list("dns-option", &host["DnsOptions"]);
    out.list("dns-search", &host["DnsSearch"]);
    out.list("add-host", &host["ExtraHosts"]);
    for link in strings(&host["Links"]) {
        // As the document has it: `/target:/self/alias`.
        let (target, alias) = link.split_once(':').unwrap_or((&link, &link));
        out.value("link", &format!("{}:{}", target.trim_start_matches('/'), alias.rsplit('/').next().unwrap_or(alias)));
    }
    Ok(())
}

/// A network of the container and what it asked of it, in the notation of `--network` with names.
fn attachment(name: &str, endpoint: &Value, id: &str) -> Result<String, String> {
    let mut fields = Vec::new();
    let mut field = |key: &str, value: &str| {
        if !value.is_empty() {
            fields.push(format!("{key}={value}"));
        }
    };
    for alias in strings(&endpoint["Aliases"]).iter().filter(|alias| Some(alias.as_str()) != id.get(..12)) {
        field("alias", alias);
    }
    let addresses = &endpoint["IPAMConfig"];
    field("ip", addresses["IPv4Address"].as_str().unwrap_or_default());
    field("ip6", addresses["IPv6Address"].as_str().unwrap_or_default());
    for address in strings(&addresses["LinkLocalIPs"]) {
        field("link-local-ip", &address);
    }
    for (key, value) in object(&endpoint["DriverOpts"]) {
        field("driver-opt", &format!("{key}={}", value.as_str().unwrap_or_default()));
    }
    if let Some(priority) = endpoint["GwPriority"].as_i64().filter(|priority| *priority != 0) {
        field("gw-priority", &priority.to_string());
    }
    if fields.is_empty() {
        return Ok(name.to_owned());
    }
    fields.insert(0, format!("name={name}"));
    // The notation knows no others.
    match fields.iter().any(|field| field.chars().any(char::is_uppercase)) {
        true => {
            Err(format!("the container's settings in the network {name} have capital letters, which run does not keep"))
        }
        false => Ok(csv(fields)),
    }
}
