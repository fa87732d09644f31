//! What is asked of a new network, and whether it makes sense. Pure; the words are Docker's.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::address::IpNet;
use crate::config::{Driver, Subnet};
use crate::error::{Error, Result};

/// A network that is to be made.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    pub name: String,
    pub driver: Driver,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
    /// `None`: none were given, not even an empty list.
    pub ipam_options: Option<BTreeMap<String, String>>,
    pub ipv4: bool,
    pub ipv6: bool,
    pub internal: bool,
    pub attachable: bool,
    pub config_only: bool,
    pub config_from: String,
    pub subnets: Vec<SubnetConfig>,
}

/// A subnet as a request writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubnetConfig {
    pub subnet: String,
    pub range: String,
    pub gateway: String,
    pub auxiliary: BTreeMap<String, String>,
}

/// Ranges whose addresses are nobody's interface (RFC 6890, 2.2).
const NOT_FOR_HOSTS: [(IpNet, &str); 5] = [
    (IpNet::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8), "unspecified"),
    (IpNet::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8), "loopback"),
    (IpNet::new(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4), "multicast"),
    (IpNet::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 127), "loopback"),
    (IpNet::new(IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8), "multicast"),
];

/// The subnets of a request, IPv4 first.
///
/// # Errors
/// [`Error::InvalidNetwork`] with every problem.
pub fn subnets(config: &NetworkConfig) -> Result<Vec<Subnet>> {
    let mut problems = Vec::new();
    let mut made = Vec::new();
    for wanted in config.subnets.iter().filter(|wanted| **wanted != SubnetConfig::default()) {
        if let Some(subnet) = subnet(wanted, config, &mut problems) {
            made.push(subnet);
        }
    }
    for (at, subnet) in made.iter().enumerate() {
        if made[..at].iter().any(|other: &Subnet| other.net.overlaps(&subnet.net)) {
            return Err(Error::PoolOverlaps { subnet: subnet.net });
        }
    }
    if !config.ipv4 && !config.ipv6 && !config.config_only {
        problems.push("IPv4 or IPv6 must be enabled".to_owned());
    }
    if !problems.is_empty() {
        return Err(Error::InvalidNetwork { problems });
    }
    made.sort_by_key(|subnet| subnet.net.is_ipv6());
    Ok(made)
}

fn subnet(wanted: &SubnetConfig, config: &NetworkConfig, problems: &mut Vec<String>) -> Option<Subnet> {
    let text = &wanted.subnet;
    let Ok(net) = text.parse::<IpNet>() else {
        problems.push(format!("invalid subnet {text}: invalid CIDR block notation"));
        return None;
    };
    if net.is_ipv6() && !config.ipv6 {
        problems.push(format!("invalid subnet {text}: IPv6 has not been enabled for this network"));
    }
    if !net.is_ipv6() && !config.ipv4 {
        problems.push(format!("invalid subnet {text}: IPv4 has not been enabled for this network"));
    }
    if net != net.network() {
        problems.push(format!("invalid subnet {text}: it should be {}", net.network()));
    }
    if let Some((_, kind)) = NOT_FOR_HOSTS.iter().find(|(range, _)| range.overlaps(&net)) {
        problems.push(format!("invalid subnet {text}: it has {kind} addresses, which no container can have"));
    }
    let mut subnet = Subnet { given: true, ..Subnet::new(net) };
    if !wanted.range.is_empty() {
        subnet.range = range(&wanted.range, &net, problems);
    }
    if !wanted.gateway.is_empty() {
        subnet.gateway = address("gateway", &wanted.gateway, &net, problems);
    }
    for (name, text) in &wanted.auxiliary {
        if let Some(address) = address("auxiliary address", text, &net, problems) {
            subnet.auxiliary.insert(name.clone(), address);
        }
    }
    Some(subnet)
}

fn range(text: &str, net: &IpNet, problems: &mut Vec<String>) -> Option<IpNet> {
    let problem = |problems: &mut Vec<String>, reason: String| {
        problems.push(format!("invalid ip-range {text}: {reason}"));
        None
    };
    let Ok(range) = text.parse::<IpNet>() else {
        return problem(problems, "invalid CIDR block notation".to_owned());
    };
    if range.is_ipv6() != net.is_ipv6() {
        return problem(problems, format!("parent subnet is an {} block", family(net)));
    }
    if range.prefix < net.prefix {
        return problem(problems, format!("CIDR block is bigger than its parent subnet {net}"));
    }
    if !net.contains(range.address) {
        return problem(problems, format!("parent subnet {net} doesn't contain ip-range"));
    }
    if range != range.network() {
        return problem(problems, format!("it should be {}", range.network()));
    }
    Some(range)
}

fn address(what: &str, text: &str, net: &IpNet, problems: &mut Vec<String>) -> Option<IpAddr> {
    let problem = |problems: &mut Vec<String>, reason: String| {
        problems.push(format!("invalid {what} {text}: {reason}"));
        None
    };
    let Ok(address) = text.parse::<IpAddr>() else {
        return problem(problems, "invalid address".to_owned());
    };
    if address.is_ipv6() != net.is_ipv6() {
        return problem(problems, format!("parent subnet is an {} block", family(net)));
    }
    if !net.contains(address) {
        return problem(problems, format!("parent subnet {net} doesn't contain this address"));
    }
    Some(address)
}

fn family(net: &IpNet) -> &'static str {
    if net.is_ipv6() { "IPv6" } else { "IPv4" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(subnets: &[(&str, &str, &str, &str)], ipv6: bool) -> NetworkConfig {
        let subnet = |(subnet, range, gateway, auxiliary): &(&str, &str, &str, &str)| SubnetConfig {
            subnet: (*subnet).to_owned(),
            range: (*range).to_owned(),
            gateway: (*gateway).to_owned(),
            auxiliary: (!auxiliary.is_empty()).then(|| ("a".to_owned(), (*auxiliary).to_owned())).into_iter().collect(),
        };
        NetworkConfig {
            name: "n".to_owned(),
            driver: Driver::Bridge,
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
            ipam_options: None,
            ipv4: true,
            ipv6,
            internal: false,
            attachable: false,
            config_only: false,
            config_from: String::new(),
            subnets: subnets.iter().map(subnet).collect(),
        }
    }

    #[test]
    fn what_makes_sense() {
        let made = subnets(&config(
            &[("fd00::/64", "", "", ""), ("", "", "", ""), ("10.1.0.0/16", "10.1.4.0/24", "10.1.0.9", "10.1.0.7")],
            true,
        ))
        .unwrap();
        assert_eq!(made.len(), 2);
        assert_eq!((made[0].net.to_string(), made[1].net.to_string()), ("10.1.0.0/16".into(), "fd00::/64".into()));
        assert_eq!(made[0].gateway, Some(IpAddr::from([10, 1, 0, 9])));
        assert!(made[0].given && made[0].auxiliary["a"] == IpAddr::from([10, 1, 0, 7]));
    }

    #[test]
    fn what_does_not() {
        for (wanted, text) in [
            (("10.1.0.0", "", "", ""), "invalid subnet 10.1.0.0: invalid CIDR block notation"),
            (("", "", "10.0.0.1", ""), "invalid subnet : invalid CIDR block notation"),
            (("10.1.0.1/24", "", "", ""), "invalid subnet 10.1.0.1/24: it should be 10.1.0.0/24"),
            (
                ("224.0.0.0/24", "", "", ""),
                "invalid subnet 224.0.0.0/24: it has multicast addresses, which no container can have",
            ),
            (
                ("127.1.0.0/16", "", "", ""),
                "invalid subnet 127.1.0.0/16: it has loopback addresses, which no container can have",
            ),
            (
                ("0.0.0.0/0", "", "", ""),
                "invalid subnet 0.0.0.0/0: it has unspecified addresses, which no container can have",
            ),
            (("fd00::/64", "", "", ""), "invalid subnet fd00::/64: IPv6 has not been enabled for this network"),
            (("10.1.0.0/24", "x", "", ""), "invalid ip-range x: invalid CIDR block notation"),
            (
                ("10.1.0.0/24", "10.1.0.0/16", "", ""),
                "invalid ip-range 10.1.0.0/16: CIDR block is bigger than its parent subnet 10.1.0.0/24",
            ),
            (
                ("10.1.0.0/24", "10.2.0.0/25", "", ""),
                "invalid ip-range 10.2.0.0/25: parent subnet 10.1.0.0/24 doesn't contain ip-range",
            ),
            (("10.1.0.0/24", "10.1.0.1/25", "", ""), "invalid ip-range 10.1.0.1/25: it should be 10.1.0.0/25"),
            (("10.1.0.0/24", "", "fd00::1", ""), "invalid gateway fd00::1: parent subnet is an IPv4 block"),
            (("10.1.0.0/24", "", "x", ""), "invalid gateway x: invalid address"),
            (
                ("10.1.0.0/24", "", "", "10.2.0.1"),
                "invalid auxiliary address 10.2.0.1: parent subnet 10.1.0.0/24 doesn't contain this address",
            ),
        ] {
            let error = subnets(&config(&[wanted], false)).unwrap_err();
            assert_eq!(error.to_string(), format!("invalid network config:\n{text}"));
        }
        let twice = [("10.1.0.0/16", "", "", ""), ("10.1.2.0/24", "", "", "")];
        assert!(matches!(subnets(&config(&twice, false)), Err(Error::PoolOverlaps { .. })));
    }
}
