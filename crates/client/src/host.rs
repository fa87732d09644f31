//! Where the daemon listens.

use std::path::PathBuf;

use crate::Error;

/// Address of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A unix stream socket.
    Unix(PathBuf),
    /// `host:port`, plain HTTP or TLS.
    Tcp(String),
    /// A machine that ssh(1) reaches, whose daemon is asked through `system dial-stdio`.
    Ssh(Ssh),
}

/// `ssh://[user@]host[:port][/socket]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssh {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    socket: Option<String>,
}

/// Used when neither flag nor environment says anything.
pub const DEFAULT_HOST: &str = "unix:///run/hoist.sock";

impl Host {
    /// Parses `unix:///path`, `tcp://host:port` and `ssh://user@host`; refuses the other schemes of Docker by name.
    pub fn parse(text: &str) -> Result<Host, Error> {
        Host::parse_with(text, false)
    }

    /// As [`Host::parse`]; with TLS a missing port is 2376.
    pub fn parse_with(text: &str, tls: bool) -> Result<Host, Error> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| Error::InvalidHost(text.to_owned()))?;
        match scheme {
            "unix" if !rest.is_empty() => Ok(Host::Unix(PathBuf::from(rest))),
            "https" if !tls => Err(Error::PlainHttps(text.to_owned())),
            "tcp" | "http" | "https" => Ok(Host::Tcp(tcp_address(rest, if tls { 2376 } else { 2375 }))),
            "ssh" => {
                Ssh::parse(rest).map(Host::Ssh).map_err(|why| Error::InvalidSsh { host: text.to_owned(), reason: why })
            }
            "" | "unix" => Err(Error::InvalidHost(text.to_owned())),
            other => Err(Error::UnsupportedHost { scheme: other.to_owned(), host: text.to_owned() }),
        }
    }

    /// The address from the flag, `HOIST_HOST`, `DOCKER_HOST` or the default, in this order.
    pub fn choose(flag: Option<&str>, tls: bool, env: impl Fn(&str) -> Option<String>) -> Result<Host, Error> {
        let set = |name: &str| env(name).filter(|v| !v.is_empty());
        let text = flag
            .filter(|v| !v.is_empty())
            // On the command line docker takes an address without a scheme for one of TCP.
            .map(|v| if v.contains("://") { v.to_owned() } else { format!("tcp://{v}") })
            .or_else(|| set("HOIST_HOST"))
            .or_else(|| set("DOCKER_HOST"))
            .unwrap_or_else(|| DEFAULT_HOST.to_owned());
        Host::parse_with(&text, tls)
    }
}

impl Ssh {
    fn parse(rest: &str) -> Result<Ssh, &'static str> {
        let (authority, path) = match rest.find('/') {
            Some(at) => (&rest[..at], &rest[at..]),
            None => (rest, ""),
        };
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user.to_owned()), place),
            None => (None, authority),
        };
        if user.as_deref().is_some_and(|user| user.contains(':')) {
            return Err("plain-text password is not supported");
        }
        if rest.contains(['?', '#']) {
            return Err("queries and fragments are not supported");
        }
        let (host, port) = match place.strip_prefix('[').and_then(|p| p.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let port = port.map(|p| p.parse().map_err(|_| "the port is not a number")).transpose()?;
        if host.is_empty() {
            return Err("no host specified");
        }
        // What begins with a dash would be an option to ssh.
        if host.starts_with('-') || user.as_deref().is_some_and(|u| u.is_empty() || u.starts_with('-')) {
            return Err("host and user may not begin with a dash or be empty");
        }
        let socket = Some(path.to_owned()).filter(|p| !p.is_empty() && p != "/");
        Ok(Ssh { user, host: host.to_owned(), port, socket })
    }

    /// Arguments for ssh(1). `programs`: names of the client over there, the best one first.
    pub(crate) fn arguments(&self, programs: [&str; 2]) -> Vec<String> {
        let mut out: Vec<String> = ["-o", "ConnectTimeout=30", "-T"].map(str::to_owned).into();
        if let Some(user) = &self.user {
            out.extend(["-l".to_owned(), user.clone()]);
        }
        if let Some(port) = self.port {
            out.extend(["-p".to_owned(), port.to_string()]);
        }
        out.extend(["--".to_owned(), self.host.clone()]);
        let host =
            self.socket.as_ref().map_or_else(String::new, |s| format!(" --host {}", quote(&format!("unix://{s}"))));
        let [first, second] = programs;
        let script = format!(
            "if command -v {first} >/dev/null 2>&1; then exec {first}{host} system dial-stdio; \
             else exec {second}{host} system dial-stdio; fi"
        );
        // The login shell over there may be none that knows this language.
        out.push(format!("sh -c {}", quote(&script)));
        out
    }
}

/// One word of a POSIX shell.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn tcp_address(rest: &str, default_port: u16) -> String {
    let address = rest.split('/').next().unwrap_or_default();
    let has_port = match address.rfind(']') {
        Some(end) => address[end..].contains(':'),
        None => address.contains(':'),
    };
    let address = if address.is_empty() { "127.0.0.1" } else { address };
    match (has_port, address.strip_prefix(':')) {
        (true, Some(port)) => format!("127.0.0.1:{port}"),
        (true, None) => address.to_owned(),
        (false, _) => format!("{address}:{default_port}"),
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Host::Unix(path) => write!(f, "unix://{}", path.display()),
            Host::Tcp(address) => write!(f, "tcp://{address}"),
            Host::Ssh(Ssh { user, host, port, socket }) => {
                f.write_str("ssh://")?;
                if let Some(user) = user {
                    write!(f, "{user}@")?;
                }
                let brackets = host.contains(':');
                f.write_str(if brackets { "[" } else { "" })?;
                f.write_str(host)?;
                f.write_str(if brackets { "]" } else { "" })?;
                if let Some(port) = port {
                    write!(f, ":{port}")?;
                }
                f.write_str(socket.as_deref().unwrap_or_default())
            }
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
            ("ssh://me@there", "ssh://me@there"),
            ("ssh://me@there:22/run/x.sock", "ssh://me@there:22/run/x.sock"),
            ("ssh://[::1]:9", "ssh://[::1]:9"),
        ] {
            assert_eq!(Host::parse(text).expect(text).to_string(), expect);
        }
        assert_eq!(
            Host::parse("nonsense").expect_err("no scheme").to_string(),
            "unable to parse docker host `nonsense`"
        );
        assert_eq!(Host::parse_with("tcp://h", true).expect("port").to_string(), "tcp://h:2376");
        for wrong in
            ["ssh://", "ssh://u:p@h", "ssh://-oProxyCommand=x", "ssh://-l@h", "ssh://@h", "ssh://h:x", "ssh://h?q"]
        {
            assert!(matches!(Host::parse(wrong), Err(Error::InvalidSsh { .. })), "{wrong}");
        }
        assert!(matches!(Host::parse("npipe://x"), Err(Error::UnsupportedHost { .. })));
        assert!(matches!(Host::parse("unix://"), Err(Error::InvalidHost(_))));
    }

    #[test]
    fn order_of_sources() {
        let env = |name: &str| match name {
            "HOIST_HOST" => Some("unix:///h".to_owned()),
            "DOCKER_HOST" => Some("unix:///d".to_owned()),
            _ => None,
        };
        assert_eq!(Host::choose(Some("unix:///f"), false, env).expect("flag").to_string(), "unix:///f");
        assert_eq!(Host::choose(Some("1.2.3.4:5"), false, env).expect("flag").to_string(), "tcp://1.2.3.4:5");
        assert_eq!(Host::choose(None, false, env).expect("hoist").to_string(), "unix:///h");
        assert_eq!(
            Host::choose(None, false, |n| env(n).filter(|_| n == "DOCKER_HOST")).expect("docker").to_string(),
            "unix:///d"
        );
        assert_eq!(Host::choose(None, false, |_| None).expect("default").to_string(), DEFAULT_HOST);
    }

    #[test]
    fn what_ssh_is_told() {
        let Ok(Host::Ssh(ssh)) = Host::parse("ssh://me@there:22/run/it's.sock") else { panic!("ssh") };
        let words = ssh.arguments(["hoist", "docker"]);
        assert_eq!(words[..8], ["-o", "ConnectTimeout=30", "-T", "-l", "me", "-p", "22", "--"]);
        assert_eq!(words[8], "there");
        assert!(words[9].starts_with("sh -c '") && words[9].contains("hoist --host"), "{}", words[9]);
    }
}
