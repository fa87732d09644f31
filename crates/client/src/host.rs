//! Where the daemon listens.

use std::path::PathBuf;

use crate::Error;

/// Address of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A unix stream socket.
    Unix(PathBuf),
    /// `host:port`, plain HTTP.
    Tcp(String),
}

/// Used when neither flag nor environment says anything.
pub const DEFAULT_HOST: &str = "unix:///run/hoist.sock";

impl Host {
    /// Parses `unix:///path`, `tcp://host:port`; refuses the other schemes of Docker by name.
    pub fn parse(text: &str) -> Result<Host, Error> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| Error::InvalidHost(text.to_owned()))?;
        match scheme {
            "unix" if !rest.is_empty() => Ok(Host::Unix(PathBuf::from(rest))),
            "tcp" | "http" => Ok(Host::Tcp(tcp_address(rest))),
            "" => Err(Error::InvalidHost(text.to_owned())),
            "unix" => Err(Error::InvalidHost(text.to_owned())),
            other => Err(Error::UnsupportedHost { scheme: other.to_owned(), host: text.to_owned() }),
        }
    }

    /// The address from the flag, `HOIST_HOST`, `DOCKER_HOST` or the default, in this order.
    pub fn choose(flag: Option<&str>, env: impl Fn(&str) -> Option<String>) -> Result<Host, Error> {
        let set = |name: &str| env(name).filter(|v| !v.is_empty());
        let text = flag
            .map(str::to_owned)
            .filter(|v| !v.is_empty())
            .or_else(|| set("HOIST_HOST"))
            .or_else(|| set("DOCKER_HOST"))
            .unwrap_or_else(|| DEFAULT_HOST.to_owned());
        Host::parse(&text)
    }
}

fn tcp_address(rest: &str) -> String {
    let address = rest.split('/').next().unwrap_or_default();
    let has_port = match address.rfind(']') {
        Some(end) => address[end..].contains(':'),
        None => address.contains(':'),
    };
    let address = if address.is_empty() { "127.0.0.1" } else { address };
    match (has_port, address.strip_prefix(':')) {
        (true, Some(port)) => format!("127.0.0.1:{port}"),
        (true, None) => address.to_owned(),
        (false, _) => format!("{address}:2375"),
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Host::Unix(path) => write!(f, "unix://{}", path.display()),
            Host::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints() {
        for (text, expect) in [
            ("unix:///run/hoist.sock", "unix:///run/hoist.sock"),
            ("tcp://1.2.3.4", "tcp://1.2.3.4:2375"),
            ("tcp://1.2.3.4:80", "tcp://1.2.3.4:80"),
            ("tcp://[::1]", "tcp://[::1]:2375"),
            ("tcp://[::1]:99", "tcp://[::1]:99"),
            ("tcp://:99", "tcp://127.0.0.1:99"),
            ("http://h:1/x", "tcp://h:1"),
        ] {
            assert_eq!(Host::parse(text).expect(text).to_string(), expect);
        }
        assert_eq!(
            Host::parse("nonsense").expect_err("no scheme").to_string(),
            "unable to parse docker host `nonsense`"
        );
        assert!(Host::parse("ssh://me@there").expect_err("ssh").to_string().contains("ssh://"));
        assert!(matches!(Host::parse("unix://"), Err(Error::InvalidHost(_))));
    }

    #[test]
    fn order_of_sources() {
        let env = |name: &str| match name {
            "HOIST_HOST" => Some("unix:///h".to_owned()),
            "DOCKER_HOST" => Some("unix:///d".to_owned()),
            _ => None,
        };
        assert_eq!(Host::choose(Some("unix:///f"), env).expect("flag").to_string(), "unix:///f");
        assert_eq!(Host::choose(None, env).expect("hoist").to_string(), "unix:///h");
        assert_eq!(
            Host::choose(None, |n| env(n).filter(|_| n == "DOCKER_HOST")).expect("docker").to_string(),
            "unix:///d"
        );
        assert_eq!(Host::choose(None, |_| None).expect("default").to_string(), DEFAULT_HOST);
    }
}
