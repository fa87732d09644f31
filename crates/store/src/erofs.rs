//! Writes EROFS images (`Documentation/filesystems/erofs.rst`, `fs/erofs/erofs_fs.h` in the kernel), uncompressed,
//! in one pass over a layer's tar.
//!
//! ```text
//!  block 0                │ window, window, …                             │ end
//!  label  superblock root │ file data blocks · blocks of inodes and tails │ directories' inodes │ directories' blocks
//!  0      1024       1152 │ in the order of the archive                   │ written last, when all names are known
//! ```
//!
//! - Every inode is an extended one (64 bytes), followed by its extended attributes and, where it fits into the same
//!   block, by the last partial block of its data.
//! - The inode number is the byte offset divided by 32, so an inode can stand anywhere.
//! - Same tar, same bytes: no clock, no random numbers; the uuid is taken from the tar's digest.
//! - Memory: a name and a number for each member of the archive, and one window.

mod census;
mod directories;
mod directory;
mod error;
mod format;
mod space;
mod tree;
mod whiteout;
mod write;
mod xattr;

pub use error::LayerError;
pub(crate) use format::{LABEL_LEN, Label};
pub(crate) use write::write;
