//! The few things about addresses that a registry client needs: parts, and where a redirect points.

use std::fmt;
use std::net::IpAddr;

/// http or https.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// An absolute http(s) address without user information and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) scheme: Scheme,
    /// `host` or `host:port`.
    pub(crate) authority: String,
    /// Path and query, begins with `/`.
    pub(crate) path: String,
}

impl Url {
    /// Parses an absolute address. `None`: another scheme, user information, no host, characters that do not belong.
    pub(crate) fn parse(text: &str) -> Option<Url> {
        let lower_end = text.find("://")?;
        let scheme = match text[..lower_end].to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let rest = text[lower_end + 3..].split('#').next()?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Url { scheme, authority: authority.to_ascii_lowercase(), path }.checked()
    }

    /// Where `location` leads, seen from here.
    pub(crate) fn join(&self, location: &str) -> Option<Url> {
        let location = location.trim();
        if location.contains("://") && Url::parse(location).is_some() {
            return Url::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Url::parse(&format!("{}://{rest}", self.scheme.as_str()));
        }
        let before_query = location.split(['?', '#']).next().unwrap_or_default();
        if before_query.contains(':') {
            return None;
        }
        let location = location.split('#').next().unwrap_or_default();
        let path = if location.starts_with('/') {
            location.to_owned()
        } else {
            let own = self.path.split('?').next().unwrap_or("/");
            match location.starts_with('?') {
                true => format!("{own}{location}"),
                false => format!("{}{location}", &own[..own.rfind('/').map_or(0, |at| at + 1)]),
            }
        };
        Url { path, ..self.clone() }.checked()
    }

    fn checked(self) -> Option<Url> {
        let graphic = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        let (host, port) = split_port(&self.authority);
        let sound = !host.is_empty()
            && !self.authority.contains(['@', '\\', '"', '<', '>'])
            && port.is_none_or(|port| port.parse::<u16>().is_ok())
            && graphic(&self.authority)
            && graphic(&self.path);
        sound.then_some(self)
    }

    /// The host without port and brackets.
    pub(crate) fn host(&self) -> &str {
        bare_host(&self.authority)
    }

    /// The port, from the scheme if not written.
    pub(crate) fn port(&self) -> u16 {
        split_port(&self.authority).1.and_then(|port| port.parse().ok()).unwrap_or(self.scheme.default_port())
    }

    /// Same scheme, host and port?
    pub(crate) fn same_origin(&self, other: &Url) -> bool {
        self.scheme == other.scheme && self.host() == other.host() && self.port() == other.port()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.as_str(), self.authority, self.path)
    }
}

/// `host[:port]`, the host with its brackets.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// The host of `host[:port]`, without brackets.
pub(crate) fn bare_host(authority: &str) -> &str {
    let host = split_port(authority).0;
    host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host)
}

/// localhost, 127.0.0.0/8 or ::1?
pub(crate) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Percent-encodes a query value.
pub(crate) fn encode_query(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_resolve() {
        let base = Url::parse("https://r.example:5000/v2/a/blobs/x?q=1").unwrap();
        for (location, expect) in [
            ("https://CDN.example/b?sig=a:b//c", Some("https://cdn.example/b?sig=a:b//c")),
            ("http://cdn.example", Some("http://cdn.example/")),
            ("http://cdn.example?x", Some("http://cdn.example/?x")),
            ("//cdn.example/b#frag", Some("https://cdn.example/b")),
            ("/c", Some("https://r.example:5000/c")),
            ("c?u=http://x/", Some("https://r.example:5000/v2/a/blobs/c?u=http://x/")),
            ("?y", Some("https://r.example:5000/v2/a/blobs/x?y")),
            ("ftp://x/", None),
            ("file:///etc/passwd", None),
            ("javascript:x", None),
            ("https://user:pass@cdn.example/", None),
            ("https:///x", None),
            ("https://h:99999/x", None),
            ("https://h/a b", None),
            ("/a\r\nX: y", None),
        ] {
            assert_eq!(base.join(location).map(|url| url.to_string()).as_deref(), expect, "{location}");
        }
    }

    #[test]
    fn origins_and_hosts() {
        let origin = |a: &str, b: &str| Url::parse(a).unwrap().same_origin(&Url::parse(b).unwrap());
        assert!(origin("https://h/a", "https://H:443/b"));
        assert!(!origin("https://h/a", "http://h/b"));
        assert!(!origin("https://h/a", "https://h:444/a"));
        assert!(!origin("https://h/a", "https://h.evil/a"));
        for (host, loopback) in [
            ("localhost", true),
            ("127.8.0.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("10.0.0.1", false),
            ("localhost.x", false),
        ] {
            assert_eq!(is_loopback(host), loopback, "{host}");
        }
        assert_eq!(bare_host("[::1]:5000"), "::1");
        assert_eq!(bare_host("[::1]"), "::1");
        assert_eq!(bare_host("h:1"), "h");
        assert_eq!(encode_query("a:b/c d"), "a%3Ab%2Fc%20d");
    }
}
