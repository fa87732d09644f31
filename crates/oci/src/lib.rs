//! The words of the Open Container Initiative, as types: what the engine and the runtime say to each other and what
//! registries and image archives contain. No I/O.
//!
//! ```text
//!  Reference  docker.io/library/httpd:2.4@sha256:…      what people type
//!      └─▶ Index ──Platform──▶ Manifest                  what a registry answers (bytes; the digest is of the bytes)
//!                                 ├─ config ─▶ ImageConfig (its digest is the image id)
//!                                 └─ layers ─▶ Descriptor, Descriptor, …
//!  runtime::Spec                                          what a container is started from
//! ```
//!
//! Promises: parsing takes any bytes without a panic, ignores fields it does not know, and accepts `null` where Go's
//! decoder does; `Reference::parse` follows Docker's grammar and texts; `ImageConfig::to_bytes` gives the same bytes
//! for the same value, in the form Docker writes.
//!
//! Does not: fetch, store or verify anything, or check a size against a policy (callers bound what they read).
//! - [`runtime`]: the runtime specification's `config.json` (`Spec`) and `state` document.

pub mod capability;
pub mod digest;
pub mod image;
pub mod json;
pub mod manifest;
pub mod media_type;
pub mod platform;
pub mod reference;
pub mod runtime;
pub mod version;

pub use digest::{Digest, DigestError, DigestHasher};
pub use image::{ContainerConfig, Healthcheck, History, ImageConfig, RootFs};
pub use manifest::{Descriptor, Index, Manifest};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError};
pub use version::parse_version;
