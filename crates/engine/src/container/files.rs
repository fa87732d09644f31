//! The files of a container: looked at, copied in and out, exported, compared with its image.
//!
//! ```text
//!  running   /proc/<pid>/root, opened once ─┐
//!  at rest   an overlay mounted nowhere ────┴─▶ one descriptor ──openat2(RESOLVE_IN_ROOT)──▶ everything else
//!            with the container's mounts
//! ```
//! A container can change its links and directories while it is copied from or to: what is reached is always its own.
//! Nothing of the container is run and none of its libraries is loaded (CVE-2018-15664, CVE-2019-14271).

mod changes;
mod copy_in;
mod copy_out;
mod export;
mod path;
mod places;
mod user;
mod view;

pub use changes::changes;
pub use copy_in::{CopyIn, copy_in};
pub use copy_out::{copy_out, path_stat};
pub use export::export;

pub(super) use user::of_image as user_of_image;
pub(super) use view::{layers, upper};

use crate::{Error, Kind};

/// The ids that the host sees in a container's root for those that the container sees; `None`: the same. At rest the
/// root is assembled without the user namespace.
fn shown_ids(record: &super::Record) -> Option<super::idmap::IdRange> {
    record.userns.filter(|_| record.state.phase.is_alive())
}

/// What went wrong with an archive, in kinds: the client's fault, or ours.
pub(super) fn archive_error(doing: &str, error: archive::tree::Error) -> Error {
    let kind = match &error {
        archive::tree::Error::Archive(_)
        | archive::tree::Error::DirectoryInTheWay { .. }
        | archive::tree::Error::NonDirectoryInTheWay { .. } => Kind::InvalidParameter,
        _ => Kind::System,
    };
    Error::system(doing, error).with_kind(kind)
}
