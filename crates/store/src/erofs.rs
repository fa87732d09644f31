//! Writes EROFS images, and reads them back (`Documentation/filesystems/erofs.rst`, `fs/erofs/erofs_fs.h` in the kernel), uncompressed,
//! in one pass over a layer's tar.
//!
//! ```text
//!  block 0                │ windows, clusters, …                          │ end
//!  label  superblock root │ file data blocks · blocks of inodes and tails │ blocks of directories
//!  0      1024       1152 │ in the order of the archive                   │ written last, when all names are known
//! ```
//!
//! - An inode is a compact one (32 bytes) where its owner is a small number and its time that of the archive's first
//!   file, and an extended one (64 bytes) otherwise; behind it stand its extended attributes and, where it fits into the
//!   same block, the last partial block of its data.
//! - An extended attribute that comes again is stored once more, and shared from then on.
//! - The inode number is the byte offset divided by 32, so an inode can stand anywhere.
//! - Same tar, same bytes: no clock, no random numbers; the uuid is taken from the tar's digest.
//! - Memory: a name and a number for each member of the archive, one window, and the open blocks of inodes.

mod census;
mod directories;
mod directory;
mod error;
mod format;
mod read;
mod space;
mod tree;
mod whiteout;
mod write;
mod xattr;

pub use error::LayerError;
pub(crate) use format::{FileType, LABEL_LEN, Label};
pub(crate) use read::{Node, Reader};
pub(crate) use write::write;
