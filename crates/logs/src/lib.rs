//! Container logs on disk: written by the shim, read by the engine.
//!
//! ```text
//! containers/<id>/json.log      newest, appended to
//!                 json.log.1    the one before
//!                 json.log.2    …
//!
//! {"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.000000006Z"}     one entry a line
//! ```
//!
//! - [`json_file::Writer`] splits a process's output into lines, stores a line longer than 16 KiB in pieces, and
//!   rotates by size. It never fails the process whose output it stores: what a full disk does not take is left out,
//!   and never leaves half an entry behind.
//! - [`Reader`] gives the entries back in order over all files, from a time or for the last n lines, and follows a
//!   living log through rotations without missing an entry.
//! - Memory is bounded on both sides, whatever bytes come.
//!
//! What it does not do: frame entries for clients, compress, or send logs elsewhere.

pub mod json_file;
mod reader;
pub mod time;

pub use reader::{Entry, ReadOptions, Reader};

/// Name of the newest log file; older ones have `.1`, `.2`… appended.
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
}

impl Error {
    pub(crate) fn io(op: &'static str, file: impl Into<String>, source: impl Into<std::io::Error>) -> Error {
        Error::Io { op, file: file.into(), source: source.into() }
    }
}

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
