//! The directories and files that a container's mounts are mounted on, where its image has none.
//!
//! ```text
//!  upper      the container's own files
//!  image      no /data in any layer
//!  …
//!  targets    a tmpfs with /data/a, /data/b, made for one run
//! ```
//! Made in the writable layer each would be an inode on the disk and a copy-up, at every start of a container that is
//! new: most of what mounts cost. As the lowest layer they are there all the same, and nothing can write to them. `diff`,
//! `commit` and `export` tell of them, as if they were the container's own.
//!
//! Only what begins with a name that no layer has is made so: no directory of the image becomes a merged one for it. The rest
//! is made where it is missing when it is mounted on.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use api::container::{Change, ChangeKind};
use archive::tree::Packer;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use sys::mount::{Filesystem, attribute};

use super::Record;
use super::mounts::{Kind, Mount};
use crate::Engine;

/// tmpfs has id-mapped mounts since Linux 6.3.
const MAPPED: (u32, u32) = (6, 3);

/// What is missing: paths without the first slash, parents first; `true`: a directory.
type Missing = BTreeMap<String, bool>;

/// The lowest layer of a run; `None` when it would be empty, or this kernel cannot have it.
pub(super) fn layer(engine: &Engine, record: &Record, layers: &[OwnedFd]) -> Option<OwnedFd> {
    if !engine.store.layers().takes_detached() || (record.userns.is_some() && engine.host.kernel < MAPPED) {
        return None;
    }
    let missing = missing(&record.mounts, layers);
    if missing.is_empty() {
        return None;
    }
    // They are made on the way otherwise.
    build(&missing).inspect_err(|error| tracing::debug!(%error, "no layer for the targets of mounts")).ok()
}

/// What of it the container's own files have not, for `diff`.
pub(super) fn changes(record: &Record, layers: &[OwnedFd], upper: &OwnedFd) -> Vec<Change> {
    let Some(missing) = of_the_last_run(record, layers, upper) else { return Vec::new() };
    let has = |path: &str| exists(upper, path);
    missing
        .into_keys()
        .filter(|path| !has(path))
        .map(|path| Change { path: format!("/{path}"), kind: ChangeKind::Added })
        .collect()
}

/// The same for `commit`: what is packed beside the container's own files.
pub(super) fn pack<W: io::Write>(
    record: &Record,
    layers: &[OwnedFd],
    upper: &OwnedFd,
    packer: &mut Packer<'_, W>,
) -> archive::tree::Result<()> {
    let Some(mut missing) = of_the_last_run(record, layers, upper) else { return Ok(()) };
    let failed = |source: io::Error| archive::tree::Error::Io { op: "make", path: "/".to_owned(), source };
    let tree = build(&missing).map_err(failed)?;
    missing.retain(|path, _| !exists(upper, path));
    // The same archive each time.
    let time = Timespec { tv_sec: (record.state.started_at / 1_000_000_000) as i64, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    for path in missing.keys().rev() {
        rustix::fs::utimensat(&tree, path.as_str(), &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| failed(errno.into()))?;
    }
    for path in missing.keys() {
        let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
        // What is below comes with its directory.
        if missing.contains_key(parent) {
            continue;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let parent = rustix::fs::openat(&tree, parent, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        packer.entry(parent.as_fd(), name.as_bytes(), path.as_bytes())?;
    }
    Ok(())
}

/// `None`: it has never run, or there is nothing.
fn of_the_last_run(record: &Record, layers: &[OwnedFd], upper: &OwnedFd) -> Option<Missing> {
    if record.state.started_at == 0 {
        return None;
    }
    let mut missing = missing(&record.mounts, layers);
    // A name that the container has taken for something else, or removed.
    missing.retain(|path, _| {
        let first = path.split('/').next().unwrap_or_default();
        let found = rustix::fs::statat(upper, first, AtFlags::SYMLINK_NOFOLLOW);
        found.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir()) || !exists(upper, first)
    });
    (!missing.is_empty()).then_some(missing)
}

fn exists(root: &OwnedFd, path: &str) -> bool {
    rustix::fs::statat(root, path, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// What mounts need and no layer has.
fn missing(mounts: &[Mount], layers: &[OwnedFd]) -> Missing {
    let mut known: BTreeMap<&str, bool> = BTreeMap::new();
    let mut found = Missing::new();
    for mount in mounts {
        let Some(path) = mount.destination.strip_prefix('/').filter(|path| !path.is_empty()) else { continue };
        let first = path.split('/').next().unwrap_or_default();
        // A whiteout is a name too: the ways of overlayfs are left to it.
        let absent = known.entry(first).or_insert_with(|| !layers.iter().any(|layer| exists(layer, first)));
        if !*absent || is_below_another(mount, mounts) {
            continue;
        }
        let Some(is_directory) = is_directory(mount) else { continue };
        let ends = path.char_indices().filter(|(_, letter)| *letter == '/').map(|(at, _)| at);
        found.extend(ends.map(|at| (path[..at].to_owned(), true)));
        found.insert(path.to_owned(), is_directory);
    }
    found
}

/// Its target is looked up in the other's files.
fn is_below_another(mount: &Mount, mounts: &[Mount]) -> bool {
    let below =
        |other: &Mount| mount.destination.strip_prefix(&other.destination).is_some_and(|rest| rest.starts_with('/'));
    mounts.iter().any(below)
}

/// What is mounted; `None` where only a lookup inside of it tells.
fn is_directory(mount: &Mount) -> Option<bool> {
    match mount.kind {
        _ if !mount.subpath.is_empty() => None,
        Kind::Volume | Kind::Tmpfs | Kind::Image => Some(true),
        Kind::Bind => std::fs::metadata(&mount.source).ok().map(|found| found.is_dir()),
    }
}

/// A tmpfs with them, attached nowhere.
fn build(missing: &Missing) -> io::Result<OwnedFd> {
    let tmpfs = Filesystem::open("tmpfs")?;
    tmpfs.string("source", "hoist")?;
    tmpfs.string("mode", "755")?;
    let tree = tmpfs.mount(attribute::NODEV | attribute::NOSUID)?;
    make(tree.as_fd(), missing)?;
    Ok(tree)
}

fn make(tree: BorrowedFd<'_>, missing: &Missing) -> Result<(), Errno> {
    for (path, is_directory) in missing {
        match is_directory {
            true => rustix::fs::mkdirat(tree, path.as_str(), Mode::from_raw_mode(0o755))?,
            false => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                drop(rustix::fs::openat(tree, path.as_str(), flags, Mode::from_raw_mode(0o644))?);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: Kind, source: &str, destination: &str) -> Mount {
        Mount { source: source.to_owned(), ..Mount::new(kind, destination) }
    }

    #[test]
    fn what_is_missing_is_made() {
        let base = std::env::temp_dir().join(format!("hoist-targets-{}", std::process::id()));
        let (image, made) = (base.join("image"), base.join("made"));
        for directory in [image.join("var/lib"), made.clone()] {
            std::fs::create_dir_all(directory).unwrap();
        }
        std::os::unix::fs::symlink("/nowhere", image.join("link")).unwrap();
        let file = base.join("file");
        std::fs::write(&file, "").unwrap();
        let (file, directory) = (file.display().to_string(), base.display().to_string());
        let subpath = Mount { subpath: "deep".to_owned(), ..mount(Kind::Volume, "", "/inside") };
        let mounts = [
            mount(Kind::Volume, "", "/v/a"),
            mount(Kind::Tmpfs, "", "/v/b"),
            // In the volume, not in the root.
            mount(Kind::Bind, &directory, "/v/a/below"),
            mount(Kind::Bind, &file, "/conf/app.conf"),
            mount(Kind::Bind, "/not/there", "/gone"),
            mount(Kind::Volume, "", "/var/lib/new"),
            mount(Kind::Volume, "", "/link/x"),
            subpath,
        ];
        let open = |path: &std::path::Path| OwnedFd::from(std::fs::File::open(path).unwrap());
        let missing = missing(&mounts, &[open(&image)]);
        let shown: Vec<(&str, bool)> = missing.iter().map(|(path, kind)| (path.as_str(), *kind)).collect();
        let expected = [("conf", true), ("conf/app.conf", false), ("v", true), ("v/a", true), ("v/b", true)];
        assert_eq!(shown, expected);
        make(open(&made).as_fd(), &missing).unwrap();
        assert!(made.join("v/b").is_dir() && made.join("conf/app.conf").is_file());
        std::fs::remove_dir_all(&base).unwrap();
    }
}
