//! What lasts longer than one pull: options, tokens, which scheme a host speaks, and transfers under way.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use oci::Reference;
use oci::reference::DEFAULT_DOMAIN;

use crate::Result;
use crate::config::{Insecure, RegistryConfig, parse_insecure};
use crate::endpoint::Endpoint;
use crate::flight::Flights;
use crate::hosts::{self, Host, Hosts};
use crate::token::TokenCache;
use crate::url::Scheme;

/// The client's memory; one for each daemon, shared by all pulls.
pub struct Registry {
    pub(crate) config: RegistryConfig,
    insecure: Vec<Insecure>,
    mirrors: Vec<Endpoint>,
    schemes: Mutex<HashMap<String, Scheme>>,
    pub(crate) tokens: TokenCache,
    pub(crate) flights: Flights,
    /// Held while a layer is compressed.
    pub(crate) compressing: Mutex<()>,
}

impl Registry {
    /// Checks the options; touches no network unless a mirror has to be looked up in a list of insecure networks.
    pub fn new(config: RegistryConfig) -> Result<Registry> {
        let insecure = parse_insecure(&config.insecure)?;
        let mirrors = config.mirrors.iter().map(|text| Endpoint::mirror(text, &insecure)).collect::<Result<_>>()?;
        Ok(Registry {
            config,
            insecure,
            mirrors,
            schemes: Mutex::default(),
            tokens: TokenCache::default(),
            flights: Flights::default(),
            compressing: Mutex::default(),
        })
    }

    /// Where to ask for `reference`, in order: the hosts file's, or the mirrors; then the registry itself.
    pub(crate) fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>> {
        let hosts = hosts::read(&self.config.certs_dirs, &reference.domain)?;
        let upstream = self.upstream(reference, &hosts);
        let listed = hosts.hosts.iter().filter(|host| host.pull);
        let mut endpoints: Vec<Endpoint> = listed.map(|host| self.listed(host, &upstream)).collect();
        if hosts.hosts.is_empty() && reference.domain == DEFAULT_DOMAIN {
            endpoints.extend(self.mirrors.iter().cloned());
        }
        if !endpoints.iter().any(|endpoint| endpoint.authority == upstream.authority && endpoint.resolve) {
            endpoints.push(upstream);
        }
        Ok(endpoints)
    }

    /// Where `reference` is pushed to: the first server of the hosts file that takes pushes, else the registry itself.
    pub(crate) fn push_endpoint(&self, reference: &Reference) -> Result<Endpoint> {
        let hosts = hosts::read(&self.config.certs_dirs, &reference.domain)?;
        let upstream = self.upstream(reference, &hosts);
        let listed = hosts.hosts.iter().find(|host| host.push).map(|host| self.listed(host, &upstream));
        Ok(listed.unwrap_or(upstream))
    }

    fn upstream(&self, reference: &Reference, hosts: &Hosts) -> Endpoint {
        match &hosts.server {
            Some(server) => Endpoint::of_host(server, true, &self.insecure),
            None => Endpoint::upstream(reference, &self.insecure),
        }
    }

    /// A server of a hosts file is the registry itself if it has its name.
    fn listed(&self, host: &Host, upstream: &Endpoint) -> Endpoint {
        Endpoint::of_host(host, host.url.authority == upstream.authority, &self.insecure)
    }

    pub(crate) fn is_insecure(&self, authority: &str) -> bool {
        crate::config::is_insecure(&self.insecure, authority)
    }

    /// The scheme that worked for this host.
    pub(crate) fn known_scheme(&self, authority: &str) -> Option<Scheme> {
        self.schemes.lock().unwrap_or_else(PoisonError::into_inner).get(authority).copied()
    }

    /// Remembers the scheme that worked, or forgets one that does not any more.
    pub(crate) fn learn_scheme(&self, authority: &str, scheme: Option<Scheme>) {
        let mut schemes = self.schemes.lock().unwrap_or_else(PoisonError::into_inner);
        match scheme {
            Some(scheme) => schemes.insert(authority.to_owned(), scheme),
            None => schemes.remove(authority),
        };
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("mirrors", &self.mirrors)
            .field("insecure", &self.insecure)
            .finish_non_exhaustive()
    }
}
