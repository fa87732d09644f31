//! Local volumes: directories that outlive containers.
//!
//! ```text
//!  volumes/<name>/_data        what containers see; a volume with options has their file system mounted here
//!          <name>/_data.ext4   the file system of a volume with a size, mounted on `_data` in the same way, where the data
//!                              root's file system has no project quotas
//!          <name>/.filling     a copy in progress: a crash removes it
//!          <name>/.import-*    an archive that is being unpacked: a crash removes it
//!          <name>/.filled      a copy that is whole, on its way into `_data`: after a crash that is gone on with
//! ```
//!
//! - A volume that was filled has everything or nothing of what it was filled with, also after `kill -9` or a power cut.
//! - Two who fill one volume at the same time wait for each other; the second finds it filled. `_data` stays the same
//!   directory all the time, so that a container that has it sees the files come.
//! - Filling goes by descriptors and follows no link, so that no image leads it out of source or target; owner, mode,
//!   times, extended attributes, hard links, holes and special files are kept.
//! - What has no record (labels, when it was made) is the caller's.
//!
//! What it does not do: count users, or know other drivers than this one.

mod error;
mod fill;
pub mod image;
mod mount;
mod options;
pub mod quota;
mod volumes;

pub use error::{Error, Result};
pub use options::{Options, parse_size};
pub use volumes::Volumes;
