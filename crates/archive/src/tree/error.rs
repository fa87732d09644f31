//! Why a tree could not be packed or extracted.

use std::io;

use crate::tar;

/// See the variants.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{op} {path}")]
    Io {
        op: &'static str,
        path: String,
        #[source]
        source: io::Error,
    },
    /// Whoever takes the archive takes no more.
    #[error("write the archive")]
    Sink(#[source] io::Error),
    #[error(transparent)]
    Archive(#[from] tar::Error),
    #[error("cannot overwrite directory {path:?} with non-directory {with:?}")]
    DirectoryInTheWay { path: String, with: String },
    #[error("cannot overwrite non-directory {path:?} with directory {with:?}")]
    NonDirectoryInTheWay { path: String, with: String },
    #[error("the path {path} is too long for an archive")]
    TooLong { path: String },
    /// An overlay's directory that was renamed by reference: what it holds is not in the upper directory.
    #[error("{path} is a renamed directory of an overlay, which cannot be told from its upper layer alone")]
    Redirected { path: String },
}

/// With the tree's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(super) fn io(op: &'static str, path: &[u8]) -> impl FnOnce(rustix::io::Errno) -> Error + use<> {
        let path = format!("/{}", tar::shown(path));
        move |errno| Error::Io { op, path, source: errno.into() }
    }

    pub(super) fn std(op: &'static str, path: &[u8]) -> impl FnOnce(io::Error) -> Error + use<> {
        let path = format!("/{}", tar::shown(path));
        move |source| Error::Io { op, path, source }
    }
}
