//! `network connect`.

use client::{Request, path_escape};
use serde_json::{Map, Value, json};

use super::strings;
use crate::cli::{Args, Command, Kind, Parsed, check, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Table of `network connect`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["network connect"],
    usage: "[OPTIONS] NETWORK CONTAINER",
    about: "Connect a container to a network",
    flags: &[
        flag("alias", '\0', Kind::Many("strings", check::any), "Add network-scoped alias for the container"),
        flag("driver-opt", '\0', Kind::Many("strings", check::any), "driver options for the network"),
        flag(
            "gw-priority",
            '\0',
            Kind::Int(0),
            "Highest gw-priority provides the default gateway. Accepts positive and negative values.",
        ),
        flag("ip", '\0', Kind::Str(""), "IPv4 address (e.g., \"172.30.100.104\")"),
        flag("ip6", '\0', Kind::Str(""), "IPv6 address (e.g., \"2001:db8::33\")"),
        flag("link", '\0', Kind::Many("list", check::link), "Add link to another container"),
        flag("link-local-ip", '\0', Kind::Many("strings", check::any), "Add a link-local address for the container"),
    ],
    args: Args::Exactly(2),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let mut ipam = Map::new();
    for (key, flag) in [("IPv4Address", "ip"), ("IPv6Address", "ip6")] {
        if !parsed.str(flag).is_empty() {
            ipam.insert(key.to_owned(), parsed.str(flag).into());
        }
    }
    let local = strings(parsed, "link-local-ip")?;
    if !local.is_empty() {
        ipam.insert("LinkLocalIPs".to_owned(), json!(local));
    }
    let mut options = Map::new();
    for option in strings(parsed, "driver-opt")? {
        match option.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                options.insert(key.trim().to_lowercase(), value.trim().into());
            }
            _ => return Err(Failure::new("invalid key/value pair format in driver options")),
        }
    }
    let links = parsed.owned_list("link");
    let body = json!({
        "Container": parsed.args[1],
        "EndpointConfig": {
            "IPAMConfig": ipam,
            "Links": if links.is_empty() { Value::Null } else { json!(links) },
            "Aliases": strings(parsed, "alias")?,
            "MacAddress": "",
            "DriverOpts": options,
            "GwPriority": parsed.int("gw-priority"),
            "NetworkID": "",
            "EndpointID": "",
            "Gateway": "",
            "IPAddress": "",
            "IPPrefixLen": 0,
            "IPv6Gateway": "",
            "GlobalIPv6Address": "",
            "GlobalIPv6PrefixLen": 0,
            "DNSNames": null,
        },
    });
    let path = format!("/networks/{}/connect", path_escape(&parsed.args[0]));
    Ok(context.client()?.send(Request::post(path).json(&body))?.discard()?)
}
