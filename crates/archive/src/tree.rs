//! Directory trees as archives and back, by descriptor.
//!
//! ```text
//!  directory descriptor ──pack──▶ tar::Writer         one open directory per level, nothing followed
//!  tar::Reader ──extract──▶ directory descriptor      each name looked up by openat2(2) below a root
//! ```
//!
//! Promises
//! - Packing opens nothing but directories and regular files, whoever changes the tree meanwhile: a FIFO never blocks it,
//!   a device is never opened, a link is never followed.
//! - Extracting leaves neither the root nor, without [`ExtractOptions::follow_links`], the destination. What is in the way
//!   is removed by descriptor.
//! - Neither keeps more in memory than the names of files with several names, and the times of directories.
//!
//! What it does not do: decide who may copy what, or know about containers.

mod error;
mod extract;
mod lookup;
mod pack;
mod pipe;
mod remove;
mod xattr;

pub use error::{Error, Result};
pub use extract::{Change, ExtractOptions, Owner, Stored, extract};
pub use lookup::{open_beneath, open_in_root};
pub use pack::{Filter, PackOptions, Packer, metadata_of};
pub use pipe::{PipeReader, PipeWriter, pipe};
pub use remove::remove_entry;
