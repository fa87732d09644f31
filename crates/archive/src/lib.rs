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
//! [`tree`] brings directory trees into archives and back. The rest touches no file system.
//!
//! What it does not do: know about images or containers.

pub mod compress;
pub mod decompress;
mod deflate;
pub mod tar;
pub mod tree;

pub use compress::{Format, compress};
pub use decompress::decompress;
