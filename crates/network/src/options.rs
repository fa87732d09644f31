//! A bridge network's driver options, by Docker's names.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::config::{BridgeRecord, is_link_name};
use crate::error::{Error, Result};

pub const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
pub const MTU: &str = "com.docker.network.driver.mtu";
pub const ICC: &str = "com.docker.network.bridge.enable_icc";
pub const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
pub const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
pub const INHIBIT_IPV4: &str = "com.docker.network.bridge.inhibit_ipv4";
pub const GATEWAY_MODE_V4: &str = "com.docker.network.bridge.gateway_mode_ipv4";
pub const GATEWAY_MODE_V6: &str = "com.docker.network.bridge.gateway_mode_ipv6";
pub const TRUSTED: &str = "com.docker.network.bridge.trusted_host_interfaces";
pub const DEFAULT_BRIDGE: &str = "com.docker.network.bridge.default_bridge";
pub const INTERFACE_PREFIX: &str = "com.docker.network.container_iface_prefix";
/// Docker's Compose and Swarm switch the two families with these.
pub const ENABLE_IPV4: &str = "com.docker.network.enable_ipv4";
pub const ENABLE_IPV6: &str = "com.docker.network.enable_ipv6";

/// Of an endpoint: the interface's name in the container.
pub const INTERFACE_NAME: &str = "com.docker.network.endpoint.ifname";
/// Of an endpoint: settings below `net.`, `IFNAME` standing for the interface.
pub const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";

/// Of an endpoint, ours: most that comes to the container, and most that it sends (`10mbit`).
pub const RATE_IN: &str = "rate-in";
pub const RATE_OUT: &str = "rate-out";

/// How a network's containers are reached from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatewayMode {
    /// At published ports of the host.
    #[default]
    Nat,
    /// The same, and at all their own ports by whoever routes to them.
    NatUnprotected,
    /// At published ports of their own addresses; nothing is translated.
    Routed,
    /// Not at all; not even the host has an address in the network. Internal networks only.
    Isolated,
}

impl GatewayMode {
    fn parse(option: &str, text: &str) -> Result<GatewayMode> {
        Ok(match text {
            "" | "nat" => GatewayMode::Nat,
            "nat-unprotected" => GatewayMode::NatUnprotected,
            "routed" => GatewayMode::Routed,
            "isolated" => GatewayMode::Isolated,
            _ => return Err(invalid(option, text, "unknown gateway mode")),
        })
    }

    /// Addresses and ports are translated.
    pub fn translates(self) -> bool {
        matches!(self, GatewayMode::Nat | GatewayMode::NatUnprotected)
    }
}

fn invalid(option: &str, value: &str, reason: &'static str) -> Error {
    Error::InvalidOption { option: option.to_owned(), value: value.to_owned(), reason }
}

/// Go's `strconv.ParseBool`.
fn boolean(option: &str, text: &str) -> Result<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(invalid(option, text, "it is not a boolean")),
    }
}

/// What the options of a bridge network come to. `default` has the link's name and the MTU for those who name none.
///
/// # Errors
/// [`Error::UnknownOption`] for a name that means nothing, [`Error::InvalidOption`] for a value that does.
pub fn bridge(options: &BTreeMap<String, String>, internal: bool, default: BridgeRecord) -> Result<BridgeRecord> {
    let mut bridge = default;
    for (name, value) in options {
        let value = value.trim();
        match name.as_str() {
            BRIDGE_NAME if value.is_empty() => {}
            BRIDGE_NAME if is_link_name(value) => value.clone_into(&mut bridge.link),
            BRIDGE_NAME => return Err(invalid(name, value, "it is not the name of an interface")),
            MTU | "mtu" if value.is_empty() || value == "0" => {}
            MTU | "mtu" => match value.parse() {
                Ok(mtu @ 68..=65535) => bridge.mtu = mtu,
                _ => return Err(invalid(name, value, "it must be 68 to 65535")),
            },
            ICC => bridge.icc = boolean(name, value)?,
            MASQUERADE => {
                bridge.masquerade = boolean(name, value)?;
                bridge.masquerade_v6 = bridge.masquerade;
            }
            HOST_BINDING if value.is_empty() => {}
            HOST_BINDING => match value.parse::<IpAddr>() {
                Ok(address) if address.is_ipv4() => bridge.host_binding = Some(address),
                _ => return Err(invalid(name, value, "it is not an IPv4 address")),
            },
            INHIBIT_IPV4 => bridge.inhibit_ipv4 = boolean(name, value)?,
            GATEWAY_MODE_V4 => bridge.gateway_mode_v4 = GatewayMode::parse(name, value)?,
            GATEWAY_MODE_V6 => bridge.gateway_mode_v6 = GatewayMode::parse(name, value)?,
            TRUSTED => {
                bridge.trusted = value.split(':').filter(|part| !part.is_empty()).map(str::to_owned).collect();
                if let Some(odd) = bridge.trusted.iter().find(|link| !is_link_name(link)) {
                    return Err(invalid(name, odd, "it is not the name of an interface"));
                }
            }
            INTERFACE_PREFIX if is_link_name(value) && value.len() <= 12 => {
                value.clone_into(&mut bridge.interface_prefix);
            }
            INTERFACE_PREFIX => return Err(invalid(name, value, "it is not the beginning of an interface's name")),
            DEFAULT_BRIDGE if !boolean(name, value)? => {}
            DEFAULT_BRIDGE => return Err(invalid(name, value, "there is one default bridge")),
            ENABLE_IPV4 | ENABLE_IPV6 => _ = boolean(name, value)?,
            _ => return Err(Error::UnknownOption { option: name.clone(), driver: "bridge" }),
        }
    }
    for (name, mode) in [(GATEWAY_MODE_V4, bridge.gateway_mode_v4), (GATEWAY_MODE_V6, bridge.gateway_mode_v6)] {
        if mode == GatewayMode::Isolated && !internal {
            return Err(invalid(name, "isolated", "it is for internal networks only"));
        }
        if matches!(mode, GatewayMode::Routed | GatewayMode::NatUnprotected) && internal {
            let text = if mode == GatewayMode::Routed { "routed" } else { "nat-unprotected" };
            return Err(invalid(name, text, "an internal network has no way in"));
        }
    }
    Ok(bridge)
}

/// What an endpoint's driver options come to: the interface's name, and settings with their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointOptions {
    pub interface: Option<String>,
    /// `net/ipv4/conf/IFNAME/log_martians` and its value.
    pub sysctls: Vec<(String, String)>,
    /// Bytes a second.
    pub rate_in: Option<u64>,
    pub rate_out: Option<u64>,
    /// Names of others, which no driver here reads. Those below `com.docker.network.` are errors.
    pub foreign: Vec<String>,
}

/// Least and greatest rate in bits a second.
const RATES: std::ops::RangeInclusive<u64> = 8_000..=1_000_000_000_000;

/// A rate as tc(8) writes it (`10mbit`, `1.5gbit`, `800kbps`, `10Mibit`; bits without a unit), in bytes a second.
fn rate(option: &str, text: &str) -> Result<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let (scale, bits) = match (unit.strip_suffix("bit"), unit.strip_suffix("bps"), unit) {
        (_, _, "") => ("", 1.0),
        (Some(scale), _, _) => (scale, 1.0),
        (_, Some(scale), _) => (scale, 8.0),
        _ => return Err(invalid(option, text, "a rate is a number and bit, kbit, mbit, gbit, kbps, mbps or gbps")),
    };
    let factor = match scale {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        "t" => 1e12,
        "ki" => 1024.0,
        "mi" => 1024.0 * 1024.0,
        "gi" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(invalid(option, text, "a rate is a number and bit, kbit, mbit, gbit, kbps, mbps or gbps")),
    };
    let number: f64 = number.parse().map_err(|_| invalid(option, text, "a rate begins with a number"))?;
    let rate = (number * factor * bits) as u64;
    match RATES.contains(&rate) {
        true => Ok(rate / 8),
        false => Err(invalid(option, text, "a rate is 8kbit to 1tbit")),
    }
}

/// Makes out an endpoint's driver options.
pub fn endpoint(options: &BTreeMap<String, String>) -> Result<EndpointOptions> {
    let mut made = EndpointOptions::default();
    for (name, value) in options {
        match name.as_str() {
            INTERFACE_NAME if is_link_name(value) && value != "lo" => made.interface = Some(value.clone()),
            INTERFACE_NAME => return Err(invalid(name, value, "it is not the name of an interface")),
            SYSCTLS => {
                for setting in value.split(',').map(str::trim).filter(|setting| !setting.is_empty()) {
                    made.sysctls.push(setting_of(setting).ok_or_else(|| {
                        invalid(name, setting, "it is not of the form net.ipv4.NAME.IFNAME.SETTING=VALUE")
                    })?);
                }
            }
            RATE_IN => made.rate_in = Some(rate(name, value)?),
            RATE_OUT => made.rate_out = Some(rate(name, value)?),
            _ if !name.is_empty() && !name.starts_with("com.docker.network.") => made.foreign.push(name.clone()),
            _ => return Err(Error::UnknownOption { option: name.clone(), driver: "bridge" }),
        }
    }
    Ok(made)
}

/// `net.ipv4.conf.IFNAME.log_martians=1`: only what belongs to the interface.
fn setting_of(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    let parts: Vec<&str> = name.split(['.', '/']).collect();
    let word = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let sound = matches!(
        parts.as_slice(),
        ["net", "ipv4" | "ipv6" | "mpls", kind, "IFNAME", setting] if word(kind) && word(setting)
    );
    (sound && !value.is_empty() && value.len() <= 256).then(|| (parts.join("/"), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn default() -> BridgeRecord {
        BridgeRecord {
            link: "br-x".to_owned(),
            mtu: 1500,
            icc: true,
            masquerade: true,
            masquerade_v6: true,
            host_binding: None,
            inhibit_ipv4: false,
            gateway_mode_v4: GatewayMode::Nat,
            gateway_mode_v6: GatewayMode::Nat,
            trusted: Vec::new(),
            interface_prefix: String::new(),
        }
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn options_of_a_bridge() {
        let made = bridge(
            &map(&[
                (BRIDGE_NAME, "mine0"),
                (MTU, "1400"),
                (ICC, "false"),
                (MASQUERADE, "0"),
                (HOST_BINDING, "127.0.0.1"),
                (GATEWAY_MODE_V6, "routed"),
                (TRUSTED, "eth0:wg0"),
                (INTERFACE_PREFIX, "net"),
            ]),
            false,
            default(),
        )
        .unwrap();
        assert_eq!((made.link.as_str(), made.mtu, made.icc, made.masquerade), ("mine0", 1400, false, false));
        assert_eq!((made.gateway_mode_v4, made.gateway_mode_v6), (GatewayMode::Nat, GatewayMode::Routed));
        assert_eq!((made.trusted.len(), made.interface_prefix.as_str()), (2, "net"));
        for (name, value, text) in [
            ("foo", "1", "unknown option \"foo\" for the driver bridge"),
            (MTU, "10", "invalid value \"10\" of com.docker.network.driver.mtu: it must be 68 to 65535"),
            (ICC, "maybe", "invalid value \"maybe\" of com.docker.network.bridge.enable_icc: it is not a boolean"),
            (
                BRIDGE_NAME,
                "a/b",
                "invalid value \"a/b\" of com.docker.network.bridge.name: it is not the name of an interface",
            ),
            (
                GATEWAY_MODE_V4,
                "isolated",
                "invalid value \"isolated\" of com.docker.network.bridge.gateway_mode_ipv4: it is for internal networks only",
            ),
        ] {
            assert_eq!(bridge(&map(&[(name, value)]), false, default()).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn options_of_an_endpoint() {
        let made = endpoint(&map(&[
            (INTERFACE_NAME, "lan"),
            (SYSCTLS, "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.IFNAME.accept_ra=2"),
        ]))
        .unwrap();
        assert_eq!(made.interface.as_deref(), Some("lan"));
        assert_eq!(made.sysctls[1], ("net/ipv6/conf/IFNAME/accept_ra".to_owned(), "2".to_owned()));
        for bad in ["kernel.x=1", "net.ipv4.conf.eth0.x=1", "net.ipv4.conf.IFNAME.../x=1", "net.ipv4.conf.IFNAME.x"] {
            assert!(endpoint(&map(&[(SYSCTLS, bad)])).is_err(), "{bad}");
        }
        assert_eq!(endpoint(&map(&[("x", "y")])).unwrap().foreign, ["x"]);
        assert!(endpoint(&map(&[("com.docker.network.x", "y")])).is_err());
        assert!(endpoint(&map(&[("", "y")])).is_err());
        for (text, expected) in [
            ("10mbit", Some(1_250_000)),
            ("1.5Gbit", Some(187_500_000)),
            ("800kbps", Some(800_000)),
            ("16000", Some(2000)),
            ("1mibit", Some(131_072)),
            ("1kbit", None),
            ("2tbit", None),
            ("fast", None),
            ("10m", None),
            ("-1mbit", None),
            ("1.2.3mbit", None),
        ] {
            let made = endpoint(&map(&[(RATE_IN, text), (RATE_OUT, text)])).ok();
            assert_eq!(made.as_ref().and_then(|made| made.rate_in), expected, "{text}");
            assert_eq!(made.and_then(|made| made.rate_out), expected, "{text}");
        }
    }
}
