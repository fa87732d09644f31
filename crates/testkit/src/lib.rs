//! What the end-to-end tests, the demonstration and the benchmark stand on. Development only; nothing of it is shipped.
//!
//! ```text
//!   Daemon ── a private hoistd: own data root, exec root, socket, pidfile     /var/tmp/hoist-e2e-1a2b3c/
//!     ▲                                                                         data/ exec/ hoist.sock hoistd.log
//!     │ DOCKER_HOST
//!   Client ── `hoist` or the unmodified `docker`, with or without a terminal (Pty)
//!     │
//!   Registry ─ Debian's docker-registry on loopback;  FaultyRegistry ─ one that misbehaves on purpose
//!     ▲
//!   images ── made from Debian packages, kept in target/e2e-cache
//! ```
//!
//! Promises: everything a [`daemon::Daemon`] made is gone when it is dropped, also after a failed test; what stays
//! behind is reported by [`leak`]. External programs are allowed here and only here.
//!
//! It does not assert anything about the product by itself, and it never touches a daemon it has not started.

pub mod client;
pub mod daemon;
pub mod faulty;
pub mod harness;
pub mod http;
pub mod images;
pub mod leak;
pub mod netns;
pub mod process;
pub mod programs;
pub mod pty;
pub mod registry;
pub mod tar;
pub mod wait;
pub mod words;
