//! `GET` and `HEAD /containers/{id}/archive`.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use api::container::PathStat;
use archive::tree::{PackOptions, Packer};
use rustix::fs::FileType;

use super::path::{self, Found};
use super::{archive_error, places, view};
use crate::container::publish;
use crate::{Engine, Result, time};

/// What is at a path of a container; a link itself is looked at.
pub fn path_stat(engine: &Engine, id: &str, path: &str) -> Result<PathStat> {
    let container = engine.containers.find(id)?;
    path::split(path)?;
    view::with_root(engine, &container, |root, _| Ok(stat_of(root, &path::find(root, path, id)?, path)))
}

/// Writes what is at a path as an archive, under its own name. `begin` is told what it is and gives the sink; it is not
/// called when there is nothing.
pub fn copy_out<W: Write>(engine: &Engine, id: &str, path: &str, begin: impl FnOnce(PathStat) -> W) -> Result<()> {
    let container = engine.containers.find(id)?;
    path::split(path)?;
    view::with_root(engine, &container, |root, record| {
        let found = path::find(root, path, id)?;
        let shown = match record.state.phase.is_alive() {
            true => None,
            false => places::Places::of(engine, record, root)?.map(places::Places::shown),
        };
        publish(engine, record, "archive-path", &[]);
        let sink = begin(stat_of(root, &found, path));
        let failed = |error| archive_error("archive the container's files", error);
        let ids = super::shown_ids(record).map(|range| (range.base, range.size));
        let mut packer = Packer::new(sink, PackOptions { ids, shown, ..PackOptions::default() });
        let name = found.shown.as_str();
        if found.name == "." {
            packer.directory(found.parent.as_fd(), name.as_bytes()).map_err(failed)?;
        } else {
            packer.entry(found.parent.as_fd(), found.name.as_bytes(), name.as_bytes()).map_err(failed)?;
        }
        packer.finish().map(drop).map_err(failed)
    })
}

fn stat_of(root: &OwnedFd, found: &Found, path: &str) -> PathStat {
    let stat = &found.stat;
    let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
    let ns = u64::try_from(stat.st_mtime).unwrap_or(0) * 1_000_000_000 + stat.st_mtime_nsec;
    PathStat {
        name: found.shown.clone(),
        size: stat.st_size,
        mode: path::go_mode(stat),
        mtime: time::rfc3339(ns.max(1)),
        link_target: if is_link { path::resolve(root, path) } else { String::new() },
    }
}
