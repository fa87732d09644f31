//! The words of a build's session: Protocol Buffers, and the frames in which `hoist build` carries them.
//!
//! ```text
//!  hoist build ══ POST /hoist/build, Upgrade: hoist-build.v1 ══▶ hoistd
//!      │  frame = length (4) | call (4) | kind (1) | payload          each number big-endian
//!      │
//!      ├─ odd calls   the client calls   moby.buildkit.v1.Control/Solve, /Status
//!      └─ even calls  the daemon calls   FileSync, FileSend, Auth, Secrets, SSH, Upload
//! ```
//!
//! The services and their messages are BuildKit's, so that the daemon has one door behind two doorsteps; only the
//! transport is ours, because a blocking client needs neither HTTP/2 nor header compression for it.
//!
//! Promises: no bytes of the other side panic or make more than [`frame::MAX_PAYLOAD`] be kept for one message; one call
//! that is not read stops no other (each has a [`frame::WINDOW`]).
//!
//! Does not do: I/O.

pub mod frame;
pub mod stat;
pub mod wire;

/// Name and version of the protocol, in the `Upgrade` header of both sides.
pub const PROTOCOL: &str = "hoist-build.v1";

/// What is not as it should be; says what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);
