//! Options of the registry client and the rules that follow from them.

use std::net::{IpAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use crate::proxy::Proxies;
use crate::url::{bare_host, is_loopback};
use crate::{Error, Result};

/// Compression of pushed layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Understood by every registry and engine.
    #[default]
    Gzip,
    /// Smaller and faster; the manifest is an OCI one.
    Zstd,
}

/// Options of a [`crate::Registry`]; [`Default`] is what a daemon without configuration uses.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// Addresses tried before docker.io, in order (`https://mirror.example`, `http://mirror:5000/prefix`). They get no
    /// credentials.
    pub mirrors: Vec<String>,
    /// Hosts (`host`, `host:port`) and networks (`10.0.0.0/8`) that may be spoken to without verified TLS. The loopback
    /// networks always are.
    pub insecure: Vec<String>,
    /// Directories with `<host[:port]>/{*.crt,*.cert,*.key}`; all that exist are used.
    pub certs_dirs: Vec<PathBuf>,
    /// Proxies for requests.
    pub proxies: Proxies,
    /// Layers fetched at the same time, in one pull.
    pub max_concurrent_downloads: usize,
    /// Layers pushed at the same time, in one push.
    pub max_concurrent_uploads: usize,
    /// Bytes of an upload that are sent in one request.
    pub upload_piece: u64,
    /// How layers that have no compressed form yet are compressed for a push.
    pub push_compression: Compression,
    /// Attempts for one request or for a transfer that makes no progress.
    pub max_download_attempts: u32,
    /// For lookup, connection and TLS handshake together.
    pub connect_timeout: Duration,
    /// Longest silence in the middle of an answer.
    pub idle_timeout: Duration,
    /// Wait before the second attempt; doubles with each further one.
    pub backoff: Duration,
    /// Largest uncompressed layer, in bytes.
    pub max_layer_size: u64,
    /// `User-Agent`.
    pub user_agent: String,
}

impl Default for RegistryConfig {
    fn default() -> RegistryConfig {
        RegistryConfig {
            mirrors: Vec::new(),
            insecure: Vec::new(),
            certs_dirs: vec!["/etc/docker/certs.d".into(), "/etc/hoist/certs.d".into()],
            proxies: Proxies::from_env(),
            max_concurrent_downloads: 3,
            max_concurrent_uploads: 5,
            upload_piece: u64::MAX,
            push_compression: Compression::Gzip,
            max_download_attempts: 5,
            connect_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(60),
            backoff: Duration::from_millis(250),
            max_layer_size: 256 << 30,
            user_agent: concat!("hoist/", env!("CARGO_PKG_VERSION")).into(),
        }
    }
}

/// One entry of the list of insecure registries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Insecure {
    Host(String),
    Network(Network),
}

/// An address block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// `10.0.0.0/8`, `fd00::/8`.
    pub(crate) fn parse(text: &str) -> Option<Network> {
        let (address, prefix) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let prefix: u8 = prefix.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= bits).then_some(Network { address, prefix })
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                (net.to_bits() ^ address.to_bits()) & mask == 0
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                (net.to_bits() ^ address.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}

/// Reads the list of insecure registries.
pub(crate) fn parse_insecure(list: &[String]) -> Result<Vec<Insecure>> {
    list.iter()
        .map(|entry| {
            let invalid = |detail: &str| Error::Option {
                option: "insecure registry",
                value: entry.clone(),
                detail: detail.into(),
            };
            if let Some(network) = Network::parse(entry) {
                return Ok(Insecure::Network(network));
            }
            let host = entry.trim_start_matches("https://").trim_start_matches("http://");
            if host.is_empty() || host.contains(['/', '@', ' ']) {
                return Err(invalid("not a host, host:port or network"));
            }
            Ok(Insecure::Host(host.to_ascii_lowercase()))
        })
        .collect()
}

/// May this `host[:port]` be spoken to without verified TLS? Looks the name up only when a network is in the list.
pub(crate) fn is_insecure(list: &[Insecure], authority: &str) -> bool {
    let host = bare_host(authority);
    if is_loopback(host) {
        return true;
    }
    let listed = list.iter().any(|entry| matches!(entry, Insecure::Host(name) if name == authority || name == host));
    if listed {
        return true;
    }
    let networks: Vec<&Network> = list
        .iter()
        .filter_map(|entry| match entry {
            Insecure::Network(network) => Some(network),
            Insecure::Host(_) => None,
        })
        .collect();
    if networks.is_empty() {
        return false;
    }
    let inside = |address: IpAddr| networks.iter().any(|network| network.contains(address));
    if let Ok(address) = host.parse::<IpAddr>() {
        return inside(address);
    }
    // All of its addresses: one that points elsewhere must not lose its TLS.
    match (host, 0).to_socket_addrs() {
        Ok(addresses) => {
            let addresses: Vec<IpAddr> = addresses.map(|address| address.ip()).collect();
            !addresses.is_empty() && addresses.into_iter().all(inside)
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insecure_hosts() {
        let list = parse_insecure(&["reg.example:5000".into(), "plain".into(), "10.0.0.0/8".into(), "fd00::/8".into()])
            .unwrap();
        for (authority, insecure) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.1.2.3:5000", true),
            ("[::1]:5000", true),
            ("reg.example:5000", true),
            ("plain", true),
            ("plain:1", true),
            ("10.1.2.3:5000", true),
            ("[fd00::1]", true),
            ("11.1.2.3", false),
            ("[fe80::1]", false),
        ] {
            assert_eq!(is_insecure(&list, authority), insecure, "{authority}");
        }
        assert!(!is_insecure(&parse_insecure(&["reg.example:5000".into()]).unwrap(), "reg.example"));
        for bad in ["", "a/b", "10.0.0.0/33", "u@h"] {
            assert!(parse_insecure(&[bad.into()]).is_err(), "{bad}");
        }
        assert!(Network::parse("0.0.0.0/0").unwrap().contains("1.2.3.4".parse().unwrap()));
    }
}
