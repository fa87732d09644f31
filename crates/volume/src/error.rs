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
    /// The driver has no such option.
    #[error("invalid option: \"{name}\"")]
    UnknownOption { name: String },
    /// An option that another one needs.
    #[error("missing required option: \"{name}\"")]
    MissingOption { name: &'static str },
    /// A value that means nothing.
    #[error("invalid value for the option \"{name}\": {value:?}")]
    OptionValue { name: &'static str, value: String },
    /// Neither a file system of this size can be made, nor would it be of use.
    #[error("invalid size {size}: it has to be between 1 MiB and 15 TiB")]
    Size { size: u64 },
    /// It was made with a project quota, and has none any more.
    #[error(
        "the size of {path} cannot hold: its file system does not enforce project quotas any more, or it was copied \
         here (mount it with prjquota, or export and import the volume)"
    )]
    LimitLost { path: PathBuf },
    /// What is mounted from elsewhere has its own size.
    #[error("the option \"size\" is of volumes without a device; a tmpfs takes it in \"o\"")]
    SizeOfDevice,
    /// The kernel cannot mount it at all.
    #[error("this kernel has no file system \"{kind}\"")]
    NoFilesystem { kind: String },
    /// What the options say could not be mounted.
    #[error("failed to mount local volume: mount {device}:{target}, options: {options:?}")]
    Mount { device: String, target: String, options: String, source: io::Error },
    /// The name in `addr=` is unknown.
    #[error("error resolving passed in network volume address {name:?}")]
    Address { name: String, source: io::Error },
    /// Something to be put into a volume that has files already.
    #[error("volume {name} is not empty")]
    NotEmpty { name: String },
    #[error("{op} {path}")]
    Io { op: &'static str, path: PathBuf, source: io::Error },
    /// An archive, or a tree that becomes one.
    #[error("archive of {path}")]
    Archive { path: PathBuf, source: archive::tree::Error },
    /// Directories are nested deeper than any sensible tree.
    #[error("{path} is nested too deeply")]
    TooDeep { path: PathBuf },
}

impl Error {
    pub(crate) fn io(op: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { op, path, source }
    }

    /// Whether the request was wrong, and not the machine.
    pub fn is_invalid(&self) -> bool {
        matches!(
            self,
            Error::Name { .. }
                | Error::UnknownOption { .. }
                | Error::MissingOption { .. }
                | Error::OptionValue { .. }
                | Error::Size { .. }
                | Error::SizeOfDevice
                | Error::Archive { source: archive::tree::Error::Archive(_), .. }
        )
    }
}
