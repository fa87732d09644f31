//! Archives as they arrive from outside: a strict streaming tar reader, a tar writer, decompression by magic, and
//! compression that can be repeated.
//!
//! ```text
//!  bytes ──decompress()──▶ tar bytes ──tar::Reader──▶ Entry { metadata, data: BufRead } ──▶ whoever stores it
//!          gzip, zstd, bzip2, xz, none                one at a time, nothing kept
//! ```
//!
//! Promises
//! - No byte sequence panics or makes a buffer grow beyond the bounds in [`tar::limits`].
//! - Paths come out relative, without `.`, `..`, empty components or NUL; the archive's root is the empty path.
//! - What two tar readers could understand differently is refused with an error that says what and where: two sizes
//!   for one member, two long names, data behind a link, an extension without its member.
//!
//! What it does not do: touch a file system, follow a link, or know about layers and whiteouts.

pub mod compress;
pub mod decompress;
pub mod tar;

pub use compress::{Format, compress};
pub use decompress::decompress;
