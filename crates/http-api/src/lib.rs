//! The Engine API over HTTP/1.1: routes, versions, streams, and connections that become a container's streams.
//!
//! ```text
//!  listen ─▶ server ─▶ connection ─▶ dispatch ─▶ routes/<noun>.rs ─▶ engine (blocking)
//!  unix,      one task    hyper        version,      10-20 lines each
//!  tcp, fd    per client    │          path, query
//!                           └─ takeover: attach and exec pump bytes both ways
//! ```
//!
//! - One place per fact: statuses in `error`, headers of every answer in `connection`, the table in `routes`.
//! - Handlers see the newest shape of a request; what older versions want otherwise is in `compat`.
//! - Which thread: constants are answered on the spot, all that asks the engine runs on the blocking pool (a list reads
//!   the database), and what lasts (logs, events, pull, load) has a thread of its own that ends when the client goes.
//!   Waiting clients and attached ones have none.
//! - Nothing that a client sends is buffered without a bound.
//!
//! Not here: HTTP/2, and decisions about containers.

mod call;
mod compat;
mod connection;
mod detach;
mod dispatch;
mod error;
mod listen;
mod metrics;
mod query;
mod reply;
mod route;
mod routes;
mod server;
mod socket;
mod stream;
mod takeover;
mod upload;
mod version;
mod websocket;

pub use listen::{Address, Error as ListenError, Files, Group, Listener, Tcp, Tls, are_sockets_passed, open};
pub use server::serve;
