//! `-p`: published ports in all their forms.

use std::net::IpAddr;

/// One container port and where it is published.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// `80/tcp`.
    pub(crate) port: String,
    pub(crate) host_ip: String,
    /// Empty, a port, or a range to choose from.
    pub(crate) host_port: String,
}

/// `published=…,target=…,protocol=…` becomes the short form.
fn standard(publish: &str) -> Result<String, String> {
    if !publish.contains('=') {
        return Ok(publish.to_owned());
    }
    let (mut published, mut target, mut protocol) = ("", "", "tcp");
    for field in publish.split(',') {
        match field.split_once('=') {
            Some(("published", value)) => published = value,
            Some(("target", value)) => target = value,
            Some(("protocol", value)) => protocol = value,
            Some((key, _)) if !key.is_empty() => {}
            _ => return Err(format!("invalid publish opts format (should be name=value but got '{field}')")),
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

/// A port or a range of ports.
pub(crate) fn range(text: &str) -> Result<(u16, u16), String> {
    let number = |digits: &str| -> Result<u16, String> {
        let fail = |why: &str| format!("strconv.ParseUint: parsing {}: {why}", crate::human::quote(digits));
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(fail("invalid syntax"));
        }
        digits.parse().map_err(|_| fail("value out of range"))
    };
    if text.is_empty() {
        return Err("empty string specified for ports".to_owned());
    }
    let mut parts = text.split('-');
    let start = number(parts.next().unwrap_or_default())?;
    let end = match parts.next() {
        Some(end) => number(end)?,
        None => start,
    };
    if end < start { Err(format!("invalid range specified for port: {text}")) } else { Ok((start, end)) }
}

/// Splits `port/proto`; the protocol defaults to tcp.
pub(crate) fn split_proto(text: &str) -> (String, &str) {
    match text.split_once('/') {
        Some(("", _)) => (String::new(), ""),
        Some((port, "")) => ("tcp".to_owned(), port),
        Some((port, proto)) => (proto.split('/').next().unwrap_or_default().to_owned(), port),
        None if text.is_empty() => (String::new(), ""),
        None => ("tcp".to_owned(), text),
    }
}

/// Parses one `-p` value.
pub(crate) fn parse(publish: &str) -> Result<Vec<Mapping>, String> {
    let spec = standard(publish)?;
    let parts: Vec<&str> = spec.split(':').collect();
    let (ip, host, container) = match parts.as_slice() {
        [container] => (String::new(), "", *container),
        [host, container] => (String::new(), *host, *container),
        [ip @ .., host, container] => (ip.join(":"), *host, *container),
        [] => (String::new(), "", ""),
    };
    let (proto, container) = split_proto(container);
    let ip = match ip.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .ok_or_else(|| format!("invalid IP address {ip}: address {ip}:: missing ']' in address"))?
            .to_owned(),
        None => ip,
    };
    if !ip.is_empty() && ip.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address: {ip}"));
    }
    if container.is_empty() {
        return Err(format!("no port specified: {spec}<empty>"));
    }
    let (start, end) = range(container).map_err(|_| format!("invalid containerPort: {container}"))?;
    let mut host_range = None;
    if !host.is_empty() {
        let (host_start, host_end) = range(host).map_err(|_| format!("invalid hostPort: {host}"))?;
        if end - start != host_end - host_start && end != start {
            return Err(format!("invalid ranges specified for container and host Ports: {container} and {host}"));
        }
        host_range = Some((host_start, host_end));
    }
    let proto = proto.to_lowercase();
    if !matches!(proto.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {proto}"));
    }
    Ok((start..=end)
        .map(|port| Mapping {
            port: format!("{port}/{proto}"),
            host_ip: ip.clone(),
            host_port: match host_range {
                None => String::new(),
                Some((low, high)) if start == end && low != high => format!("{low}-{high}"),
                Some((low, _)) => (low + (port - start)).to_string(),
            },
        })
        .collect())
}

/// `--expose`: ports as `80/tcp`.
pub(crate) fn expose(text: &str) -> Result<Vec<String>, String> {
    if text.contains(':') {
        return Err(format!("invalid port format for --expose: {text}"));
    }
    let (proto, port) = split_proto(text);
    let (start, end) = range(port).map_err(|why| format!("invalid range format for --expose: {text}, error: {why}"))?;
    if !matches!(proto.to_lowercase().as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {proto}"));
    }
    Ok((start..=end).map(|p| format!("{p}/{}", proto.to_lowercase())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(publish: &str) -> Result<String, String> {
        parse(publish).map(|list| {
            list.iter().map(|m| format!("{}|{}|{}", m.host_ip, m.host_port, m.port)).collect::<Vec<_>>().join(" ")
        })
    }

    #[test]
    fn publish_forms() {
        for (text, expect) in [
            ("80", Ok("||80/tcp")),
            ("8080:80", Ok("|8080|80/tcp")),
            ("8080:80/udp", Ok("|8080|80/udp")),
            ("127.0.0.1:8080:80", Ok("127.0.0.1|8080|80/tcp")),
            ("127.0.0.1::80", Ok("127.0.0.1||80/tcp")),
            ("[::1]:8080:80", Ok("::1|8080|80/tcp")),
            ("::1:8080:80", Ok("::1|8080|80/tcp")),
            ("8000-8001:80-81", Ok("|8000|80/tcp |8001|81/tcp")),
            ("8000-8009:80", Ok("|8000-8009|80/tcp")),
            ("published=8080,target=80,protocol=udp", Ok("|8080|80/udp")),
            ("target=80", Ok("||80/tcp")),
            ("a:b:c:d", Err("invalid IP address: a:b")),
            ("x:80", Err("invalid hostPort: x")),
            ("80:x", Err("invalid containerPort: x")),
            ("80:", Err("no port specified: 80:<empty>")),
            ("80:80/foo", Err("invalid proto: foo")),
            ("80-81:80-82", Err("invalid ranges specified for container and host Ports: 80-82 and 80-81")),
            ("99999:80", Err("invalid hostPort: 99999")),
        ] {
            assert_eq!(short(text).as_deref(), expect.map_err(str::to_owned).as_ref().map(|s| *s), "{text}");
        }
    }

    #[test]
    fn exposed() {
        assert_eq!(expose("80-82/udp").expect("range"), ["80/udp", "81/udp", "82/udp"]);
        assert!(expose("80:80").is_err() && expose("x").is_err());
    }
}
