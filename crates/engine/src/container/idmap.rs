//! Whose files are whose in a mount: id-mapped mounts (mount_setattr(2), Linux 5.12), worked out when the container starts.
//!
//! ```text
//!  source's file system     in the container
//!     1000 (its owner)  ◀──▶  0 (the container's user)      match-user
//!     every other id    ◀──▶  the same
//!     0 (that user's id)      nobody: nothing can be made with it
//! ```
//! Nothing on the disk is ever changed for it. Where kernel or file system cannot do it the start fails and says so.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use oci::runtime::IdMapping as Range;
use serde::{Deserialize, Serialize};

use super::mounts::Kind;
use super::{Record, files};
use crate::{Engine, Error, Result};

/// How many ids there are; the last one is no id.
const ALL: u32 = u32::MAX;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum IdMapping {
    /// The source's owner is this user in the container; empty: the container's own.
    MatchUser(String),
    /// Ids of the file system are ids of the container's user namespace.
    Userns,
    /// Ranges of users and groups: first id in the file system, first id in the container, how many.
    Explicit(Vec<[u32; 3]>, Vec<[u32; 3]>),
}

/// Ids of a mount as the kernel wants them: `container_id` is the file system's, `host_id` what is seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ranges {
    pub uids: Vec<Range>,
    pub gids: Vec<Range>,
}

/// The ids of a container with a user namespace of its own: 0 is the host's `base`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdRange {
    pub base: u32,
    pub size: u32,
}

impl IdRange {
    /// The host's id for one of the container's; what it has not is nobody's of it, its last one.
    pub fn outside(self, id: u32) -> u32 {
        self.base + id.min(self.size - 1)
    }
}

impl IdMapping {
    /// `match-user`, `match-user:USER`, `userns`, `uids=0-1000-1#5-5-10;gids=…`.
    pub fn parse(text: &str) -> Result<IdMapping> {
        let wrong = || {
            Error::invalid(format!(
                "invalid id mapping '{text}': use match-user, match-user:USER, userns, or \
                 uids=SOURCE-CONTAINER-COUNT#…;gids=…"
            ))
        };
        match text.split_once(':').unwrap_or((text, "")) {
            ("match-user", user) if !user.contains('\0') => return Ok(IdMapping::MatchUser(user.to_owned())),
            ("userns", "") => return Ok(IdMapping::Userns),
            _ => {}
        }
        let (mut uids, mut gids) = (Vec::new(), Vec::new());
        for part in text.split(';').filter(|part| !part.is_empty()) {
            let (name, ranges) = part.split_once('=').ok_or_else(wrong)?;
            let list = match name {
                "uids" => &mut uids,
                "gids" => &mut gids,
                _ => return Err(wrong()),
            };
            for range in ranges.split('#') {
                let numbers: Vec<u32> = range.split('-').map_while(|number| number.parse().ok()).collect();
                match numbers.as_slice() {
                    [source, inside, count] if range.split('-').count() == 3 => list.push([*source, *inside, *count]),
                    _ => return Err(wrong()),
                }
            }
        }
        explicit(uids, gids)
    }

    /// From a request; `None` when it asks for nothing.
    pub fn of(request: &api::container::IdMapping) -> Result<Option<IdMapping>> {
        let triples = |list: &api::List<api::container::IdMap>| -> Vec<[u32; 3]> {
            list.iter().map(|map| [map.host_id, map.container_id, map.size]).collect()
        };
        let (uids, gids) = (triples(&request.uid_maps), triples(&request.gid_maps));
        match request.source.as_str() {
            "" if uids.is_empty() && gids.is_empty() => Ok(None),
            "match-user" => Ok(Some(IdMapping::MatchUser(request.user.clone()))),
            "userns" => Ok(Some(IdMapping::Userns)),
            "" | "explicit" => explicit(uids, gids).map(Some),
            other => Err(Error::invalid(format!("invalid IDMapping source: {other}"))),
        }
    }
}

/// Users alone are groups too.
fn explicit(uids: Vec<[u32; 3]>, gids: Vec<[u32; 3]>) -> Result<IdMapping> {
    let gids = if gids.is_empty() { uids.clone() } else { gids };
    let uids = if uids.is_empty() { gids.clone() } else { uids };
    if uids.is_empty() {
        return Err(Error::invalid("an explicit id mapping needs ranges"));
    }
    for [source, inside, count] in uids.iter().chain(&gids) {
        if *count == 0 || source.checked_add(*count).is_none() || inside.checked_add(*count).is_none() {
            return Err(Error::invalid(format!("invalid range of ids: {source}-{inside}-{count}")));
        }
    }
    for list in [&uids, &gids] {
        if list.len() > 340 {
            return Err(Error::invalid("an id mapping has at most 340 ranges"));
        }
        for (at, one) in list.iter().enumerate() {
            let overlap = |a: u32, b: u32, other: &[u32; 3]| a < b + other[2] && b < a + one[2];
            if list[..at].iter().any(|other| overlap(one[0], other[0], other) || overlap(one[1], other[1], other)) {
                return Err(Error::invalid(format!("ranges of ids overlap at {}-{}", one[0], one[1])));
            }
        }
    }
    Ok(IdMapping::Explicit(uids, gids))
}

/// The source itself; what is below it is looked up there, whatever links a container has put into it.
fn owner(source: &str, subpath: &str) -> std::io::Result<std::fs::Metadata> {
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    let mut found = rustix::fs::open(source, flags, rustix::fs::Mode::empty())?;
    if !subpath.is_empty() {
        found = sys::root::Root::new(found.as_fd()).open(subpath, flags)?;
    }
    std::fs::File::from(found).metadata()
}

/// The mappings of a container's mounts, by destination. A mount that would be mapped to itself has none.
pub(super) fn resolve(engine: &Engine, record: &Record) -> Result<BTreeMap<String, Ranges>> {
    let mut all = BTreeMap::new();
    for mount in &record.mounts {
        // Whoever has a volume sees the same ids in it. What a volume's options mount is somebody else's, as a bind is.
        let shared = record.userns.is_some() && mount.kind == Kind::Volume;
        let wanted = match &mount.id_mapping {
            Some(wanted) => wanted,
            None if shared && !crate::volume::has_device(engine, &mount.volume)? => &IdMapping::Userns,
            None => continue,
        };
        if engine.host.kernel < (5, 12) {
            let text = "id-mapped mounts need Linux 5.12 or newer";
            return Err(Error::new(crate::Kind::NotImplemented, text));
        }
        if !matches!(mount.kind, Kind::Bind | Kind::Volume) {
            return Err(Error::invalid(format!("a mount of type {} cannot be id-mapped", mount.kind.as_str())));
        }
        let ranges = match wanted {
            IdMapping::MatchUser(user) => {
                let user = if user.is_empty() { &record.config.user } else { user };
                let (uid, gid) = files::user_of_image(engine, &record.layers, user)?;
                let owner = owner(&mount.source, &mount.subpath)
                    .map_err(|error| Error::system(format!("look at the owner of {}", mount.source), error))?;
                Ranges {
                    uids: matched(owner.uid(), uid, record.userns)?,
                    gids: matched(owner.gid(), gid, record.userns)?,
                }
            }
            IdMapping::Userns => match record.userns {
                Some(range) => {
                    let whole = vec![Range { container_id: 0, host_id: range.base, size: range.size }];
                    Ranges { uids: whole.clone(), gids: whole }
                }
                None => return Err(Error::invalid("map=userns needs a container with a user namespace of its own")),
            },
            IdMapping::Explicit(uids, gids) => {
                let seen = |list: &[[u32; 3]]| -> Result<Vec<Range>> {
                    list.iter()
                        .map(|[source, inside, size]| {
                            let last = inside + (size - 1);
                            Ok(Range {
                                container_id: *source,
                                host_id: seen(*inside, record.userns).and_then(|first| {
                                    seen(last, record.userns)?;
                                    Ok(first)
                                })?,
                                size: *size,
                            })
                        })
                        .collect()
                };
                Ranges { uids: seen(uids)?, gids: seen(gids)? }
            }
        };
        let same = |list: &[Range]| list.iter().all(|range| range.container_id == range.host_id);
        if !(matches!(wanted, IdMapping::MatchUser(_)) && same(&ranges.uids) && same(&ranges.gids)) {
            all.insert(mount.destination.clone(), ranges);
        }
    }
    Ok(all)
}

/// An id of the container as the host knows it.
fn seen(id: u32, userns: Option<IdRange>) -> Result<u32> {
    match userns {
        None => Ok(id),
        Some(range) if id < range.size => Ok(range.base + id),
        Some(range) => {
            Err(Error::invalid(format!("id {id} is outside of the container's range of {} ids", range.size)))
        }
    }
}

/// `owner` of the source is `user` of the container, and every other id is the same. Pure.
fn matched(owner: u32, user: u32, userns: Option<IdRange>) -> Result<Vec<Range>> {
    let (base, limit) = userns.map_or((0, ALL), |range| (range.base, range.size));
    let mut ranges = vec![Range { container_id: owner, host_id: seen(user, userns)?, size: 1 }];
    let mut start = 0;
    let mut cuts = [owner, user];
    cuts.sort_unstable();
    for cut in cuts.into_iter().chain([limit]) {
        let end = cut.min(limit);
        if end > start {
            ranges.push(Range { container_id: start, host_id: base + start, size: end - start });
        }
        start = start.max(end.saturating_add(1));
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for (text, expect) in [
            ("match-user", Some(IdMapping::MatchUser(String::new()))),
            ("match-user:33:44", Some(IdMapping::MatchUser("33:44".to_owned()))),
            ("userns", Some(IdMapping::Userns)),
            ("uids=0-1000-1", Some(IdMapping::Explicit(vec![[0, 1000, 1]], vec![[0, 1000, 1]]))),
            (
                "uids=1000-0-1#5-6-2;gids=7-8-9",
                Some(IdMapping::Explicit(vec![[1000, 0, 1], [5, 6, 2]], vec![[7, 8, 9]])),
            ),
            ("", None),
            ("root", None),
            ("userns:x", None),
            ("uids=0-1", None),
            ("uids=0-1-0", None),
            ("uids=0-1-2-3", None),
            ("uids=4294967295-0-2", None),
            ("uids=0-0-10#5-100-10", None),
            ("uids=x", None),
        ] {
            assert_eq!(IdMapping::parse(text).ok(), expect, "{text}");
        }
    }

    #[test]
    fn one_owner_becomes_another() {
        let check = |owner, user, userns, expect: &[(u32, u32, u32)]| {
            let found = matched(owner, user, userns).unwrap();
            let found: Vec<_> = found.iter().map(|range| (range.container_id, range.host_id, range.size)).collect();
            assert_eq!(found, expect, "{owner} {user}");
            // An id has one meaning on either side.
            for (at, one) in found.iter().enumerate() {
                for other in &found[..at] {
                    assert!(one.0 >= other.0 + other.2 || other.0 >= one.0 + one.2);
                    assert!(one.1 >= other.1 + other.2 || other.1 >= one.1 + one.2);
                }
            }
        };
        check(1000, 0, None, &[(1000, 0, 1), (1, 1, 999), (1001, 1001, ALL - 1001)]);
        check(0, 1000, None, &[(0, 1000, 1), (1, 1, 999), (1001, 1001, ALL - 1001)]);
        check(0, 0, None, &[(0, 0, 1), (1, 1, ALL - 1)]);
        check(5, 5, None, &[(5, 5, 1), (0, 0, 5), (6, 6, ALL - 6)]);
        let own = Some(IdRange { base: 100_000, size: 65536 });
        check(1000, 0, own, &[(1000, 100_000, 1), (1, 100_001, 999), (1001, 101_001, 64535)]);
        check(90_000, 0, own, &[(90_000, 100_000, 1), (1, 100_001, 65535)]);
        assert!(matched(0, 70_000, own).is_err());
    }
}
