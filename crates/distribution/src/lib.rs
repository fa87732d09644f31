//! The way of an image from a registry into the store.
//!
//! ```text
//!  Reference ─▶ endpoints (mirrors, then upstream)
//!      │  GET manifest ── index? ── choose by platform ── GET manifest     each digest checked
//!      │  GET config                                                       its digest is the image id
//!      ▼
//!  per layer, three at a time, one pass:
//!      HTTP body ─▶ sha256 + content blob ─▶ gunzip/zstd ─▶ tar ─▶ store layer (diff id checked)
//!      ▼
//!  commit: blobs ─▶ image record ─▶ tag
//! ```
//!
//! Promises: nothing is believed before its digest is right; no more is read than was declared; credentials stay with
//! the host they are for and never cross the wire in the clear, unless the host was declared insecure; layers that the
//! store has are neither fetched nor stored again, and two pulls of one layer share the transfer; a failed or cancelled
//! pull leaves no image, no tag and no temporary file.
//!
//! Does not: push, search, keep credentials, or know what a container is. Specification: OCI distribution-spec 1.1.

mod auth;
mod blob;
mod challenge;
mod config;
mod endpoint;
mod error;
mod flight;
mod layer;
mod manifest;
mod progress;
mod proxy;
mod pull;
mod registry;
mod session;
mod tls;
mod token;
mod transport;
mod url;
mod words;

pub use auth::AuthConfig;
pub use config::RegistryConfig;
pub use error::{Error, Result};
pub use progress::Progress;
pub use proxy::Proxies;
pub use pull::{Pulled, pull};
pub use registry::Registry;
