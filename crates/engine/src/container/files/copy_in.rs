//! `PUT /containers/{id}/archive`.

use std::io::Read;
use std::os::fd::AsFd;

use archive::tar::Reader;
use archive::tree::{ExtractOptions, Owner, extract, open_in_root};
use rustix::fs::{OFlags, StatVfsMountFlags, fstatvfs};
use rustix::io::Errno;

use super::{archive_error, path, places, user, view};
use crate::container::{Record, publish};
use crate::{Engine, Error, Kind, Result};

/// Where an archive goes, and how.
#[derive(Clone, Debug, Default)]
pub struct CopyIn {
    /// A directory of the container.
    pub path: String,
    /// A directory is not replaced by something else, nor the other way round.
    pub keep_kind: bool,
    /// Everything belongs to the container's user, instead of what the archive says.
    pub container_user: bool,
}

/// Extracts an archive (compressed or not) in a container. What was extracted before an error stays.
pub fn copy_in(engine: &Engine, id: &str, request: &CopyIn, source: &mut (dyn Read + Send)) -> Result<()> {
    let container = engine.containers.find(id)?;
    let (clean, _) = path::split(&request.path)?;
    view::with_root(engine, &container, |root, record| {
        let base = clean.trim_start_matches('/').as_bytes();
        let directory = open_in_root(root, base, OFlags::PATH | OFlags::DIRECTORY).map_err(|errno| match errno {
            Errno::NOENT | Errno::LOOP => path::missing(&request.path, id),
            Errno::NOTDIR => Error::invalid("extraction point is not a directory"),
            errno => Error::system(format!("look up {} in container {id}", request.path), std::io::Error::from(errno)),
        })?;
        let writable = fstatvfs(&directory).map(|stat| !stat.f_flag.contains(StatVfsMountFlags::RDONLY));
        if !writable.unwrap_or(true) {
            return Err(read_only(record, &clean));
        }
        let owner = match request.container_user && !record.config.user.is_empty() {
            true => {
                let (uid, gid) = user::look_up(root, &record.config.user)?;
                Owner::Fixed(uid, gid)
            }
            false => Owner::Archive,
        };
        publish(engine, record, "extract-to-dir", &[]);
        // In a running container's user namespace the host sees other ids than the container.
        let ids = super::shown_ids(record);
        let owner = match (owner, ids) {
            (Owner::Fixed(uid, gid), Some(range)) => Owner::Fixed(range.outside(uid), range.outside(gid)),
            (owner, _) => owner,
        };
        let map = ids.map(|range| -> archive::tree::Change<'_> {
            Box::new(move |member| {
                (member.uid, member.gid) = (range.outside(member.uid), range.outside(member.gid));
                true
            })
        });
        // Its id-mapped mounts take new files of its own users only: they are made as its root would make them.
        let acting = ids.map(|range| sys::files_as::files_as(range.base, range.base)).transpose();
        let _acting = acting.map_err(|error| Error::system("take up the container's ids", error))?;
        let stored = match record.state.phase.is_alive() {
            true => None,
            false => places::Places::of(engine, record, root)?.map(places::Places::stored),
        };
        let keep_kind = request.keep_kind;
        let options = ExtractOptions { follow_links: true, keep_kind, owner, map, stored, ..Default::default() };
        let tar = archive::decompress(source)
            .map_err(|error| Error::system("read the archive", error).with_kind(Kind::InvalidParameter))?;
        let mut reader = Reader::new(tar);
        ::volume::quota::within(|| extract(&mut reader, root.as_fd(), base, options))
            .map_err(|error| archive_error("extract the archive in the container", error))
    })
}

/// Docker's words for a place that nothing can be written to.
fn read_only(record: &Record, path: &str) -> Error {
    let below = |place: &str| path == place || path.strip_prefix(place).is_some_and(|rest| rest.starts_with('/'));
    let mounted = record.mounts.iter().any(|mount| mount.read_only && below(&mount.destination));
    let text = if mounted { "mounted volume is marked read-only" } else { "container rootfs is marked read-only" };
    Error::new(Kind::Forbidden, text)
}
