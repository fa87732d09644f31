//! Directories of clients, kept between builds so that only what has changed is sent again.
//!
//! ```text
//! <data root>/build/contexts/<key>-<n>/root/…   the files as the client has them
//!                                     /index    what is known of each: its metadata as sent, its content's digest
//! ```
//! One build at a time has a directory; a second one that wants the same gets the next number. The index is absent while
//! the files are being changed, and it names the boot it was written in, because nothing here is synced: a directory
//! without a valid index is emptied and sent anew.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use oci::Digest;
use rustix::fs::{Mode, OFlags};

use crate::error::{Error, Result};
use crate::tree::Tree;

/// A directory that no build has used for that long is removed.
const UNUSED: Duration = Duration::from_secs(7 * 24 * 3600);

/// The largest index that is read back.
const MAX_INDEX: u64 = 1 << 30;

/// What is known of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The metadata as the client sent it; only compared here.
    pub stat: Vec<u8>,
    /// Of a file's content.
    pub digest: Option<Digest>,
}

/// What is known of a directory, by path.
pub type Index = BTreeMap<Vec<u8>, Known>;

/// The kept directories of one daemon.
#[derive(Debug)]
pub struct Contexts {
    root: PathBuf,
    boot: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: HashSet<PathBuf>,
    /// Indexes as they are on disk, and what they are called.
    indexes: HashMap<PathBuf, (Arc<Index>, u64)>,
    /// The last name of an index.
    named: u64,
}

/// A directory in use.
#[derive(Debug)]
pub struct Slot {
    contexts: Arc<Contexts>,
    path: PathBuf,
    index: Arc<Index>,
    /// Which index this is, among all that this daemon has had.
    identity: u64,
    /// The files are being changed.
    open: bool,
}

impl Contexts {
    /// The directories below a daemon's data root.
    #[must_use]
    pub fn new(data_root: &Path) -> Contexts {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        Contexts { root: data_root.join("build/contexts"), boot, state: Mutex::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a directory for a key: the one of the last build, if nobody has it now.
    pub fn take(self: &Arc<Self>, key: &str) -> Result<Slot> {
        let failed = |error: io::Error| Error::system("keep the build context", error);
        let name = Digest::of(key.as_bytes()).short();
        let path = {
            let mut state = self.state();
            let free = (0..).map(|number| self.root.join(format!("{name}-{number}")));
            let path = free.into_iter().find(|path| !state.used.contains(path));
            let path = path.ok_or_else(|| Error::Invalid("too many builds".into()))?;
            state.used.insert(path.clone());
            path
        };
        let mut slot = Slot { contexts: Arc::clone(self), path, index: Arc::default(), identity: 0, open: false };
        DirBuilder::new().recursive(true).mode(0o700).create(&slot.path).map_err(failed)?;
        let known = self.state().indexes.get(&slot.path).cloned();
        match known.or_else(|| slot.read_index().map(|index| (Arc::new(index), self.state().name()))) {
            Some(known) => (slot.index, slot.identity) = known,
            None => {
                slot.begin().map_err(failed)?;
                match fs::remove_dir_all(slot.root()) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                    _ => {}
                }
            }
        }
        match DirBuilder::new().mode(0o755).create(slot.root()) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
            _ => Ok(slot),
        }
    }

    /// Removes what no build has and nobody has used since `before`; bytes on disk that were freed.
    pub fn prune(&self, before: SystemTime) -> u64 {
        let mut freed = 0;
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let path = entry.path();
            let used = fs::metadata(path.join("index")).and_then(|index| index.modified());
            if used.is_ok_and(|used| used > before) {
                continue;
            }
            {
                let mut state = self.state();
                if state.used.contains(&path) {
                    continue;
                }
                // So that no build takes it meanwhile.
                state.used.insert(path.clone());
                state.indexes.remove(&path);
            }
            freed += size(&path);
            if let Err(error) = fs::remove_dir_all(&path) {
                tracing::warn!(path = %path.display(), %error, "a kept build context is still there");
            }
            self.state().used.remove(&path);
        }
        freed
    }

    /// Removes what nobody has used for a week.
    pub fn sweep(&self) {
        if let Some(before) = SystemTime::now().checked_sub(UNUSED) {
            self.prune(before);
        }
    }
}

impl State {
    fn name(&mut self) -> u64 {
        self.named += 1;
        self.named
    }
}

/// Bytes on disk below a directory, links not followed.
fn size(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += metadata.blocks() * 512;
        if metadata.is_dir() {
            bytes += size(&entry.path());
        }
    }
    bytes
}

impl Slot {
    fn root(&self) -> PathBuf {
        self.path.join("root")
    }

    /// The directory that holds the files.
    pub fn open_root(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(rustix::fs::open(self.root(), flags, Mode::empty())?)
    }

    /// What is known of the files.
    #[must_use]
    pub fn index(&self) -> &Arc<Index> {
        &self.index
    }

    /// From now on the files differ from what is known of them.
    pub fn begin(&mut self) -> io::Result<()> {
        if self.open {
            return Ok(());
        }
        self.contexts.state().indexes.remove(&self.path);
        match fs::remove_file(self.path.join("index")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.open = true;
        Ok(())
    }

    /// The files are as `index` says.
    pub fn commit(&mut self, index: Arc<Index>) -> io::Result<()> {
        self.index = index;
        if self.open {
            self.identity = self.contexts.state().name();
            let new = self.path.join("index.new");
            let mut file = io::BufWriter::new(File::create(&new)?);
            field(&mut file, self.contexts.boot.as_bytes())?;
            for (path, known) in self.index.iter() {
                field(&mut file, path)?;
                field(&mut file, &known.stat)?;
                field(&mut file, known.digest.as_ref().map_or(&[][..], |digest| &digest.as_bytes()[..]))?;
            }
            file.into_inner().map_err(|error| error.into_error())?;
            fs::rename(new, self.path.join("index"))?;
            self.open = false;
        } else {
            // When it was used last.
            let _ = File::options()
                .write(true)
                .open(self.path.join("index"))
                .and_then(|file| file.set_modified(SystemTime::now()));
        }
        let known = (Arc::clone(&self.index), self.identity);
        self.contexts.state().indexes.insert(self.path.clone(), known);
        Ok(())
    }

    /// The files as a tree that knows its digests; the directory is taken as long as the tree lives.
    pub fn into_tree(self) -> Result<Tree> {
        let root = self.open_root().map_err(|error| Error::system("open the build context", error))?;
        let slot = self;
        let identity = slot.identity;
        Ok(Tree::of_known_directory(
            root,
            Some(identity),
            Arc::new(move |path: &[u8]| slot.index.get(path).and_then(|known| known.digest)),
        ))
    }

    fn read_index(&self) -> Option<Index> {
        let file = File::open(self.path.join("index")).ok()?;
        let mut bytes = Vec::new();
        file.take(MAX_INDEX).read_to_end(&mut bytes).ok()?;
        let mut rest = bytes.as_slice();
        if take(&mut rest)? != self.contexts.boot.as_bytes() {
            return None;
        }
        let mut index = Index::new();
        while !rest.is_empty() {
            let path = take(&mut rest)?.to_vec();
            let stat = take(&mut rest)?.to_vec();
            let digest = take(&mut rest)?;
            let digest = if digest.is_empty() { None } else { Some(Digest::from_bytes(digest.try_into().ok()?)) };
            index.insert(path, Known { stat, digest });
        }
        Some(index)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.contexts.state().used.remove(&self.path);
    }
}

fn field(file: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    file.write_all(&length.to_le_bytes())?;
    file.write_all(bytes)
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (taken, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_and_what_is_not() {
        let folder = std::env::temp_dir().join(format!("hoist-contexts-{}", std::process::id()));
        let contexts = Arc::new(Contexts::new(&folder));
        let mut slot = contexts.take("key").unwrap();
        let other = contexts.take("key").unwrap();
        assert_ne!(slot.path, other.path);
        drop(other);
        fs::write(slot.root().join("a"), "x").unwrap();
        slot.begin().unwrap();
        let index = Index::from([(b"a".to_vec(), Known { stat: b"s".to_vec(), digest: Some(Digest::of(b"x")) })]);
        slot.commit(Arc::new(index.clone())).unwrap();
        drop(slot);
        // Another daemon reads it from the disk.
        let contexts = Arc::new(Contexts::new(&folder));
        let mut slot = contexts.take("key").unwrap();
        assert_eq!(**slot.index(), index);
        // Left in the middle of a change: everything is sent anew.
        slot.begin().unwrap();
        drop(slot);
        let slot = contexts.take("key").unwrap();
        assert!(slot.index().is_empty() && !slot.root().join("a").exists());
        // What a build has stays.
        contexts.prune(SystemTime::now() + UNUSED);
        assert!(slot.root().exists());
        drop(slot);
        contexts.prune(SystemTime::now() + UNUSED);
        assert_eq!(fs::read_dir(folder.join("build/contexts")).unwrap().count(), 0);
        fs::remove_dir_all(folder).unwrap();
    }
}
