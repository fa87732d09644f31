//! Whose files are whose in a container at rest. Its root is put together without its user namespace and without id
//! mappings: what is stored depends on the mount that a file is in.
//!
//! ```text
//!  writable layer, image, /etc/hosts…   the ids that the container sees
//!  volume, bind                         those of its mapping; without one the host's for the container's
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use archive::tree::Stored;
use oci::runtime::IdMapping as Range;
use rustix::fs::{AtFlags, OFlags, StatxFlags, statx};
use sys::root::Root;

use crate::container::idmap::{self, IdRange, Ranges};
use crate::container::mounts::Kind;
use crate::container::{Record, directory};
use crate::{Engine, Result};

/// The mounts of a root, by their numbers.
#[derive(Clone)]
pub(super) struct Places {
    known: Vec<(u64, Place)>,
    userns: Option<IdRange>,
}

#[derive(Clone, Debug, PartialEq)]
enum Place {
    /// Stored as the container sees them.
    Same,
    /// A mount of the host's: by these, or as the host knows the container's.
    Host(Option<Ranges>),
}

fn number(file: BorrowedFd<'_>) -> Option<u64> {
    statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok().map(|stat| stat.stx_mnt_id)
}

impl Places {
    /// `None`: everything is stored as it is seen.
    pub fn of(engine: &Engine, record: &Record, root: &OwnedFd) -> Result<Option<Places>> {
        if record.userns.is_none() && record.mounts.iter().all(|mount| mount.id_mapping.is_none()) {
            return Ok(None);
        }
        let mut ranges = idmap::resolve(engine, record)?;
        let inside = Root::new(root.as_fd());
        let mut known: Vec<(u64, Place)> =
            number(root.as_fd()).map(|number| (number, Place::Same)).into_iter().collect();
        let mut note = |destination: &str, place: Place| {
            let found = inside.open(destination, OFlags::PATH).ok().and_then(|found| number(found.as_fd()));
            // What lies on a mount of its own; the rest has been noted.
            if let Some(number) = found.filter(|found| known.iter().all(|(known, _)| known != found)) {
                known.push((number, place));
            }
        };
        for mount in &record.mounts {
            let place = match mount.kind {
                Kind::Image | Kind::Tmpfs => Place::Same,
                Kind::Bind | Kind::Volume => Place::Host(ranges.remove(&mount.destination)),
            };
            note(&mount.destination, place);
        }
        for name in [directory::RESOLV_CONF, directory::HOSTS, directory::HOSTNAME] {
            note(&format!("/etc/{name}"), Place::Same);
        }
        Ok(Some(Places { known, userns: record.userns }))
    }

    /// From what the container sees to what is stored.
    pub fn stored<'a>(self) -> Stored<'a> {
        Rc::new(move |at, uid, gid| match self.at(at) {
            Place::Same => (uid, gid),
            Place::Host(ranges) => {
                let outside = |id: u32| self.userns.map_or(id, |range| range.outside(id));
                let ranges = ranges.as_ref();
                (
                    to_disk(ranges.map(|ranges| ranges.uids.as_slice()), outside(uid)),
                    to_disk(ranges.map(|ranges| ranges.gids.as_slice()), outside(gid)),
                )
            }
        })
    }

    /// From what is stored to what the container sees.
    pub fn shown<'a>(self) -> Stored<'a> {
        Rc::new(move |at, uid, gid| match self.at(at) {
            Place::Same => (uid, gid),
            Place::Host(ranges) => {
                let inside = |id: u32| match self.userns {
                    Some(range) => id.checked_sub(range.base).filter(|inside| *inside < range.size).unwrap_or(id),
                    None => id,
                };
                let ranges = ranges.as_ref();
                (
                    inside(from_disk(ranges.map(|ranges| ranges.uids.as_slice()), uid)),
                    inside(from_disk(ranges.map(|ranges| ranges.gids.as_slice()), gid)),
                )
            }
        })
    }

    /// What is mounted below a bind is as the bind is without a mapping.
    fn at(&self, file: BorrowedFd<'_>) -> Place {
        let found = number(file).and_then(|number| self.known.iter().find(|(known, _)| *known == number));
        found.map_or(Place::Host(None), |(_, place)| place.clone())
    }
}

/// An id of the host as a mapping stores it; what it has no word for stays, as with the kernel's identity ranges. Pure.
fn to_disk(ranges: Option<&[Range]>, id: u32) -> u32 {
    let within = |range: &&Range| id.checked_sub(range.host_id).is_some_and(|at| at < range.size);
    ranges.unwrap_or_default().iter().find(within).map_or(id, |range| range.container_id + (id - range.host_id))
}

/// The other way round. Pure.
fn from_disk(ranges: Option<&[Range]>, id: u32) -> u32 {
    let within = |range: &&Range| id.checked_sub(range.container_id).is_some_and(|at| at < range.size);
    ranges.unwrap_or_default().iter().find(within).map_or(id, |range| range.host_id + (id - range.container_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_both_ways() {
        let ranges = [
            Range { container_id: 1000, host_id: 0, size: 1 },
            Range { container_id: 1, host_id: 1, size: 999 },
            Range { container_id: 0, host_id: 1 << 30, size: 65_536 },
        ];
        for (seen, stored) in [(0, 1000), (5, 5), ((1 << 30) + 7, 7), (5_000_000, 5_000_000)] {
            assert_eq!(to_disk(Some(&ranges), seen), stored, "{seen}");
        }
        assert_eq!(from_disk(Some(&ranges), 1000), 0);
        assert_eq!(from_disk(Some(&ranges[2..]), 7), (1 << 30) + 7);
        assert_eq!((to_disk(None, 3), from_disk(None, 3)), (3, 3));
    }
}
