//! A container's place in a network, wanted or present; and what a request asks of them.

use api::container::{CreateRequest, HostConfig, NetworkMode};
use api::network::EndpointSettings;
use network::NetworkRecord;
use serde::{Deserialize, Serialize};

use crate::network::{find, is_user_defined};
use crate::{Engine, Error, Result};

/// As the record has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attachment {
    /// The network's name; as it was written, if there was no such network.
    pub name: String,
    /// Empty until the container was started or connected.
    #[serde(default)]
    pub network_id: String,
    /// What was asked for.
    #[serde(default)]
    pub request: EndpointSettings,
    /// Of the last or present run. Empty: none.
    #[serde(default)]
    pub endpoint_id: String,
    /// Where the network's driver makes one.
    #[serde(default)]
    pub endpoint: Option<network::EndpointRecord>,
    /// What was begun with it while the container ran, and is not finished.
    #[serde(default)]
    pub unsettled: Option<Unsettled>,
}

/// A change that a daemon may leave half done when it dies; the next one finishes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Unsettled {
    Joining,
    Leaving,
}

impl Attachment {
    pub fn new(name: &str, request: EndpointSettings) -> Attachment {
        Attachment { name: name.to_owned(), request: wishes(request), ..Attachment::default() }
    }
}

/// Only what a client can wish for.
fn wishes(request: EndpointSettings) -> EndpointSettings {
    EndpointSettings {
        ipam_config: request.ipam_config,
        links: request.links,
        aliases: request.aliases,
        mac_address: request.mac_address,
        driver_opts: request.driver_opts,
        gw_priority: request.gw_priority,
        ..EndpointSettings::default()
    }
}

/// Docker's words.
pub(crate) const SHARED_CONFLICT: &str =
    "container sharing network namespace with another container or host cannot be connected to any other network";
pub(crate) const HOST_CONFLICT: &str =
    "container cannot be disconnected from host network or connected to host network";
pub(crate) const NONE_CONFLICT: &str =
    "container cannot be connected to multiple networks with one of the networks in private (none) mode";

/// The attachments that a request for a container asks for. A network that does not exist is noticed at the start.
/// With warnings for the client.
pub(super) fn plan(
    engine: &Engine,
    request: &CreateRequest,
    host: &mut HostConfig,
    warnings: &mut Vec<String>,
) -> Result<Vec<Attachment>> {
    let mut given: Vec<(String, EndpointSettings)> = Vec::new();
    for (key, settings) in request.networking_config.endpoints_config.iter() {
        let name = if key == "default" { "bridge".to_owned() } else { key.clone() };
        // An id is the network's name from here on.
        let name = find(engine, &name).map_or(name, |record| record.name);
        if !given.iter().any(|(other, _)| *other == name) {
            given.push((name, settings.clone()));
        }
    }
    let mode = NetworkMode::parse(&host.network_mode);
    let own = match &mode {
        NetworkMode::Bridge => "bridge".to_owned(),
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Named(name) => find(engine, name).map_or_else(|_| name.clone(), |record| record.name),
        NetworkMode::Container(_) => {
            return match given.is_empty() {
                true => Ok(Vec::new()),
                false => Err(Error::invalid(SHARED_CONFLICT)),
            };
        }
    };
    let first = given.iter().position(|(name, _)| *name == own).map(|at| given.remove(at).1);
    let mut all: Vec<(String, EndpointSettings)> = Vec::new();
    // The default network only if nothing else was asked for, or it was too.
    if first.is_some() || given.is_empty() || mode != NetworkMode::Bridge {
        let mut settings = first.unwrap_or_default();
        if is_user_defined(&own) {
            // Docker's client says them in both places.
            for link in std::mem::take(&mut host.links) {
                if !settings.links.contains(&link) {
                    settings.links.push(link);
                }
            }
        }
        all.push((own, settings));
    }
    all.extend(given);
    if all.len() > 1 {
        match mode {
            NetworkMode::Host => return Err(Error::invalid(HOST_CONFLICT)),
            NetworkMode::None => return Err(Error::invalid(NONE_CONFLICT)),
            _ if all.iter().any(|(name, _)| name == "host") => return Err(Error::invalid(HOST_CONFLICT)),
            _ if all.iter().any(|(name, _)| name == "none") => return Err(Error::invalid(NONE_CONFLICT)),
            _ => {}
        }
    }
    for (name, settings) in &all {
        let record = find(engine, name).ok();
        for option in check(name, record.as_ref(), settings)? {
            warnings.push(format!("The driver option {option} of network {name} is kept, and read by no driver."));
        }
    }
    Ok(all.into_iter().map(|(name, settings)| Attachment::new(&name, settings)).collect())
}

/// Whether the settings make sense for the network. Names of driver options that mean nothing here.
pub(crate) fn check(name: &str, network: Option<&NetworkRecord>, settings: &EndpointSettings) -> Result<Vec<String>> {
    let mut problems: Vec<String> = Vec::new();
    let ipam = settings.ipam_config.clone().unwrap_or_default();
    let fixed = !ipam.ipv4_address.is_empty() || !ipam.ipv6_address.is_empty();
    if !is_user_defined(name) {
        if fixed {
            problems.push("user specified IP address is supported on user defined networks only".to_owned());
        }
        if !settings.aliases.is_empty() {
            problems.push("network-scoped alias is supported only for containers in user defined networks".to_owned());
        }
        if !settings.links.is_empty() {
            problems.push("links are only supported for user-defined networks".to_owned());
        }
    }
    for (text, ipv6) in [(&ipam.ipv4_address, false), (&ipam.ipv6_address, true)] {
        if text.is_empty() {
            continue;
        }
        let family = if ipv6 { "IPv6" } else { "IPv4" };
        let Some(address) = text.parse::<std::net::IpAddr>().ok().filter(|address| address.is_ipv6() == ipv6) else {
            problems.push(format!("invalid {family} address: {text}"));
            continue;
        };
        let Some(network) = network.filter(|_| is_user_defined(name)) else { continue };
        let mut subnets = network.subnets.iter().filter(|subnet| subnet.net.is_ipv6() == ipv6).peekable();
        if subnets.peek().is_none_or(|subnet| !subnet.given) {
            problems.push(
                "user specified IP address is supported only when connecting to networks with user configured subnets"
                    .to_owned(),
            );
        } else if !subnets.any(|subnet| subnet.net.contains(address)) {
            problems.push(format!("no configured subnet contains IP address {text}"));
        }
    }
    for text in &ipam.link_local_ips {
        if text.parse::<std::net::IpAddr>().is_err() {
            problems.push(format!("invalid link-local IP address: {text}"));
        }
    }
    if !settings.mac_address.is_empty() && settings.mac_address.parse::<network::MacAddress>().is_err() {
        problems.push(format!("invalid MAC address: {}", settings.mac_address));
    }
    let foreign = match network::options::endpoint(&settings.driver_opts) {
        Ok(options) => options.foreign,
        Err(error) => {
            problems.push(error.to_string());
            Vec::new()
        }
    };
    for link in &settings.links {
        // A name that is looked up when it is asked for: it need not be there yet.
        super::link::parse(link)?;
    }
    for alias in &settings.aliases {
        if alias.is_empty() || alias.len() > 253 || alias.contains(|c: char| c.is_whitespace() || c.is_control()) {
            problems.push(format!("invalid network-scoped alias: {alias:?}"));
        }
    }
    if problems.is_empty() {
        return Ok(foreign);
    }
    Err(Error::invalid(format!(
        "invalid config for network {name}: invalid endpoint settings:\n{}",
        problems.join("\n")
    )))
}

/// The names by which others in a user-defined network find the container, as `inspect` shows them.
pub(crate) fn dns_names(record: &super::Record, attachment: &Attachment) -> Vec<String> {
    let own = [record.name.clone()].into_iter();
    let aliases = attachment.request.aliases.iter().cloned();
    let rest = [record.id.short().to_owned(), record.config.hostname.clone()];
    let mut names: Vec<String> = Vec::new();
    for name in own.chain(aliases).chain(rest).filter(|name| !name.is_empty()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
