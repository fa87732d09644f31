//! The host's servers, from its resolv.conf (resolv.conf(5)), followed as it changes.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

/// Where the host's resolver is configured.
const HOST_FILE: &str = "/etc/resolv.conf";
/// More is not read.
const LIMIT: u64 = 64 * 1024;
/// Most servers that are asked, as in the C library.
pub const MOST: usize = 3;
/// Asked where the host names nobody, as Docker does it.
const FALLBACK: [[u8; 4]; 2] = [[8, 8, 8, 8], [8, 8, 4, 4]];
/// How often the file is looked at, while somebody asks.
const PERIOD: Duration = Duration::from_millis(500);
/// Port of DNS.
pub const PORT: u16 = 53;

/// The servers, and when the file was last looked at.
#[derive(Debug, Default)]
pub struct HostServers {
    servers: Vec<SocketAddr>,
    text: String,
    looked: Option<Instant>,
}

impl HostServers {
    /// The servers now; true when they are others than at the last call.
    pub fn current(&mut self, now: Instant) -> (&[SocketAddr], bool) {
        let due = self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= PERIOD);
        let mut changed = false;
        if due {
            self.looked = Some(now);
            let mut text = Vec::new();
            if let Ok(file) = File::open(HOST_FILE) {
                let _ = file.take(LIMIT).read_to_end(&mut text);
            }
            let text = String::from_utf8_lossy(&text).into_owned();
            if text != self.text || self.servers.is_empty() {
                let mut servers = parse(&text);
                if servers.is_empty() {
                    servers = FALLBACK.into_iter().map(|address| (address, PORT).into()).collect();
                }
                changed = servers != self.servers;
                self.servers = servers;
                self.text = text;
            }
        }
        (&self.servers, changed)
    }
}

/// The servers that a resolv.conf names; Loopback ones too: the host's side can ask them.
pub fn parse(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    let servers = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()
    });
    servers.filter_map(server).take(MOST).collect()
}

/// An address, of IPv6 perhaps with the number of its interface.
pub fn server(text: &str) -> Option<SocketAddr> {
    let (address, zone) = text.split_once('%').unwrap_or((text, ""));
    match address.parse().ok()? {
        IpAddr::V4(address) if zone.is_empty() => Some((address, PORT).into()),
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => {
            let index = || std::fs::read_to_string(format!("/sys/class/net/{zone}/ifindex")).ok()?.trim().parse().ok();
            let sound = zone.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@".contains(&b)) && zone != "..";
            let scope = if zone.is_empty() { 0 } else { sound.then(index).flatten()? };
            Some(SocketAddrV6::new(address, PORT, 0, scope).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers() {
        let text = "# x\nnameserver 10.0.0.1\nsearch a\n nameserver 127.0.0.53\nnameserver nonsense\nnameserver fd00::1\nnameserver 9.9.9.9\n";
        let found: Vec<String> = parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.1:53", "127.0.0.53:53", "[fd00::1]:53"]);
        assert!(parse("").is_empty());
        assert_eq!(server("fe80::1%no-such-link"), None);
        assert_eq!(server("fe80::1%../../x"), None);
    }
}
