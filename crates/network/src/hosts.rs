//! A container's `/etc/hosts` and `/etc/hostname`.

use std::fmt::Write;
use std::net::IpAddr;

/// A container's `/etc/hosts`.
#[derive(Clone, Debug, Default)]
pub struct Hosts<'a> {
    pub hostname: &'a str,
    /// Empty: none.
    pub domain: &'a str,
    /// The container's own addresses; none without a network.
    pub addresses: &'a [IpAddr],
    /// `--add-host`: address and names.
    pub extra: &'a [(IpAddr, String)],
    /// The container has IPv6.
    pub ipv6: bool,
}

const IPV6: &str = "::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n\
                    ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

/// The text of `/etc/hosts`.
pub fn hosts_file(hosts: &Hosts<'_>) -> String {
    let mut text = "127.0.0.1\tlocalhost\n".to_owned();
    if hosts.ipv6 {
        text.push_str(IPV6);
    }
    for (address, names) in hosts.extra {
        let _ = writeln!(text, "{address}\t{names}");
    }
    for address in hosts.addresses {
        let _ = match hosts.domain {
            "" => writeln!(text, "{address}\t{}", hosts.hostname),
            domain => writeln!(text, "{address}\t{0}.{domain} {0}", hosts.hostname),
        };
    }
    text
}

/// The text of `/etc/hostname`.
pub fn hostname_file(hostname: &str) -> String {
    format!("{hostname}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_docker_writes_them() {
        let addresses = ["172.17.0.2".parse().unwrap()];
        let extra = [("10.0.0.9".parse().unwrap(), "db".to_owned())];
        let mut hosts = Hosts { hostname: "abc", addresses: &addresses, extra: &extra, ..Hosts::default() };
        assert_eq!(hosts_file(&hosts), "127.0.0.1\tlocalhost\n10.0.0.9\tdb\n172.17.0.2\tabc\n");
        hosts.domain = "example.org";
        hosts.ipv6 = true;
        let text = hosts_file(&hosts);
        assert!(
            text.starts_with("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\t"),
            "{text}"
        );
        assert!(text.ends_with("\n172.17.0.2\tabc.example.org abc\n"), "{text}");
        assert_eq!(hosts_file(&Hosts::default()), "127.0.0.1\tlocalhost\n");
        assert_eq!(hostname_file("abc"), "abc\n");
    }
}
