//! Container logs on disk: written by the shim, read by the engine, and sent on by it where a driver asks for that.
//!
//! ```text
//! containers/<id>/json.log        newest, appended to by the shim
//!                 json.log.7      the one before: numbers only grow
//!                 json.log.6.gz   older ones, compressed by the engine if the container's options say so
//!                 forwarded       how far a remote driver has got: number, offset, inode
//!
//! {"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.000000006Z"}     one entry a line
//! ```
//!
//! - [`json_file::Writer`] splits a process's output into lines, stores a line longer than 16 KiB in pieces, and
//!   rotates by size and age. It never fails the process whose output it stores: what a full disk does not take is left
//!   out and counted, and never leaves half an entry behind; the next entry that fits says how many are missing.
//! - [`Reader`] gives the entries back in order over all files, from a time or for the last n lines, and follows a
//!   living log through rotations without missing an entry.
//! - [`tidy`] compresses and expires finished files; nothing of that happens in the shim.
//! - [`forward`] sends stored entries to syslog or the journal from a remembered place: a peer that is slow, dead or
//!   restarted costs time, not entries, as long as the stored files last.
//! - Memory is bounded on both sides, whatever bytes come.
//!
//! What it does not do: frame entries for clients, or choose a driver.

mod files;
pub mod forward;
pub mod json_file;
mod reader;
pub mod tidy;
pub mod time;

pub use reader::{Entry, Position, ReadOptions, Reader};

/// Name of the newest log file; older ones have a number appended, and `.gz` when they are compressed.
pub const FILE_NAME: &str = "json.log";

/// A line longer than this is stored in pieces of this size, in bytes, as Docker does.
pub const MAX_PIECE: usize = 16 * 1024;

/// Where output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// `stdout` or `stderr`.
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// What goes wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call on a log file failed.
    #[error("{op} log file {file}")]
    Io { op: &'static str, file: String, source: std::io::Error },
    /// A driver's option makes no sense. The text is Docker's where it has one.
    #[error("{0}")]
    Option(String),
    /// A peer that log entries are sent to cannot be reached.
    #[error("{address}")]
    Peer { address: String, source: std::io::Error },
}

impl Error {
    pub(crate) fn io(op: &'static str, file: impl Into<String>, source: impl Into<std::io::Error>) -> Error {
        Error::Io { op, file: file.into(), source: source.into() }
    }
}

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
