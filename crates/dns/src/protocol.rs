//! What the daemon tells the resolver: one `SOCK_SEQPACKET` datagram of JSON each, answered by one.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Version of the protocol; the resolver answers requests of every older one.
pub const VERSION: u32 = 1;

/// Largest datagram, in bytes.
pub(crate) const MAX_MESSAGE: usize = 64 * 1024;

/// Most names that an answer lists at a time.
pub(crate) const LISTED: usize = 500;

/// A name's holder in one network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    pub id: String,
    /// Id of the network.
    pub network: String,
    pub network_name: String,
    /// The first is its own, and the answer to a reverse query.
    pub names: Vec<String>,
    pub addresses: Vec<IpAddr>,
}

/// A network stack in which the resolver is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sandbox {
    pub id: String,
    /// Ids of its networks; the one that leads out first.
    pub networks: Vec<String>,
    /// Alias and name.
    pub links: Vec<(String, String)>,
    /// `--dns`; without any the host's servers.
    pub servers: Vec<IpAddr>,
    /// Other names than those of containers may be asked for: it is not in internal networks alone.
    pub forwards: bool,
    /// Other resolvers that know names without a dot in its networks: those of an overlay network's other hosts.
    pub peers: Vec<std::net::SocketAddr>,
    /// It is such hosts that ask here.
    pub of_peers: bool,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub(crate) enum Request {
    /// Which sandboxes are served?
    List {
        after: String,
    },
    /// Serves a sandbox on the sockets that come along, UDP, TCP and the namespace's descriptor; without them changes one.
    Serve {
        sandbox: Sandbox,
    },
    /// Closes a sandbox's sockets.
    Drop {
        sandbox: String,
    },
    Set {
        endpoint: Endpoint,
    },
    Remove {
        endpoint: String,
    },
    /// After [`Request::Set`] of all: what was not set since the last `Settle` is no more.
    Begin,
    Settle,
    /// Ends the process.
    Stop,
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
    /// Some of the sandboxes, in order; go on after the last.
    Sandboxes(Vec<String>),
    Refused(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_the_wire() {
        let request = Versioned { version: VERSION, request: Request::Drop { sandbox: "x".to_owned() } };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(text, r#"{"version":1,"do":"drop","sandbox":"x"}"#);
        // What a later daemon adds is passed over.
        let later = r#"{"version":1,"do":"serve","sandbox":{"id":"a","new":1},"more":2}"#;
        let parsed: Versioned = serde_json::from_str(later).unwrap();
        assert!(matches!(parsed.request, Request::Serve { sandbox } if sandbox.id == "a" && !sandbox.forwards));
    }
}
