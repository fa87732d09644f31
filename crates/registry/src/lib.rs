//! A registry's repositories on a disk: blobs, manifests, tags and referrers, who may use them, and what is kept of
//! other registries.
//!
//! ```text
//!  <root>/                                     one registry, one process at a time (lock)
//!    blobs/sha256/<hex>                        every blob once: hard links to those of the repositories
//!    repositories/<name, "/" written "+">/     an OCI layout that other tools read
//!      oci-layout  index.json                  all manifests and tags, as of a moment ago
//!      journal                                 what has changed since then, a line each
//!      blobs/sha256/<hex>                      what the repository has: membership is the link
//!      uploads/<id>                            sessions; they survive a restart
//!    auth/token.key  tls/…                     keys made on first use
//! ```
//!
//! Promises
//! - What was acknowledged is durable. A blob under its digest is whole; the journal is synced before a push is
//!   answered; a torn last line is dropped.
//! - Names and digests become paths only after their grammar has been checked, and neither grammar has a way up.
//! - [`gc`](Registry::gc) runs beside pushes and pulls: a blob that somebody asked for, pushed or mounted within the
//!   grace is not touched, and the shared copy can go at any time without harm, since a link keeps the bytes.
//!
//! What it does not do: speak HTTP (that is `registry-api`) or decide when to collect garbage. Specification: OCI
//! distribution-spec 1.1.

pub mod access;
mod blob;
pub mod cache;
mod catalog;
mod delete;
mod digest;
mod durable;
mod engine;
mod error;
mod gc;
mod layout;
mod manifest;
mod name;
mod push;
pub mod range;
mod referrers;
mod repository;
mod sync;
mod upload;
mod usage;

pub use catalog::Found;
pub use digest::{Algorithm, Digest, Hasher};
pub use durable::write_file;
pub use engine::EngineView;
pub use error::{Error, Result};
pub use gc::{Collected, GcOptions};
pub use layout::{Options, Registry};
pub use manifest::{Content, MANIFEST_LIMIT, Parsed, Relation};
pub use name::{Name, Tag};
pub use push::{PushOptions, Pushed, Reference};
pub use referrers::Referrers;
pub use repository::{Entry, Repository};
pub use upload::Upload;
pub use usage::Usage;
