//! Why the registry did not do it.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;

pub type Result<T> = std::result::Result<T, Error>;

/// An operation on the registry failed. The codes that clients see are given by `registry-api`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("invalid repository name: {name}")]
    NameInvalid { name: String },
    #[error("repository name not known to registry: {name}")]
    NameUnknown { name: String },
    #[error("{detail}")]
    DigestInvalid { detail: String },
    #[error("provided digest did not match uploaded content: expected {expected}, got {actual}")]
    DigestMismatch { expected: Box<Digest>, actual: Box<Digest> },
    #[error("blob unknown to registry: {digest}")]
    BlobUnknown { digest: Box<Digest> },
    #[error("blob upload unknown to registry")]
    UploadUnknown,
    #[error("blob upload invalid: {detail}")]
    UploadInvalid { detail: String },
    /// Another request writes to this upload.
    #[error("blob upload is in use by another request")]
    UploadBusy,
    /// A piece that does not begin where the upload ends.
    #[error("the next byte is {offset}")]
    RangeInvalid { offset: u64 },
    #[error("provided length did not match content length: expected {expected}, got {actual}")]
    SizeInvalid { expected: u64, actual: u64 },
    #[error("manifest unknown: {reference}")]
    ManifestUnknown { reference: String },
    #[error("manifest invalid: {detail}")]
    ManifestInvalid { detail: String },
    #[error("manifest references a manifest or blob unknown to registry: {digest}")]
    ManifestBlobUnknown { digest: Box<Digest> },
    #[error("manifest of {size} bytes, the limit is {limit}")]
    ManifestTooLarge { size: u64, limit: u64 },
    #[error("blob is larger than the limit of {limit} bytes")]
    BlobTooLarge { limit: u64 },
    #[error("tag {tag} is immutable: it refers to {digest}")]
    TagImmutable { tag: String, digest: Box<Digest> },
    #[error("{what} is read-only")]
    ReadOnly { what: &'static str },
    #[error("registry {path:?} is in use by another process")]
    Locked { path: PathBuf },
    #[error("{path:?}, line {line}: {detail}")]
    Configuration { path: PathBuf, line: usize, detail: String },
    #[error("cannot {op} {path:?}")]
    Io { op: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The registry behind this one could not be asked.
    #[error("upstream registry: {0}")]
    Upstream(#[source] Box<distribution::Error>),
}

impl Error {
    pub(crate) fn io(op: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Error {
        let path = path.as_ref().to_owned();
        move |source| Error::Io { op, path, source }
    }

    /// The system's reason, where there is one.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Error::Io { source, .. } | Error::Store(store::Error::Io { source, .. }) => Some(source.kind()),
            _ => None,
        }
    }
}
