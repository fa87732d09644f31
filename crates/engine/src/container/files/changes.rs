//! `GET /containers/{id}/changes`: what a container has changed, by walking its own files beside the image's.

use std::os::fd::{AsFd, OwnedFd};

use api::container::{Change, ChangeKind};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fgetxattr, openat, statat};
use rustix::io::Errno;

use super::view;
use crate::container::targets;
use crate::{Engine, Error, Result};

/// Directories inside of each other; two descriptors are open for each.
const MAX_DEPTH: usize = 1024;

/// Changes that are told at most: a container with more has something else to be looked at with.
const MAX_CHANGES: usize = 4_000_000;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// In the order of their paths; `null` (an empty list) when there are none.
pub fn changes(engine: &Engine, id: &str) -> Result<Vec<Change>> {
    let begun = std::time::Instant::now();
    let container = engine.containers.find(id)?;
    let record = container.snapshot();
    let upper = view::upper(engine, &record)?;
    let lower = view::lower(engine, &record, false)?;
    let targets = targets::changes(&record, &view::layers(engine, &record)?, &upper);
    let failed = |errno: Errno| Error::system("compare the container with its image", std::io::Error::from(errno));
    let mut changes = compare(upper, Some(lower)).map_err(failed)?;
    changes.extend(targets);
    changes.sort_by(|one, other| one.path.split('/').cmp(other.path.split('/')));
    engine.tally.took(crate::system::Action::Changes, begun.elapsed());
    Ok(changes)
}

struct Level {
    dir: Dir,
    /// The image's directory of this name, if it has one that shows through.
    lower: Option<OwnedFd>,
    length: usize,
    /// It is among the changes already.
    told: bool,
}

fn compare(upper: OwnedFd, lower: Option<OwnedFd>) -> Result<Vec<Change>, Errno> {
    let mut changes: Vec<Change> = Vec::new();
    let mut path = String::new();
    let mut levels = vec![Level { dir: Dir::new(upper)?, lower, length: 0, told: true }];
    while let Some(level) = levels.last_mut() {
        path.truncate(level.length);
        let Some(entry) = level.dir.read().transpose()? else {
            levels.pop();
            continue;
        };
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        path.push('/');
        path.push_str(&name.to_string_lossy());
        let here = level.dir.fd()?;
        let stat = match statat(here, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno),
        };
        let before = level.lower.as_ref().and_then(|lower| statat(lower, name, AtFlags::SYMLINK_NOFOLLOW).ok());
        let kind = match &before {
            _ if is_whiteout(&stat) => ChangeKind::Deleted,
            None => ChangeKind::Added,
            Some(_) => ChangeKind::Modified,
        };
        if kind == ChangeKind::Deleted && before.is_none() {
            continue;
        }
        let same = before.as_ref().is_some_and(|before| same_directory(&stat, before));
        if changes.len() >= MAX_CHANGES {
            return Err(Errno::FBIG);
        }
        if kind != ChangeKind::Modified && !level.told {
            // What is added or deleted changes its directory, even where its time does not tell.
            level.told = true;
            let parent = path[..level.length].to_owned();
            changes.push(Change { path: parent, kind: ChangeKind::Modified });
        }
        if !same {
            changes.push(Change { path: path.clone(), kind });
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            continue;
        }
        let directory = openat(here, name, DIRECTORY, Mode::empty())?;
        let shows = before.is_some_and(|before| FileType::from_raw_mode(before.st_mode).is_dir());
        let lower = match (&level.lower, shows) {
            (Some(lower), true) => openat(lower, name, DIRECTORY, Mode::empty()).ok(),
            _ => None,
        };
        let length = path.len();
        let mut lower = lower;
        if let Some(hidden) = &lower
            && is_opaque(&directory)
        {
            deleted(&directory, hidden, &path, &mut changes)?;
            // Names that the image has too are changed, the others added: told from the same directory.
            lower = Some(rustix::io::fcntl_dupfd_cloexec(hidden, 0)?);
        }
        if levels.len() >= MAX_DEPTH {
            return Err(Errno::NAMETOOLONG);
        }
        levels.push(Level { dir: Dir::new(directory)?, lower, length, told: !same });
    }
    Ok(changes)
}

/// What an opaque directory hides and has not itself.
fn deleted(directory: &OwnedFd, hidden: &OwnedFd, path: &str, changes: &mut Vec<Change>) -> Result<(), Errno> {
    for entry in Dir::read_from(hidden)? {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") && statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).is_err() {
            changes.push(Change { path: format!("{path}/{}", name.to_string_lossy()), kind: ChangeKind::Deleted });
        }
    }
    Ok(())
}

fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn is_opaque(directory: impl AsFd) -> bool {
    let mut value = [0; 8];
    fgetxattr(directory.as_fd(), "trusted.overlay.opaque", &mut value).is_ok_and(|length| &value[..length] == b"y")
}

/// A directory that was only copied up because of something in it.
fn same_directory(now: &Stat, before: &Stat) -> bool {
    let both = [now, before].iter().all(|stat| FileType::from_raw_mode(stat.st_mode).is_dir());
    both && now.st_mode == before.st_mode
        && (now.st_uid, now.st_gid) == (before.st_uid, before.st_gid)
        && (now.st_mtime, now.st_mtime_nsec) == (before.st_mtime, before.st_mtime_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_changes() {
        let base = std::env::temp_dir().join(format!("hoist-changes-{}", std::process::id()));
        let (upper, lower) = (base.join("upper"), base.join("lower"));
        for directory in [lower.join("etc"), lower.join("gone"), upper.join("etc"), upper.join("new/deep")] {
            std::fs::create_dir_all(directory).unwrap();
        }
        for file in
            [lower.join("etc/a"), lower.join("b"), upper.join("etc/a"), upper.join("etc/c"), upper.join("new/f")]
        {
            std::fs::write(file, "x").unwrap();
        }
        // The directory's time is the same: only what is in it tells.
        let time = std::fs::metadata(lower.join("etc")).unwrap().modified().unwrap();
        std::fs::File::open(upper.join("etc")).unwrap().set_modified(time).unwrap();
        let open = |path: &std::path::Path| OwnedFd::from(std::fs::File::open(path).unwrap());
        let mut found: Vec<String> = compare(open(&upper), Some(open(&lower)))
            .unwrap()
            .into_iter()
            .map(|change| format!("{} {}", change.kind as u8, change.path))
            .collect();
        found.sort();
        assert_eq!(found, ["0 /etc", "0 /etc/a", "1 /etc/c", "1 /new", "1 /new/deep", "1 /new/f"]);
        std::fs::remove_dir_all(&base).unwrap();
    }
}
