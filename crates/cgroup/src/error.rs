//! What can go wrong, with the file it went wrong at.

use std::io;

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller can act on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither a cgroup v2 mount nor a cgroup v1 controller was found among the mounts.
    #[error("no cgroup hierarchy is mounted: neither cgroup2 nor a cgroup v1 controller")]
    UnknownLayout,
    /// A cgroup's name is empty, absolute in the wrong place, or climbs with `..`.
    #[error("invalid cgroup path {path:?}")]
    InvalidPath { path: String },
    /// No hierarchy has such a cgroup.
    #[error("no such cgroup: {path}")]
    NotFound { path: String },
    /// The cgroup still has processes or cannot be changed because of them.
    #[error("cgroup is busy: {path}")]
    Busy { path: String },
    /// A limit was asked for whose controller the machine does not offer here.
    #[error("cgroup controller {controller:?} is not available")]
    MissingController { controller: &'static str },
    /// The controller is there, but this kernel does not have the file that a limit needs.
    #[error("the kernel does not support {file} ({path})")]
    MissingFile { file: String, path: String },
    /// A value that no kernel would take.
    #[error("invalid value for {what}: {value}")]
    InvalidValue { what: &'static str, value: String },
    /// A limit of version 1 that has no like in version 2: nothing there could be made of it.
    #[error("cgroup version 2 has no {what}")]
    NotInV2 { what: &'static str },
    /// A limit that no kernel has any more.
    #[error("{what} is not supported: {reason}")]
    Gone { what: &'static str, reason: &'static str },
    /// `unified` values were given, but there is no cgroup v2 hierarchy with that file.
    #[error("unified cgroup value {key:?} needs cgroup v2")]
    UnifiedNeedsV2 { key: String },
    /// `checkBeforeUpdate`: the limit is below what is in use now.
    #[error("memory limit of {limit} bytes is below the usage of {usage} bytes")]
    LimitBelowUsage { limit: u64, usage: u64 },
    /// The device filter of cgroup v2 could not be put in place.
    #[error("cannot {op} the device filter of cgroup {path}")]
    DeviceFilter { op: &'static str, path: String, source: io::Error },
    /// The processes did not stop within the time that a freeze may take.
    #[error("cgroup {path} did not freeze")]
    FreezeTimeout { path: String },
    /// Any other failure of a system call on a file.
    #[error("cannot {op} {path}")]
    Io { op: &'static str, path: String, source: io::Error },
}

impl Error {
    pub(crate) fn io(op: &'static str, path: impl Into<String>, errno: rustix::io::Errno) -> Self {
        Self::Io { op, path: path.into(), source: errno.into() }
    }
}
