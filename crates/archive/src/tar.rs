//! The tar format: POSIX ustar and pax (IEEE Std 1003.1, `pax`), GNU long names, base-256
//! numbers and sparse files, and V7.

mod entry;
mod header;
mod path;
mod pax;
mod read;
mod sparse;
mod write;

pub use entry::{Kind, Metadata, Time, Xattr};
pub use read::{Entry, Reader, Tap};
pub use sparse::Extent;
pub use write::Writer;

use std::io;

/// Bounds on what one archive may ask for.
pub mod limits {
    /// Longest path or link target, in bytes (Linux `PATH_MAX` without the NUL).
    pub const PATH: usize = 4095;
    /// Longest component of a path, in bytes (Linux `NAME_MAX`).
    pub const NAME: usize = 255;
    /// Largest extended header of one member, in bytes.
    pub const EXTENDED_HEADER: u64 = 1 << 20;
    /// Most stretches of data in one sparse member.
    pub const EXTENTS: usize = 1 << 18;
    /// Largest member, in bytes.
    pub const SIZE: u64 = 1 << 60;
}

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    #[error("the archive ends inside {what}")]
    Truncated { what: &'static str },
    #[error("not a tar header at byte {offset}: wrong checksum")]
    Checksum { offset: u64 },
    #[error("not a tar header at byte {offset}: one block of zeros in the middle of the archive")]
    LoneZeroBlock { offset: u64 },
    #[error("bad number in field {field:?} of the tar header at byte {offset}")]
    Number { field: &'static str, offset: u64 },
    #[error("bad extended header at byte {offset}: {reason}")]
    Extended { offset: u64, reason: &'static str },
    #[error("extended header of {size} bytes at byte {offset}: the limit is {}", limits::EXTENDED_HEADER)]
    ExtendedTooLarge { size: u64, offset: u64 },
    #[error("ambiguous archive: two different values for {field:?} of one member at byte {offset}")]
    Ambiguous { field: &'static str, offset: u64 },
    #[error("ambiguous archive: {path:?} is no regular file, yet its header announces {size} bytes of data")]
    UnexpectedData { path: String, size: u64 },
    #[error("{path:?} points outside of the archive's root")]
    Escapes { path: String },
    #[error("{path:?} contains a NUL byte")]
    Nul { path: String },
    #[error("path {path:?} is too long")]
    PathTooLong { path: String },
    #[error("member at byte {offset} has no name")]
    NoName { offset: u64 },
    #[error("link {path:?} has no target")]
    NoTarget { path: String },
    #[error("the archive's root is not a directory but a {kind}")]
    RootKind { kind: &'static str },
    #[error("{what} in an archive are not supported ({path:?})")]
    Unsupported { what: &'static str, path: String },
    #[error("type {flag:?} of {path:?} is unknown")]
    UnknownType { flag: char, path: String },
}

/// A path for a message: printable, and no longer than a line or two.
pub fn shown(path: &[u8]) -> String {
    const LONGEST: usize = 200;
    let mut text = String::from_utf8_lossy(&path[..path.len().min(LONGEST)]).into_owned();
    if path.len() > LONGEST {
        text.push_str("...");
    }
    text
}
