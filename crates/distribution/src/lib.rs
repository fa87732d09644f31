//! The way of an image between a registry and the store.
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
//! A push ([`push`]) sends what the registry lacks: the blobs as they came if they are still here, or layers compressed so
//! that the same layer gives the same bytes everywhere.
//!
//! Does not: keep credentials, or know what a container is. Specification: OCI distribution-spec 1.1.

mod auth;
mod blob;
mod challenge;
mod config;
mod download;
mod endpoint;
mod error;
mod flight;
mod hosts;
mod layer;
mod login;
mod look;
mod manifest;
mod progress;
mod proxy;
mod pull;
mod push;
mod registry;
mod search;
mod session;
mod tags;
mod through;
mod tls;
mod token;
mod transport;
mod url;
mod words;
mod work;

pub use auth::AuthConfig;
pub use config::{Compression, RegistryConfig};
pub use download::{Download, download};
pub use error::{Error, Result};
pub use login::login;
pub use look::{Remote, look, put};
pub use progress::Progress;
pub use proxy::Proxies;
pub use pull::{Pulled, pull};
pub use push::{Documents, Pushed, push, push_documents};
pub use registry::Registry;
pub use search::{Found, search};
pub use tags::tags;
pub use through::{Command, CommandAnswer, RawManifest, command, raw_blob, raw_manifest};
