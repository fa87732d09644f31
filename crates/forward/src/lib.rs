//! Published ports that the kernel does not translate: a process that listens on them, passes on what comes, and outlives
//! the daemon.
//!
//! ```text
//!  hoistd ──listening socket, target──▶ forwarder (one process per daemon)
//!                                          │  tcp: accept ─▶ connect ─▶ two pipes, splice(2) both ways
//!   client ── [::1]:8080 ─────────────────▶│  udp: one connected socket per client
//!                                          └─▶ 172.17.0.2:80, from the bridge's own address
//! ```
//!
//! IPv6 has no way to translate its loopback address, and what is translated never meets the host's rules for incoming
//! packets. A socket that really listens does both.
//!
//! - [`protocol`] is what the daemon says; [`server`] is the process; [`Client`] is the daemon's side.
//!
//! Promises
//! - One thread. Connections, datagrams' senders and buffers are bounded, together and for each port; who comes when all is
//!   taken waits in the kernel's queue (TCP), or takes the place of whoever was silent longest (UDP).
//! - The daemon may die at any time: the process goes on with what it was told, and tells the next daemon what it serves.
//! - A half of a connection that ends is passed on as such; a target that refuses ends the client's connection.
//!
//! What it does not do: make the listening sockets, decide where they lead, or keep the client's address: the target sees
//! the host's.

mod client;
pub mod protocol;
pub mod server;

pub use client::Client;
pub use protocol::{Forward, Protocol};

/// Why the forwarder could not be asked, or would not.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {op} the forwarder's socket")]
    Socket { op: &'static str, source: std::io::Error },
    #[error("the forwarder answered {answer:?}")]
    Answer { answer: String },
}

pub(crate) fn failed<E: Into<std::io::Error>>(op: &'static str) -> impl FnOnce(E) -> Error {
    move |source| Error::Socket { op, source: source.into() }
}
