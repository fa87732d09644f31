//! Ports: `80/tcp`, and where they are published.

use crate::error::Invalid;
use crate::json::{List, Map, omit};
use std::fmt;

/// Published ports by [`PortKey`].
pub type PortMap = Map<List<PortBinding>>;

wire! {
    /// An address of the host.
    pub struct PortBinding {
        /// Empty: all addresses.
        pub host_ip: String,
        /// Empty: a free one; `8000-8010`: a free one of these.
        pub host_port: String,
    }

    /// A port in the list of containers.
    pub struct Port {
        #[serde(rename = "IP", skip_serializing_if = "omit")]
        pub ip: String,
        pub private_port: u16,
        #[serde(skip_serializing_if = "omit")]
        pub public_port: u16,
        #[serde(rename = "Type")]
        pub kind: String,
    }

    /// Ports that are published, or withdrawn, while a container runs; and the answer, with the ports that were chosen.
    pub struct PortChange {
        /// To withdraw without naming a binding: all of the container's port.
        pub ports: PortMap,
    }
}

impl PortBinding {
    /// First and last host port; `None`: any free one.
    pub fn host_ports(&self) -> Result<Option<(u16, u16)>, Invalid> {
        if self.host_port.is_empty() {
            return Ok(None);
        }
        let (first, last) = self.host_port.split_once('-').unwrap_or((&self.host_port, &self.host_port));
        match (parse_number(first), parse_number(last)) {
            (Some(0), Some(0)) => Ok(None),
            (Some(first), Some(last)) if first <= last => Ok(Some((first, last))),
            _ => Err(Invalid(format!("invalid port specification: {:?}", self.host_port))),
        }
    }
}

/// Decimal digits only: no sign, no blank.
fn parse_number(text: &str) -> Option<u16> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// A transport protocol that can be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// In any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Some(Self::Tcp),
            "udp" => Some(Self::Udp),
            "sctp" => Some(Self::Sctp),
            _ => None,
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// A container's port, `80/tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortKey {
    pub port: u16,
    pub protocol: Protocol,
}

impl PortKey {
    /// `80`, `80/udp`, and a range `8000-8010/tcp`, which is several.
    pub fn parse_range(text: &str) -> Result<Vec<Self>, Invalid> {
        let invalid = || Invalid(format!("invalid port specification: {text:?}"));
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = Protocol::parse(protocol).ok_or_else(invalid)?;
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        match (parse_number(first), parse_number(last)) {
            (Some(first), Some(last)) if 0 < first && first <= last => {
                Ok((first..=last).map(|port| Self { port, protocol }).collect())
            }
            _ => Err(invalid()),
        }
    }

    /// A single port.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match Self::parse_range(text)?.as_slice() {
            [key] => Ok(*key),
            _ => Err(Invalid(format!("invalid port specification: {text:?}"))),
        }
    }
}

impl fmt::Display for PortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol.as_str())
    }
}
