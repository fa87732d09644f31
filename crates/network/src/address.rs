//! Words: a subnet in CIDR notation, an Ethernet address, a transport protocol, a random identifier.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An address with the length of its network prefix, such as `172.17.0.1/16` or `fd00::1/64`.
///
/// The host bits are kept: the same type names a subnet (`172.17.0.0/16`) and an interface's address in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IpNet {
    pub address: IpAddr,
    /// 0 to 32, or 128.
    pub prefix: u8,
}

/// Text that is no address of the kind that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what} \"{text}\"")]
pub struct ParseError {
    pub what: &'static str,
    pub text: String,
}

/// An address as a number.
pub(crate) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The bytes of an address, in network order.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

impl IpNet {
    /// A `prefix` above the address's length counts as that.
    pub const fn new(address: IpAddr, prefix: u8) -> IpNet {
        let most = if address.is_ipv4() { 32 } else { 128 };
        IpNet { address, prefix: if prefix > most { most } else { prefix } }
    }

    /// The subnet, with the host bits cleared.
    pub fn network(&self) -> IpNet {
        IpNet { address: self.at(self.first()), prefix: self.prefix }
    }

    pub fn is_ipv6(&self) -> bool {
        self.address.is_ipv6()
    }

    /// Length of an address of this family in bits.
    pub(crate) fn width(&self) -> u8 {
        if self.is_ipv6() { 128 } else { 32 }
    }

    /// The address of this family with that number.
    pub(crate) fn at(&self, bits: u128) -> IpAddr {
        match self.address {
            IpAddr::V4(_) => Ipv4Addr::from_bits(bits as u32).into(),
            IpAddr::V6(_) => Ipv6Addr::from_bits(bits).into(),
        }
    }

    /// First address of the subnet, as a number.
    pub(crate) fn first(&self) -> u128 {
        bits(self.address) & !self.host_mask()
    }

    /// Last address of the subnet, as a number.
    pub(crate) fn last(&self) -> u128 {
        bits(self.address) | self.host_mask()
    }

    /// The last address of the subnet.
    pub fn broadcast(&self) -> IpAddr {
        self.at(self.last())
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv6() == self.is_ipv6() && (self.first()..=self.last()).contains(&bits(address))
    }

    pub fn overlaps(&self, other: &IpNet) -> bool {
        self.is_ipv6() == other.is_ipv6() && self.first() <= other.last() && other.first() <= self.last()
    }

    /// Whether every address of `other` is one of this subnet.
    pub fn covers(&self, other: &IpNet) -> bool {
        self.is_ipv6() == other.is_ipv6() && self.first() <= other.first() && other.last() <= self.last()
    }

    fn host_mask(&self) -> u128 {
        let host = u32::from(self.width() - self.prefix.min(self.width()));
        u128::MAX.checked_shr(128 - host).unwrap_or(0)
    }
}

impl fmt::Display for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for IpNet {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<IpNet, ParseError> {
        let error = || ParseError { what: "CIDR address", text: text.to_owned() };
        let (address, prefix) = text.split_once('/').ok_or_else(error)?;
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let digits = !prefix.is_empty() && prefix.len() <= 3 && prefix.bytes().all(|b| b.is_ascii_digit());
        let plain = digits && (prefix == "0" || !prefix.starts_with('0'));
        let prefix = prefix.parse().ok().filter(|p| plain && *p <= most).ok_or_else(error)?;
        Ok(IpNet { address, prefix })
    }
}

impl TryFrom<String> for IpNet {
    type Error = ParseError;

    fn try_from(text: String) -> Result<IpNet, ParseError> {
        text.parse()
    }
}

impl From<IpNet> for String {
    fn from(net: IpNet) -> String {
        net.to_string()
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// A random one: unicast, locally administered.
    pub fn random() -> std::io::Result<MacAddress> {
        let mut bytes: [u8; 6] = random()?;
        bytes[0] = bytes[0] & 0xfc | 0x02;
        Ok(MacAddress(bytes))
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = ParseError;

    /// Six pairs of hexadecimal digits between `:` or `-`; multicast addresses and that of all zeros are no interface's.
    fn from_str(text: &str) -> Result<MacAddress, ParseError> {
        let error = || ParseError { what: "MAC address", text: text.to_owned() };
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut bytes = [0; 6];
        let mut parts = text.split(separator);
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = part.and_then(|p| u8::from_str_radix(p, 16).ok()).ok_or_else(error)?;
        }
        if parts.next().is_some() || bytes[0] & 1 == 1 || bytes == [0; 6] {
            return Err(error());
        }
        Ok(MacAddress(bytes))
    }
}

impl TryFrom<String> for MacAddress {
    type Error = ParseError;

    fn try_from(text: String) -> Result<MacAddress, ParseError> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> String {
        mac.to_string()
    }
}

/// Transport protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// The number in the IP header.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

impl FromStr for Protocol {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Protocol, ParseError> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            "sctp" => Ok(Protocol::Sctp),
            _ => Err(ParseError { what: "protocol", text: text.to_owned() }),
        }
    }
}

/// `N` bytes of the kernel's random numbers (getrandom(2)).
pub(crate) fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(bytes)
}

/// A new identifier: 64 random hexadecimal digits.
pub fn random_id() -> std::io::Result<String> {
    Ok(hex(&random::<32>()?))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets() {
        let check = |text: &str, network: &str, broadcast: &str| {
            let net: IpNet = text.parse().unwrap();
            assert_eq!(
                (net.network().to_string().as_str(), net.broadcast().to_string().as_str()),
                (network, broadcast)
            );
            assert_eq!(net.to_string(), text);
        };
        check("172.17.0.1/16", "172.17.0.0/16", "172.17.255.255");
        check("10.1.2.3/32", "10.1.2.3/32", "10.1.2.3");
        check("10.1.2.3/0", "0.0.0.0/0", "255.255.255.255");
        check("fd00:1::5/64", "fd00:1::/64", "fd00:1::ffff:ffff:ffff:ffff");
        check("::/0", "::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
        for bad in ["", "::1/129", "1.2.3.4", "1.2.3.4/33", "1.2.3/8", "1.2.3.4/+8", "1.2.3.4/", "1.2.3.4/008"] {
            assert!(bad.parse::<IpNet>().is_err(), "{bad}");
        }
        let overlap = |a: &str, b: &str| a.parse::<IpNet>().unwrap().overlaps(&b.parse().unwrap());
        assert!(overlap("172.17.0.0/16", "172.16.0.0/12"));
        assert!(overlap("172.17.5.0/24", "172.17.0.0/16"));
        assert!(!overlap("172.17.0.0/16", "172.18.0.0/16"));
        assert!(!overlap("0.0.0.0/0", "::/0"));
    }

    #[test]
    fn ethernet_addresses() {
        assert_eq!("02:42:AC:11:00:02".parse::<MacAddress>().unwrap().to_string(), "02:42:ac:11:00:02");
        assert_eq!("02-42-ac-11-00-02".parse::<MacAddress>().unwrap().to_string(), "02:42:ac:11:00:02");
        for bad in [
            "",
            "02:42",
            "02:42:ac:11:00:02:03",
            "0x:42:ac:11:00:02",
            "+2:42:ac:11:00:02",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
        ] {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad}");
        }
        assert_eq!(MacAddress::random().unwrap().0[0] & 3, 2);
    }

    #[test]
    fn identifiers_are_random() {
        let id = random_id().unwrap();
        assert_eq!(id.len(), 64);
        assert_ne!(id, random_id().unwrap());
    }
}
