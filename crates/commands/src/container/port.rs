//! `port`.

use std::collections::BTreeMap;

use client::Request;
use serde::Deserialize;

use super::route;
use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Table of `port`.
///
/// `--exposure` is ours.
pub(crate) const COMMAND: Command = Command {
    spellings: &["container port", "port"],
    usage: "CONTAINER [PRIVATE_PORT[/PROTO]]",
    about: "List port mappings or a specific mapping for the container",
    flags: &[flag("exposure", '\0', Kind::Bool(false), "Show from where each port can be reached")],
    args: Args::Between(1, 2),
    interspersed: true,
    run,
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    #[serde(default)]
    network_settings: Settings,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Settings {
    ports: Option<BTreeMap<String, Option<Vec<Binding>>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Binding {
    host_ip: String,
    host_port: String,
}

impl Binding {
    fn shown(&self, exposure: bool) -> String {
        let mut shown = match self.host_ip.contains(':') {
            true => format!("[{}]:{}", self.host_ip, self.host_port),
            false => format!("{}:{}", self.host_ip, self.host_port),
        };
        if exposure {
            shown.push_str(&format!(" ({})", reach(&self.host_ip)));
        }
        shown
    }
}

/// From where a port of this address of the host can be reached, as far as the address decides: a firewall on the way may
/// let fewer through.
pub(crate) fn reach(host_ip: &str) -> &'static str {
    use std::net::IpAddr;
    match host_ip.parse::<IpAddr>() {
        Ok(address) if address.is_loopback() => "loopback",
        Ok(IpAddr::V4(address)) if address.is_private() || address.is_link_local() => "host's networks",
        Ok(IpAddr::V6(address)) if address.is_unique_local() || address.is_unicast_link_local() => "host's networks",
        _ => "everyone",
    }
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let name = &parsed.args[0];
    let exposure = parsed.bool("exposure");
    let inspected: Inspected = context.client()?.send(Request::get(route(name, "/json")))?.json()?;
    let ports = inspected.network_settings.ports.unwrap_or_default();
    let mut lines: Vec<String> = Vec::new();
    match parsed.args.get(1) {
        Some(wanted) => {
            let (port, proto) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
            let proto = if proto.is_empty() { "tcp" } else { proto };
            crate::options::ports::range(port)
                .map_err(|why| Failure::new(format!("Error: invalid port ({port}): {why}")))?;
            let bindings = ports.get(&format!("{port}/{proto}")).and_then(Option::as_ref).filter(|b| !b.is_empty());
            let bindings = bindings
                .ok_or_else(|| Failure::new(format!("Error: No public port '{wanted}' published for {name}")))?;
            lines.extend(bindings.iter().map(|binding| binding.shown(exposure)));
        }
        None => {
            for (port, bindings) in &ports {
                for binding in bindings.iter().flatten() {
                    lines.push(format!("{port} -> {}", binding.shown(exposure)));
                }
            }
        }
    }
    lines.sort_by_key(|a| natural(a));
    for line in lines {
        crate::out::line(&line)?;
    }
    Ok(())
}

/// Sort key that orders runs of digits by their value.
fn natural(text: &str) -> Vec<(String, u64)> {
    let mut out: Vec<(String, u64)> = Vec::new();
    let mut word = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if !c.is_ascii_digit() {
            word.push(c);
            continue;
        }
        let mut number = u64::from(c.to_digit(10).unwrap_or(0));
        while let Some(digit) = chars.peek().and_then(|d| d.to_digit(10)) {
            number = number.saturating_mul(10).saturating_add(u64::from(digit));
            chars.next();
        }
        out.push((std::mem::take(&mut word), number));
    }
    out.push((word, 0));
    out
}

#[cfg(test)]
mod tests {
    use super::{natural, reach};

    #[test]
    fn who_reaches_an_address() {
        for (address, expected) in [
            ("127.0.0.1", "loopback"),
            ("::1", "loopback"),
            ("192.168.1.5", "host's networks"),
            ("fd00::1", "host's networks"),
            ("0.0.0.0", "everyone"),
            ("::", "everyone"),
            ("203.0.113.5", "everyone"),
        ] {
            assert_eq!(reach(address), expected, "{address}");
        }
    }

    #[test]
    fn natural_order() {
        let mut lines = ["443/tcp", "80/tcp", "8080/tcp"];
        lines.sort_by_key(|l| natural(l));
        assert_eq!(lines, ["80/tcp", "443/tcp", "8080/tcp"]);
    }
}
