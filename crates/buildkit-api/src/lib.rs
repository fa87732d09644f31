//! BuildKit's API: what `docker buildx`, `docker build` and `docker compose build` speak, over the Docker socket.
//!
//! ```text
//!  POST /grpc    ─ upgrade ─▶ HTTP/2: the client calls ── Control ── Solve, Status, Prune, …
//!                                                     └── LLBBridge ─ Solve, Return, ReadFile   (buildx is its own gateway)
//!  POST /session ─ upgrade ─▶ HTTP/2: the daemon calls ── FileSync, FileSend, Auth, Secrets, SSH, Upload
//!
//!  POST /hoist/build ─ upgrade ─▶ frames: both at once, for `hoist build` (crate `session`)
//!
//!  Solve ─▶ frontend: attributes ─▶ build::Request ─▶ build ─▶ result ─▶ export: image store, tar, local; caches
//! ```
//!
//! Promises
//! - The frontend is the built-in one; an LLB definition is taken only where it names a result of ours.
//! - Attributes, caches and outputs that are not supported are refused by name.
//! - Files are sent once: a client's directory is kept, and only what has changed comes again.
//! - Secrets are asked for when a step needs them and are nowhere but in its mount.
//! - A build ends with its client: when the call or the session goes, it is cancelled.
//!
//! What it does not do: run frontends in containers, debug in build containers (`NewContainer`), attest.

mod cache;
mod caller;
mod content;
mod control;
mod credentials;
mod door;
mod export;
mod failure;
pub mod filesync;
mod frames;
mod frontend;
mod gateway;
mod grpc;
mod job;
mod journal;
mod lent;
mod policy;
pub mod request;
mod server;
mod sessions;
mod source;
mod status;
mod subrequest;

pub use door::Door;
pub use session::{PROTOCOL, wire};
pub use sessions::Introduction;
pub use status::{Code, Status};
