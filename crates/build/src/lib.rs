//! The builder: from a Dockerfile and what a client lends to layers and images.
//!
//! ```text
//!  Request ── dockerfile::parse ── plan (which stages) ──▶ one thread per stage
//!                                                             │ FROM   image here, pulled, or another stage
//!                                                             │ COPY   tree ▶ entries ▶ digest ─┐
//!                                                             │ RUN    chain, command, mounts ──┤▶ cache ─▶ known layer
//!                                                             ▼                                 └▶ else: made now
//!                                                      Results (image configurations; layers are in the store)
//! ```
//!
//! Promises
//! - A step's key is made of contents, never of times: the same content is the same step, on this machine and the next.
//! - `COPY` writes no file into any directory: entries go straight into the layer, and the image's file system is only
//!   looked at, by descriptor, links followed inside of it.
//! - Secrets and agents are in memory and in the step's mount namespace, in no layer, key, history or log of ours.
//! - A build that fails or is cancelled leaves nothing but the steps that it has finished, in the cache.
//!
//! What it does not do: speak a protocol (the doors in `http-api` do), name images, push.

mod agent;
pub mod cache;
pub mod caches;
pub mod context;
pub mod contexts;
pub mod copy;
pub mod devices;
pub mod emulation;
pub mod error;
pub mod git;
pub mod layout;
pub mod outline;
pub mod plan;
pub mod progress;
pub mod prune;
pub mod remote;
pub mod request;
mod solve;
mod stage;
pub mod tree;

pub use error::{Error, Result};
pub use request::Request;
pub use solve::{Builder, Built, Checked, Results};
