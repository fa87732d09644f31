//! What goes wrong with a volume.

use std::io;
use std::path::PathBuf;

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// An operation on volumes failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be a directory's name.
    #[error("invalid volume name {name:?}")]
    Name { name: String },
    /// There is no such volume.
    #[error("no such volume: {name}")]
    NotFound { name: String },
    #[error("{op} {path}")]
    Io { op: &'static str, path: PathBuf, source: io::Error },
    /// Directories are nested deeper than any sensible tree.
    #[error("{path} is nested too deeply")]
    TooDeep { path: PathBuf },
}

impl Error {
    pub(crate) fn io(op: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { op, path, source }
    }
}
