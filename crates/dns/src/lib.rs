//! Names of containers: a DNS server (RFC 1035, RFC 6891) that is asked inside of containers and outlives the daemon.
//!
//! ```text
//!  hoistd ──endpoints, names, sockets──▶ resolver (one process per daemon)
//!                                          │  udp, tcp: one pair of sockets per sandbox, made inside of its namespace
//!   container ── 127.0.0.11:53 ───────────▶│
//!                                          ├─ a name of the sandbox's networks ─▶ answered from memory
//!                                          └─ any other ─▶ cache ─▶ the host's servers, or the container's own
//! ```
//!
//! - [`wire`] reads and writes messages; [`names`] knows who is called what; [`server`] is the process; [`Client`] is the
//!   daemon's side.
//! - Everything that arrives is hostile: a message is parsed into borrowed parts, every buffer and table has a bound.
//!
//! Promises
//! - One thread, no lock: a query for a local name is a look-up and one system call each way.
//! - The daemon may die at any time: the process goes on with what it was told, follows the host's resolv.conf by itself,
//!   and tells the next daemon which sandboxes it serves.
//! - A change is in force when [`Client`]'s call returns.
//!
//! What it does not do: make the sockets, decide about names, validate DNSSEC (its records are passed on), or store
//! anything.

mod cache;
mod client;
mod forward;
pub mod names;
pub mod protocol;
pub mod resolv;
pub mod server;
pub mod wire;

pub use client::Client;
pub use protocol::{Endpoint, Sandbox};

use rustix::io::Errno;

/// Why the resolver could not be asked, or would not.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {op} the resolver's socket")]
    Socket { op: &'static str, source: std::io::Error },
    #[error("the resolver answered {answer:?}")]
    Answer { answer: String },
}

pub(crate) fn failed<E: Into<std::io::Error>>(op: &'static str) -> impl FnOnce(E) -> Error {
    move |source| Error::Socket { op, source: source.into() }
}

/// An error of the kind that ends a connection and nothing else.
pub(crate) fn is_transient(errno: Errno) -> bool {
    matches!(errno, Errno::AGAIN | Errno::INTR | Errno::CONNABORTED | Errno::MFILE | Errno::NFILE | Errno::NOBUFS)
}
