//! Received files in a kept directory: only what differs is asked for, and what is gone is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use build::contexts::{Index, Known, Slot};
use oci::DigestHasher;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::Sink;
use super::stat::{Kind, Stat};
use crate::status::Status;

/// Files being received into a directory.
#[derive(Debug)]
pub struct Place<'a> {
    slot: &'a mut Slot,
    root: OwnedFd,
    /// What was here.
    known: Arc<Index>,
    /// What was named so far, as long as all of it is as it was.
    same: Option<Vec<Vec<u8>>>,
    /// What was here and has not been named again; empty as long as all is the same.
    old: Index,
    new: Index,
    /// Directories that were named.
    directories: BTreeSet<Vec<u8>>,
    /// Directories in which something was changed, whose times are to be set again.
    touched: BTreeMap<Vec<u8>, Stat>,
    all_directories: BTreeMap<Vec<u8>, Stat>,
    /// Other names of files, made when these are whole.
    links: Vec<Stat>,
    /// First names that have got a new file.
    renewed: BTreeSet<Vec<u8>>,
    asked: BTreeMap<u32, (Stat, Vec<u8>)>,
    open: BTreeMap<u32, (File, DigestHasher, u64)>,
    parent: Option<(Vec<u8>, OwnedFd)>,
    last: Vec<u8>,
}

fn parent_of(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

impl<'a> Place<'a> {
    /// Into a directory that somebody else has not.
    pub fn new(slot: &'a mut Slot) -> Result<Place<'a>, Status> {
        let (root, known) = (slot.open_root()?, Arc::clone(slot.index()));
        Ok(Place {
            slot,
            root,
            known,
            same: Some(Vec::new()),
            old: Index::new(),
            new: Index::new(),
            directories: BTreeSet::new(),
            touched: BTreeMap::new(),
            all_directories: BTreeMap::new(),
            links: Vec::new(),
            renewed: BTreeSet::new(),
            asked: BTreeMap::new(),
            open: BTreeMap::new(),
            parent: None,
            last: Vec::new(),
        })
    }

    fn is_as_it_was(&self, path: &[u8], raw: &[u8]) -> bool {
        self.known.get(path).is_some_and(|known| known.stat == raw)
    }

    /// Something is not as it was.
    fn differ(&mut self) {
        let Some(same) = self.same.take() else { return };
        self.old = Index::clone(&self.known);
        for path in same {
            if let Some(known) = self.old.remove(&path) {
                self.new.insert(path, known);
            }
        }
    }

    /// The directory of a path, and the path's last part. Its times are set again at the end.
    fn parent(&mut self, path: &[u8]) -> Result<(OwnedFd, Vec<u8>), Status> {
        let (folder, name) = parent_of(path);
        if let Some(stat) = self.all_directories.get(folder) {
            self.touched.entry(folder.to_vec()).or_insert_with(|| stat.clone());
        }
        if self.parent.as_ref().is_none_or(|(known, _)| known != folder) {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let at = if folder.is_empty() { b"." } else { folder };
            let opened = rustix::fs::openat2(&self.root, at, flags, Mode::empty(), resolve);
            self.parent = Some((folder.to_vec(), opened.map_err(std::io::Error::from)?));
        }
        match &self.parent {
            Some((_, fd)) => Ok((fd.try_clone()?, name.to_vec())),
            None => Err(Status::invalid("no directory")),
        }
    }

    /// Removes what was at a path, and all below it.
    fn remove(&mut self, path: &[u8]) -> Result<(), Status> {
        let below = [path, b"/"].concat();
        let gone: Vec<Vec<u8>> = self
            .old
            .range(below.clone()..)
            .map(|(path, _)| path.clone())
            .take_while(|path| path.starts_with(&below))
            .collect();
        for path in gone.iter().rev().map(Vec::as_slice).chain([path]) {
            self.old.remove(path);
            self.parent = None;
            let (folder, name) = self.parent(path)?;
            let removed = match rustix::fs::unlinkat(&folder, name.as_slice(), AtFlags::empty()) {
                Err(Errno::ISDIR | Errno::PERM) => rustix::fs::unlinkat(&folder, name.as_slice(), AtFlags::REMOVEDIR),
                other => other,
            };
            match removed {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(std::io::Error::from(errno).into()),
            }
        }
        self.parent = None;
        Ok(())
    }

    /// Makes what has no content, and an empty file for what has.
    fn make(&mut self, stat: &Stat) -> Result<(), Status> {
        let (folder, name) = self.parent(&stat.path)?;
        let name = name.as_slice();
        let device = match stat.kind() {
            Kind::CharacterDevice => FileType::CharacterDevice,
            Kind::BlockDevice => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        let io = std::io::Error::from;
        match stat.kind() {
            Kind::Directory => match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o700)) {
                Err(Errno::EXIST) | Ok(()) => {}
                Err(errno) => return Err(io(errno).into()),
            },
            Kind::Symlink => rustix::fs::symlinkat(stat.link.as_slice(), &folder, name).map_err(io)?,
            Kind::Fifo | Kind::CharacterDevice | Kind::BlockDevice => {
                let number = rustix::fs::makedev(stat.major, stat.minor);
                rustix::fs::mknodat(&folder, name, device, Mode::from_raw_mode(0o600), number).map_err(io)?;
            }
            Kind::File | Kind::Hardlink | Kind::Other => return Ok(()),
        }
        if stat.kind() != Kind::Directory {
            self.dress(&folder, name, stat)?;
        }
        Ok(())
    }

    /// Owner, mode, times of what is no file.
    fn dress(&self, folder: &OwnedFd, name: &[u8], stat: &Stat) -> Result<(), Status> {
        let io = std::io::Error::from;
        let owner = (Some(Uid::from_raw(stat.uid)), Some(Gid::from_raw(stat.gid)));
        rustix::fs::chownat(folder, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW).map_err(io)?;
        if stat.kind() != Kind::Symlink {
            rustix::fs::chmodat(folder, name, Mode::from_raw_mode(stat.permissions()), AtFlags::empty()).map_err(io)?;
        }
        rustix::fs::utimensat(folder, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW).map_err(io)?;
        Ok(())
    }

    fn create(&mut self, stat: &Stat) -> Result<File, Status> {
        let (folder, name) = self.parent(&stat.path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(folder, name.as_slice(), flags, Mode::from_raw_mode(0o600));
        Ok(File::from(file.map_err(std::io::Error::from)?))
    }

    fn finish_file(&mut self, id: u32) -> Result<(), Status> {
        let Some((stat, raw)) = self.asked.remove(&id) else {
            return Err(Status::invalid("the content of a file that was not asked for"));
        };
        let (file, hasher, size) = match self.open.remove(&id) {
            Some(open) => open,
            None => (self.create(&stat)?, DigestHasher::new(), 0),
        };
        for (name, value) in &stat.xattrs {
            // Those that the layer will have; the rest is the client's own business.
            if name.starts_with(b"user.") || name == b"security.capability" {
                match rustix::fs::fsetxattr(&file, name.as_slice(), value, rustix::fs::XattrFlags::empty()) {
                    Ok(()) | Err(Errno::OPNOTSUPP) => {}
                    Err(errno) => return Err(std::io::Error::from(errno).into()),
                }
            }
        }
        let io = std::io::Error::from;
        rustix::fs::fchown(&file, Some(Uid::from_raw(stat.uid)), Some(Gid::from_raw(stat.gid))).map_err(io)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(stat.permissions())).map_err(io)?;
        rustix::fs::futimens(&file, &times(&stat)).map_err(io)?;
        // What grew or shrank while it was sent is asked for again the next time.
        let stat_bytes = if i64::try_from(size) == Ok(stat.size) { raw } else { Vec::new() };
        self.new.insert(stat.path, Known { stat: stat_bytes, digest: Some(hasher.finish()) });
        Ok(())
    }

    /// Makes links, sets the times of directories, and keeps what is known.
    pub fn finish(mut self) -> Result<(), Status> {
        if self.same.is_some() {
            return Ok(self.slot.commit(self.known)?);
        }
        for stat in std::mem::take(&mut self.links) {
            let (folder, name) = self.parent(&stat.path)?;
            let (first_folder, first) = self.parent(&stat.link.clone())?;
            let linked =
                rustix::fs::linkat(&first_folder, first.as_slice(), &folder, name.as_slice(), AtFlags::empty());
            linked.map_err(std::io::Error::from)?;
            if let (Some(digest), Some(known)) =
                (self.new.get(&stat.link).and_then(|known| known.digest), self.new.get_mut(&stat.path))
            {
                known.digest = Some(digest);
            }
        }
        self.parent = None;
        // Children before their parents, so that no time is changed again.
        for (path, stat) in std::mem::take(&mut self.touched).into_iter().rev() {
            let (folder, name) = parent_of(&path);
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let at = if folder.is_empty() { b"." } else { folder };
            let folder =
                rustix::fs::openat2(&self.root, at, flags, Mode::empty(), resolve).map_err(std::io::Error::from)?;
            self.dress(&folder, name, &stat)?;
        }
        self.slot.commit(Arc::new(self.new))?;
        Ok(())
    }
}

/// Whether a path comes later in the order of walks: a directory's content directly behind it.
fn is_behind(last: &[u8], path: &[u8]) -> bool {
    last.is_empty() || last.split(|byte| *byte == b'/').lt(path.split(|byte| *byte == b'/'))
}

fn times(stat: &Stat) -> Timestamps {
    let at = Timespec { tv_sec: stat.mtime.div_euclid(1_000_000_000), tv_nsec: stat.mtime.rem_euclid(1_000_000_000) };
    Timestamps { last_access: at, last_modification: at }
}

impl Sink for Place<'_> {
    fn stat(&mut self, id: u32, stat: Stat, raw: &[u8]) -> Result<bool, Status> {
        let (folder, _) = parent_of(&stat.path);
        if !folder.is_empty() && !self.directories.contains(folder) {
            return Err(Status::invalid(format!(
                "{:?} comes before its directory",
                String::from_utf8_lossy(&stat.path)
            )));
        }
        if self.same.is_some() && !(is_behind(&self.last, &stat.path) && self.is_as_it_was(&stat.path, raw)) {
            self.differ();
        }
        if self.new.contains_key(&stat.path) || self.last == stat.path {
            return Err(Status::invalid(format!("{:?} comes twice", String::from_utf8_lossy(&stat.path))));
        }
        self.last.clone_from(&stat.path);
        let kind = stat.kind();
        if kind == Kind::Directory {
            self.directories.insert(stat.path.clone());
            self.all_directories.insert(stat.path.clone(), stat.clone());
        }
        if let Some(same) = &mut self.same {
            same.push(stat.path);
            return Ok(false);
        }
        let was = self.old.get(&stat.path);
        let was_directory =
            was.is_some_and(|known| Stat::read(&known.stat).is_ok_and(|stat| stat.kind() == Kind::Directory));
        let relinked = kind == Kind::Hardlink && self.renewed.contains(&stat.link);
        if was.is_some_and(|known| known.stat == raw) && !relinked {
            if let Some(known) = self.old.remove(&stat.path) {
                self.new.insert(stat.path, known);
            }
            return Ok(false);
        }
        self.slot.begin()?;
        if was.is_some() && !(was_directory && kind == Kind::Directory) {
            self.remove(&stat.path)?;
        }
        self.old.remove(&stat.path);
        self.make(&stat)?;
        match kind {
            Kind::File => {
                self.renewed.insert(stat.path.clone());
                self.asked.insert(id, (stat, raw.to_vec()));
                return Ok(true);
            }
            Kind::Hardlink => {
                if !self.new.contains_key(&stat.link) && !self.renewed.contains(&stat.link) {
                    return Err(Status::invalid("a link to a file that was not named"));
                }
                self.new.insert(stat.path.clone(), Known { stat: raw.to_vec(), digest: None });
                self.links.push(stat);
            }
            Kind::Directory => {
                self.new.insert(stat.path.clone(), Known { stat: raw.to_vec(), digest: None });
                self.touched.insert(stat.path.clone(), stat);
            }
            _ => {
                self.new.insert(stat.path, Known { stat: raw.to_vec(), digest: None });
            }
        }
        Ok(false)
    }

    fn listed(&mut self) -> Result<(), Status> {
        if self.same.as_ref().is_some_and(|same| same.len() < self.known.len()) {
            self.differ();
        }
        if self.old.is_empty() {
            return Ok(());
        }
        self.slot.begin()?;
        while let Some(path) = self.old.keys().next_back().cloned() {
            self.remove(&path)?;
        }
        Ok(())
    }

    fn data(&mut self, id: u32, data: &[u8]) -> Result<(), Status> {
        if data.is_empty() {
            return self.finish_file(id);
        }
        if !self.open.contains_key(&id) {
            let Some((stat, _)) = self.asked.get(&id) else {
                return Err(Status::invalid("the content of a file that was not asked for"));
            };
            let file = self.create(&stat.clone())?;
            self.open.insert(id, (file, DigestHasher::new(), 0));
        }
        if let Some((file, hasher, size)) = self.open.get_mut(&id) {
            file.write_all(data)?;
            hasher.update(data);
            *size += data.len() as u64;
        }
        Ok(())
    }
}

/// The digest of nothing, for files that are empty.
#[cfg(test)]
fn empty() -> oci::Digest {
    oci::Digest::of(b"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use build::contexts::Contexts;
    use std::sync::Arc;

    fn file(path: &str, size: i64, mtime: i64) -> Stat {
        Stat { path: path.into(), mode: Stat::go_mode(Kind::File, 0o644), size, mtime, ..Stat::default() }
    }

    fn directory(path: &str) -> Stat {
        Stat { path: path.into(), mode: Stat::go_mode(Kind::Directory, 0o755), mtime: 7_000_000_000, ..Stat::default() }
    }

    /// Sends stats with contents; the paths that were asked for.
    fn send(slot: &mut Slot, files: &[(Stat, &str)]) -> Result<Vec<String>, Status> {
        let mut place = Place::new(slot)?;
        let mut asked = Vec::new();
        for (id, (stat, _)) in (0..).zip(files) {
            if place.stat(id, stat.clone(), stat.to_message().as_ref())? {
                asked.push(id);
            }
        }
        place.listed()?;
        let mut names = Vec::new();
        for id in asked {
            let (stat, content) = &files[id as usize];
            if !content.is_empty() {
                place.data(id, content.as_bytes())?;
            }
            place.data(id, b"")?;
            names.push(String::from_utf8(stat.path.clone()).unwrap());
        }
        place.finish()?;
        Ok(names)
    }

    #[test]
    fn only_what_has_changed_is_asked_for() {
        let folder = std::env::temp_dir().join(format!("hoist-place-{}", std::process::id()));
        let contexts = Arc::new(Contexts::new(&folder));
        let mut slot = contexts.take("x").unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let own = |mut stat: Stat| {
            (stat.uid, stat.gid) = (uid, rustix::process::getegid().as_raw());
            stat
        };
        let first = [
            (own(file("a", 1, 1)), "1"),
            (own(directory("d")), ""),
            (own(file("d/b", 2, 1)), "22"),
            (own(file("e", 0, 1)), ""),
        ];
        assert_eq!(send(&mut slot, &first).unwrap(), ["a", "d/b", "e"]);
        assert_eq!(slot.index()[&b"e".to_vec()].digest, Some(empty()));
        assert_eq!(send(&mut slot, &first).unwrap(), Vec::<String>::new());
        // A newer one, one that is gone, one that becomes a directory.
        let second = [
            (own(directory("a")), ""),
            (own(file("a/x", 1, 1)), "x"),
            (own(directory("d")), ""),
            (own(file("d/b", 2, 2)), "33"),
        ];
        assert_eq!(send(&mut slot, &second).unwrap(), ["a/x", "d/b"]);
        let root = folder.join("build/contexts");
        let root = std::fs::read_dir(root).unwrap().next().unwrap().unwrap().path().join("root");
        assert_eq!(std::fs::read_to_string(root.join("d/b")).unwrap(), "33");
        assert!(!root.join("e").exists());
        let modified = std::fs::metadata(root.join("d")).unwrap().modified().unwrap();
        assert_eq!(modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), 7);
        // What a hostile client sends.
        for files in [
            vec![(own(file("none/b", 1, 1)), "1")],
            vec![(own(file("a", 1, 1)), "1"), (own(file("a", 1, 1)), "1")],
            vec![
                (
                    own(Stat {
                        path: b"l".to_vec(),
                        mode: Stat::go_mode(Kind::Symlink, 0o777),
                        link: b"/etc".to_vec(),
                        ..Stat::default()
                    }),
                    "",
                ),
                (own(file("l/x", 1, 1)), "1"),
            ],
        ] {
            assert!(send(&mut slot, &files).is_err(), "{files:?}");
        }
        drop(slot);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
