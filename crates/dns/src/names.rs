//! Who is called what, network by network.
//!
//! ```text
//!  sandbox ─▶ its networks, the way out first ─▶ name ─▶ endpoints ─▶ addresses
//!          └▶ its own links: alias ─▶ name
//! ```

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use crate::protocol::{Endpoint, Sandbox};

/// What is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nobody here has it.
    Unknown,
    /// Somebody has it; without addresses of the family that was asked for, perhaps.
    Addresses(Vec<IpAddr>),
}

/// All names.
#[derive(Debug, Default)]
pub struct Names {
    endpoints: BTreeMap<String, Endpoint>,
    /// Network, name in lower case ─▶ endpoints' ids.
    by_name: HashMap<String, HashMap<String, Vec<String>>>,
    /// Network ─▶ address ─▶ endpoint's id.
    by_address: HashMap<String, HashMap<IpAddr, String>>,
    /// Names of networks, in lower case ─▶ id.
    networks: HashMap<String, String>,
    /// Turns several addresses of a name.
    turn: usize,
}

impl Names {
    /// Adds an endpoint, or changes it.
    pub fn set(&mut self, endpoint: Endpoint) {
        self.remove(&endpoint.id);
        let by_name = self.by_name.entry(endpoint.network.clone()).or_default();
        for name in &endpoint.names {
            let holders = by_name.entry(name.to_ascii_lowercase()).or_default();
            if !holders.contains(&endpoint.id) {
                holders.push(endpoint.id.clone());
            }
        }
        let by_address = self.by_address.entry(endpoint.network.clone()).or_default();
        for address in &endpoint.addresses {
            by_address.insert(*address, endpoint.id.clone());
        }
        self.networks.insert(endpoint.network_name.to_ascii_lowercase(), endpoint.network.clone());
        self.endpoints.insert(endpoint.id.clone(), endpoint);
    }

    /// Removes an endpoint; of one that is not there nothing.
    pub fn remove(&mut self, id: &str) {
        let Some(gone) = self.endpoints.remove(id) else { return };
        if let Some(by_name) = self.by_name.get_mut(&gone.network) {
            for name in &gone.names {
                let key = name.to_ascii_lowercase();
                if let Some(holders) = by_name.get_mut(&key) {
                    holders.retain(|holder| holder != id);
                    if holders.is_empty() {
                        by_name.remove(&key);
                    }
                }
            }
            if by_name.is_empty() {
                self.by_name.remove(&gone.network);
                self.networks.retain(|_, network| *network != gone.network);
            }
        }
        if let Some(by_address) = self.by_address.get_mut(&gone.network) {
            by_address.retain(|_, holder| holder != id);
            if by_address.is_empty() {
                self.by_address.remove(&gone.network);
            }
        }
    }

    /// Removes all but these.
    pub fn keep(&mut self, ids: &std::collections::BTreeSet<String>) {
        let gone: Vec<String> = self.endpoints.keys().filter(|id| !ids.contains(*id)).cloned().collect();
        gone.iter().for_each(|id| self.remove(id));
    }

    /// What a name (in lower case, without the last dot) means in a sandbox.
    pub fn find(&mut self, sandbox: &Sandbox, name: &str, ipv6: bool) -> Found {
        let link = sandbox.links.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name));
        let name = link.map_or(name.to_owned(), |(_, target)| target.to_ascii_lowercase());
        for network in &sandbox.networks {
            if let Some(found) = self.in_network(network, &name, ipv6) {
                return found;
            }
        }
        // `web.net1`: of that network only.
        if let Some((name, network)) = name.rsplit_once('.')
            && let Some(id) = self.networks.get(network).filter(|id| sandbox.networks.contains(id)).cloned()
            && let Some(found) = self.in_network(&id, name, ipv6)
        {
            return found;
        }
        Found::Unknown
    }

    fn in_network(&mut self, network: &str, name: &str, ipv6: bool) -> Option<Found> {
        let holders = self.by_name.get(network)?.get(name)?;
        let endpoints = holders.iter().filter_map(|id| self.endpoints.get(id));
        let addresses = endpoints.flat_map(|endpoint| &endpoint.addresses).filter(|a| a.is_ipv6() == ipv6);
        let mut addresses: Vec<IpAddr> = addresses.copied().collect();
        if addresses.len() > 1 {
            self.turn = self.turn.wrapping_add(1);
            let by = self.turn % addresses.len();
            addresses.rotate_left(by);
        }
        Some(Found::Addresses(addresses))
    }

    /// The name of an address, with its network's behind it.
    pub fn reverse(&self, sandbox: &Sandbox, address: IpAddr) -> Option<String> {
        sandbox.networks.iter().find_map(|network| {
            let endpoint = self.endpoints.get(self.by_address.get(network)?.get(&address)?)?;
            Some(format!("{}.{}", endpoint.names.first()?, endpoint.network_name))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(id: &str, network: &str, names: &[&str], address: &str) -> Endpoint {
        Endpoint {
            id: id.to_owned(),
            network: network.to_owned(),
            network_name: format!("{network}-Name"),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            addresses: address.split(' ').map(|text| text.parse().unwrap()).collect(),
        }
    }

    fn find(names: &mut Names, sandbox: &Sandbox, name: &str) -> Vec<String> {
        match names.find(sandbox, name, false) {
            Found::Unknown => vec!["?".to_owned()],
            Found::Addresses(all) => all.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn names_of_a_sandbox() {
        let mut names = Names::default();
        names.set(endpoint("1", "n1", &["Web", "www"], "10.0.0.1 fd00::1"));
        names.set(endpoint("2", "n1", &["web2", "www"], "10.0.0.2"));
        names.set(endpoint("3", "n2", &["web"], "10.1.0.1"));
        names.set(endpoint("4", "n2", &["only6"], "fd00::4"));
        let mut sandbox = Sandbox { networks: vec!["n1".to_owned()], ..Sandbox::default() };
        assert_eq!(find(&mut names, &sandbox, "web"), ["10.0.0.1"]);
        assert_eq!(find(&mut names, &sandbox, "only6"), ["?"], "of a network that it is not in");
        let (first, second) = (find(&mut names, &sandbox, "www"), find(&mut names, &sandbox, "www"));
        assert!(first.len() == 2 && first[0] != second[0], "in turn: {first:?} {second:?}");
        sandbox.networks.push("n2".to_owned());
        assert_eq!(find(&mut names, &sandbox, "web"), ["10.0.0.1"], "the first network counts");
        assert_eq!(find(&mut names, &sandbox, "web.n2-name"), ["10.1.0.1"]);
        assert!(find(&mut names, &sandbox, "only6").is_empty(), "there is the name, and no such address");
        assert_eq!(find(&mut names, &sandbox, "web.n3"), ["?"]);
        sandbox.links = vec![("db".to_owned(), "web2".to_owned())];
        assert_eq!(find(&mut names, &sandbox, "db"), ["10.0.0.2"]);
        assert_eq!(names.reverse(&sandbox, "10.0.0.1".parse().unwrap()).as_deref(), Some("Web.n1-Name"));
        assert_eq!(names.reverse(&sandbox, "10.9.0.1".parse().unwrap()), None);

        names.set(endpoint("1", "n1", &["renamed"], "10.0.0.1"));
        assert_eq!(find(&mut names, &sandbox, "web"), ["10.1.0.1"]);
        assert_eq!(find(&mut names, &sandbox, "renamed"), ["10.0.0.1"]);
        names.keep(&["3".to_owned()].into());
        assert_eq!(find(&mut names, &sandbox, "renamed"), ["?"]);
        names.remove("3");
        assert!(names.by_name.is_empty() && names.by_address.is_empty() && names.networks.is_empty());
    }
}
