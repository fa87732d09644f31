//! The column of ports.

use serde::Deserialize;

/// One port of the list answer.
#[derive(Debug, Default, Deserialize, Clone)]
#[serde(default)]
pub(crate) struct Port {
    #[serde(rename = "IP")]
    ip: String,
    #[serde(rename = "PrivatePort")]
    private: u16,
    #[serde(rename = "PublicPort")]
    public: u16,
    #[serde(rename = "Type")]
    kind: String,
}

/// The published ones alone, those with the same reach together: `everyone 0.0.0.0:8000->80/tcp; loopback …`.
pub(super) fn exposed(list: Vec<Port>) -> String {
    let mut groups: Vec<(&'static str, Vec<Port>)> = Vec::new();
    for port in list.into_iter().filter(|port| port.public != 0) {
        let reach = crate::container::port::reach(&port.ip);
        match groups.iter_mut().find(|(of, _)| *of == reach) {
            Some((_, ports)) => ports.push(port),
            None => groups.push((reach, vec![port])),
        }
    }
    groups.into_iter().map(|(reach, list)| format!("{reach} {}", ports(list))).collect::<Vec<_>>().join("; ")
}

/// `0.0.0.0:8000->80/tcp, 443/tcp`: neighbouring ports joined to ranges.
pub(crate) fn ports(mut list: Vec<Port>) -> String {
    let join = |ip: &str, port: &str| if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
    list.sort_by(|a, b| (a.private, &a.ip, a.public, &a.kind).cmp(&(b.private, &b.ip, b.public, &b.kind)));
    // A group per address and protocol, in the order of their first port.
    let mut groups: Vec<(String, String, u16, u16)> = Vec::new();
    let (mut out, mut mapped) = (Vec::new(), Vec::new());
    let shown = |(ip, kind, first, last): &(String, String, u16, u16)| {
        let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
        if ip.is_empty() { format!("{range}/{kind}") } else { format!("{}->{range}/{kind}", join(ip, &range)) }
    };
    for port in list {
        if !port.ip.is_empty() && port.public != port.private {
            mapped.push(format!("{}->{}/{}", join(&port.ip, &port.public.to_string()), port.private, port.kind));
            continue;
        }
        match groups.iter_mut().find(|g| g.0 == port.ip && g.1 == port.kind) {
            None => groups.push((port.ip, port.kind, port.private, port.private)),
            Some(group) if group.3.checked_add(1) == Some(port.private) => group.3 = port.private,
            Some(group) => {
                out.push(shown(group));
                (group.2, group.3) = (port.private, port.private);
            }
        }
    }
    out.extend(groups.iter().map(shown));
    out.extend(mapped);
    out.join(", ")
}

#[cfg(test)]
impl Port {
    pub(super) fn new(ip: &str, public: u16, private: u16, kind: &str) -> Port {
        Port { ip: ip.to_owned(), private, public, kind: kind.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_lists() {
        for (list, expect) in [
            (vec![], ""),
            (vec![Port::new("", 0, 80, "tcp")], "80/tcp"),
            (
                vec![Port::new("0.0.0.0", 8000, 80, "tcp"), Port::new("::", 8000, 80, "tcp")],
                "0.0.0.0:8000->80/tcp, [::]:8000->80/tcp",
            ),
            (
                vec![
                    Port::new("0.0.0.0", 81, 81, "tcp"),
                    Port::new("0.0.0.0", 80, 80, "tcp"),
                    Port::new("0.0.0.0", 82, 82, "tcp"),
                ],
                "0.0.0.0:80-82->80-82/tcp",
            ),
            (
                vec![
                    Port::new("", 0, 80, "tcp"),
                    Port::new("", 0, 443, "tcp"),
                    Port::new("", 0, 444, "tcp"),
                    Port::new("", 0, 53, "udp"),
                ],
                "80/tcp, 53/udp, 443-444/tcp",
            ),
        ] {
            assert_eq!(ports(list), expect);
        }
        let list = vec![
            Port::new("127.0.0.1", 81, 81, "tcp"),
            Port::new("0.0.0.0", 80, 80, "tcp"),
            Port::new("", 0, 53, "udp"),
        ];
        assert_eq!(exposed(list), "loopback 127.0.0.1:81->81/tcp; everyone 0.0.0.0:80->80/tcp");
    }
}
