//! The registry's server: the OCI distribution API over HTTP/1.1 and TLS.
//!
//! ```text
//!  TCP ─▶ [TLS] ─▶ Stream (stall limit, files by sendfile) ─▶ hyper ─▶ dispatch ─▶ admission ─▶ routes ─▶ registry
//!                                                                                    │
//!                       401 with a challenge, 403 ◀──────────────────────────────────┘
//! ```
//!
//! Promises
//! - Nothing is written without a login, unless the rules say so; rules, passwords and certificates are read again when
//!   their files change, and a file that is wrong leaves the old one in force.
//! - Every error is the specification's JSON. No header, body or pause of a client takes more than bounded memory and
//!   time: heads, bodies and reading of answers have time limits, connections are counted.
//! - A plain download is not copied through this process; an upload passes once through a buffer of bounded size.
//!
//! What it does not do: keep anything (that is `registry`), or speak to other registries by itself.

mod admission;
mod body;
mod connection;
mod dispatch;
mod error;
mod log;
mod metrics;
mod query;
mod reply;
mod route;
mod routes;
mod server;
mod settings;
mod tls;
mod watched;

pub use log::LogFormat;
pub use server::{Server, ServerError};
pub use settings::{AuthMode, Settings, Tls};
