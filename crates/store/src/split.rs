//! What a layer's archive has beside the contents of its files, so that the archive can be put together again byte for
//! byte.
//!
//! ```text
//! layers/<hex>.split
//!   "hoist split 1\n" │ one zstd frame (with its checksum) of records:
//!                     │   length·2     bytes          headers, padding, anything else, as it was
//!                     │   length·2+1   distance       so many bytes of the layer's file, from here on
//!                     │   0                           the end
//!                     │   diffID (32 bytes), size of the archive (8 bytes)
//! ```
//!
//! Numbers are LEB128; a distance counts from the end of the stretch before, with its sign in the lowest bit. The
//! digest of what comes out is the diffID; whoever reads to the end has it checked.

mod read;
mod write;

pub use read::LayerTar;
pub(crate) use write::{Draft, SplitWriter};

const MAGIC: &[u8] = b"hoist split 1\n";

/// Longest stretch of literal bytes in one record.
const LITERAL: usize = 64 * 1024;
