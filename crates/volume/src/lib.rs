//! Local volumes: directories that outlive containers.
//!
//! ```text
//!  volumes/<name>/_data        what containers see
//!          <name>/.filling     a copy in progress; moved onto `_data` as a whole
//! ```
//!
//! - A volume that was filled has everything or nothing of what it was filled with, also after `kill -9`.
//! - Filling goes by descriptors and follows no link, so that no image leads it out of source or target; owner, mode,
//!   times, extended attributes, hard links and special files are kept.
//! - What has no record (labels, when it was made) is the caller's.
//!
//! What it does not do: mount, count users, or know other drivers than this one.

mod error;
mod fill;
mod volumes;

pub use error::{Error, Result};
pub use volumes::Volumes;
