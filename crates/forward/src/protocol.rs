//! What the daemon tells the forwarder: one `SOCK_SEQPACKET` datagram of JSON each, answered by one.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Version of the protocol; the forwarder answers requests of every older one.
pub const VERSION: u32 = 1;

/// Largest datagram, in bytes.
pub(crate) const MAX_MESSAGE: usize = 32 * 1024;

/// Most names that an answer lists at a time.
pub(crate) const LISTED: usize = 400;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
}

/// One port that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Forward {
    pub protocol: Protocol,
    /// What the socket is bound to.
    pub listen: SocketAddr,
    /// Where it leads.
    pub target: SocketAddr,
}

impl Forward {
    /// By what it is known: there is one socket for each protocol and address.
    pub fn id(&self) -> String {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        format!("{protocol}:{}", self.listen)
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub(crate) enum Request {
    /// What is served?
    List { after: String },
    /// Serves the socket that comes along; without one, what is served leads to another target from now on.
    Serve { forward: Forward },
    /// Closes the socket, and the connections that came through it.
    Drop { id: String },
}

/// A request with its version.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Versioned {
    pub version: u32,
    #[serde(flatten)]
    pub request: Request,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    Done,
    /// Of a request without a socket: nothing of that name is served.
    Unknown,
    /// Some of the names, in order; go on after the last.
    Served(Vec<String>),
    Refused(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_the_wire() {
        let forward = Forward {
            protocol: Protocol::Udp,
            listen: "[::1]:53".parse().unwrap(),
            target: "172.17.0.2:53".parse().unwrap(),
        };
        assert_eq!(forward.id(), "udp:[::1]:53");
        let text = serde_json::to_string(&Versioned { version: VERSION, request: Request::Serve { forward } }).unwrap();
        assert_eq!(
            text,
            r#"{"version":1,"do":"serve","forward":{"protocol":"udp","listen":"[::1]:53","target":"172.17.0.2:53"}}"#
        );
        // What a later daemon adds is passed over.
        let later = r#"{"version":1,"do":"drop","id":"tcp:1.2.3.4:5","why":"x"}"#;
        assert!(
            matches!(serde_json::from_str::<Versioned>(later).unwrap().request, Request::Drop { id } if id.len() == 13)
        );
    }
}
