//! Why the store could not do it.

use std::io;
use std::path::{Path, PathBuf};

use oci::Digest;

pub use crate::erofs::LayerError;

/// An operation of the store failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {op} {path:?}")]
    Io { op: &'static str, path: PathBuf, source: io::Error },
    #[error("data root {path:?} is in use by another hoistd")]
    Locked { path: PathBuf },
    #[error("{path:?} was written by a newer hoist (schema {found}, this one knows {known})")]
    Schema { path: PathBuf, found: i64, known: i64 },
    #[error("cannot {op} the database")]
    Database { op: &'static str, source: rusqlite::Error },
    #[error("the database holds a broken {what}: {detail}")]
    Broken { what: &'static str, detail: String },
    #[error("no blob {digest} in the store")]
    NoBlob { digest: Digest },
    #[error("no layer {diff_id} in the store")]
    NoLayer { diff_id: Digest },
    #[error(
        "layer {diff_id} was stored by an older hoist, without what its archive takes; remove its images and pull them again"
    )]
    NoTar { diff_id: Digest },
    #[error("layer {diff_id} is damaged: its inodes or names are not those of its archive")]
    Damaged { diff_id: Digest },
    #[error("blob {digest} has {size} bytes, the limit is {limit}")]
    BlobTooLarge { digest: Digest, size: u64, limit: u64 },
    #[error("wrong digest: expected {expected}, got {actual}")]
    DigestMismatch { expected: Digest, actual: Digest },
    #[error("cannot make a layer")]
    Layer(#[source] LayerError),
    #[error("cannot mount layer {diff_id}: {step}")]
    Mount { diff_id: Digest, step: &'static str, source: io::Error },
    #[error("cannot read the archive")]
    Source(#[source] io::Error),
    #[error("{0}")]
    Reference(#[from] oci::ReferenceError),
    /// Docker's wording: clients match on it.
    #[error("No such image: {text}")]
    NoImage { text: String },
    #[error("No such version: {name}@{{{back}}}: {kept} versions of {name} are known")]
    NoVersion { name: String, back: usize, kept: usize },
    #[error("image id prefix {text:?} is ambiguous")]
    AmbiguousImage { text: String },
    #[error("{name:?} is already the name of {holder}")]
    NameTaken { name: String, holder: String },
    #[error("invalid image archive: {reason}")]
    Archive { reason: String },
    #[error("invalid image archive")]
    ArchiveTar(#[source] archive::tar::Error),
}

impl Error {
    pub(crate) fn io(op: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Error {
        let path = path.as_ref().to_owned();
        move |source| Error::Io { op, path, source }
    }

    /// The same for system calls.
    pub(crate) fn sys(op: &'static str, path: impl AsRef<Path>) -> impl FnOnce(rustix::io::Errno) -> Error {
        let failed = Error::io(op, path);
        move |errno| failed(errno.into())
    }

    pub(crate) fn database(op: &'static str) -> impl FnOnce(rusqlite::Error) -> Error {
        move |source| Error::Database { op, source }
    }

    pub(crate) fn archive(reason: impl Into<String>) -> Error {
        Error::Archive { reason: reason.into() }
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;
