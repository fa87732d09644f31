//! The client's side of the Engine API: HTTP/1.1 over a unix socket, TCP, TLS or ssh(1), blocking, by hand.
//!
//! ```text
//!  Host ──connect──▶ Connection ──Request──▶ daemon
//!                        │
//!                        ├─▶ Response   (content-length, chunked, until close; implements Read)
//!                        └─▶ Hijacked   (101 or raw 200: the bare socket, half-close)
//! ```
//!
//! Promises: nothing is sent but what is asked for (no `_ping` first); one idle connection is kept and reused; a
//! refused API version is lowered to what the daemon offers and the request repeated; heads are bounded, bodies are
//! streamed, no bytes from the daemon can make it panic.
//!
//! TLS and ssh are bridged to a socket pair, so that everything above sees one kind of connection: TLS by a thread, ssh
//! by the system's own program, which is the only one that is run.
//!
//! Does not do: proxies, redirects, HTTP/2, asynchronous calls.

mod calls;
mod connection;
mod encode;
mod error;
mod host;
mod request;
mod response;
mod sender;
mod ssh;
mod tls;

pub use calls::{Call, Calls, Ended, Serve};
pub use connection::Socket;
pub use encode::{path_escape, query_escape};
pub use error::Error;
pub use host::{DEFAULT_HOST, Host, Ssh};
pub use request::{Body, Request};
pub use response::{Hijacked, Response};
pub use sender::{Client, Pending};
pub use tls::Tls;

/// Result of everything that talks to the daemon.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The API version that requests ask for until the daemon says it is too new.
pub const API_VERSION: &str = "1.51";
