//! The keeper: a process that holds descriptors by name and outlives the daemon.
//!
//! ```text
//!  hoistd ──hold "layer:<hex>" + fd──▶ keeper ──▶ name → descriptor
//!  (killed, upgraded)                     │
//!  hoistd ──get "layer:<hex>"───────▶     └─▶ the same open file: the same mount, one page cache
//! ```
//!
//! A layer is mounted detached (`fsmount`), so its mount lives as long as somebody has the descriptor. The keeper is
//! that somebody.
//!
//! Promises
//! - The server is single-threaded, answers each request at once, and allocates only for a name that it begins to
//!   hold. It never ends by itself; SIGTERM ends it, and with it every mount that nothing else uses.
//! - A name is held once: the second to hold it learns that it came late, and can get what the first one gave.
//! - The protocol carries a version; a keeper serves daemons that are newer and older than itself.
//!
//! What it does not do: mount, know what a descriptor is, or store anything.

mod client;
mod listen;
mod protocol;
mod server;

pub use client::Keeper;
pub use listen::listen;
pub use protocol::{MAX_NAME, VERSION};
pub use server::serve;

use rustix::io::Errno;

/// Why the keeper could not be asked, or would not.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {op} the keeper's socket")]
    Socket { op: &'static str, source: Errno },
    #[error("the keeper already holds {name:?}")]
    Taken { name: String },
    #[error("the keeper holds as many descriptors as it may")]
    Full,
    #[error("bad keeper name {name:?}: 1 to {MAX_NAME} printable ASCII characters without blanks")]
    Name { name: String },
    #[error("the keeper answered {answer:?}")]
    Answer { answer: String },
}
