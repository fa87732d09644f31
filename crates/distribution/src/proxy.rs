//! Which proxy a request takes: `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`, read as Go programs read them.

use std::net::IpAddr;

use crate::config::Network;
use crate::url::{Scheme, Url, is_loopback};

/// Proxy settings; empty strings are "none".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For http addresses.
    pub http: String,
    /// For https addresses.
    pub https: String,
    /// Hosts, domains, addresses and networks that are reached directly, separated by commas; `*` is all.
    pub none: String,
}

impl Proxies {
    /// From the environment, upper-case names first.
    pub fn from_env() -> Proxies {
        let get = |names: [&str; 2]| {
            names.iter().filter_map(|name| std::env::var(name).ok()).find(|value| !value.is_empty()).unwrap_or_default()
        };
        Proxies {
            http: get(["HTTP_PROXY", "http_proxy"]),
            https: get(["HTTPS_PROXY", "https_proxy"]),
            none: get(["NO_PROXY", "no_proxy"]),
        }
    }

    /// The proxy for `url`, `None` is direct.
    pub(crate) fn choose(&self, url: &Url) -> Option<&str> {
        let proxy = match url.scheme {
            Scheme::Http => self.http.as_str(),
            Scheme::Https => self.https.as_str(),
        };
        (!proxy.is_empty() && !self.is_direct(url)).then_some(proxy)
    }

    fn is_direct(&self, url: &Url) -> bool {
        let host = url.host();
        if is_loopback(host) {
            return true;
        }
        let address: Option<IpAddr> = host.parse().ok();
        self.none.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
            if entry == "*" {
                return true;
            }
            if let Some(network) = Network::parse(entry) {
                return address.is_some_and(|address| network.contains(address));
            }
            if let Ok(literal) = entry.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
                return address == Some(literal);
            }
            let entry = entry.to_ascii_lowercase();
            let name = match entry.rsplit_once(':') {
                Some((name, port)) if port.parse() == Ok(url.port()) => name,
                Some(_) => return false,
                None => entry.as_str(),
            };
            let name = name.strip_prefix('*').unwrap_or(name);
            match name.strip_prefix('.') {
                Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')),
                None => host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chooses_as_go_does() {
        let proxies = Proxies {
            http: "http://p:1".into(),
            https: "http://p:2".into(),
            none: "a.example, .b.example,10.0.0.0/8,192.0.2.1,c.example:5000".into(),
        };
        for (url, proxy) in [
            ("http://x/", Some("http://p:1")),
            ("https://x/", Some("http://p:2")),
            ("https://a.example/", None),
            ("https://sub.a.example/", None),
            ("https://nota.example/", Some("http://p:2")),
            ("https://b.example/", Some("http://p:2")),
            ("https://x.b.example/", None),
            ("https://10.2.3.4/", None),
            ("https://192.0.2.1/", None),
            ("https://192.0.2.2/", Some("http://p:2")),
            ("https://c.example:5000/", None),
            ("https://c.example/", Some("http://p:2")),
            ("https://localhost:1/", None),
            ("https://[::1]/", None),
        ] {
            assert_eq!(proxies.choose(&Url::parse(url).unwrap()), proxy, "{url}");
        }
        assert_eq!(Proxies { none: "*".into(), ..proxies }.choose(&Url::parse("http://x/").unwrap()), None);
    }
}
