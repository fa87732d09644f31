//! Why a tar cannot become a layer.

use std::io;

/// A layer's tar is broken, or asks for what a file system cannot hold.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("invalid tar")]
    Tar(#[source] archive::tar::Error),
    #[error("cannot write the layer")]
    Write(#[source] io::Error),
    #[error("{path:?}: {component:?} is not a directory")]
    NotDirectory { path: String, component: String },
    #[error("{path:?}: too many symbolic links on the way")]
    LinkLoop { path: String },
    #[error("{path:?}: more than {limit} directories deep")]
    TooDeep { path: String, limit: u16 },
    #[error("hard link {path:?}: its target {target:?} is not in the archive before it")]
    LinkTarget { path: String, target: String },
    #[error("hard link {path:?}: its target {target:?} is a directory")]
    LinkToDirectory { path: String, target: String },
    #[error("{path:?} is no name that a whiteout can have")]
    Whiteout { path: String },
    #[error("{path:?}: device {major}:{minor} is out of range")]
    Device { path: String, major: u32, minor: u32 },
    #[error("{path:?}: extended attribute {name:?} is too large ({size} bytes, the limit is {limit})")]
    XattrTooLarge { path: String, name: String, size: usize, limit: usize },
    #[error("{path:?}: {size} bytes of extended attributes, the limit is {limit}")]
    XattrsTooLarge { path: String, size: usize, limit: usize },
    #[error("the names of the layer take more than {limit} bytes of memory")]
    TooManyNames { limit: u64 },
    #[error("more than {limit} bytes")]
    TooLarge { limit: u64 },
}

/// A path for a message.
pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
