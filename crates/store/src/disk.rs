//! Files that are there whole or not at all.
//!
//! ```text
//! create .tmp-… │ write │ sync the data │ rename │ … more of the same … │ sync the directories │ commit the database
//!               └───────┴───────────────┴────────┘ a name in the database comes after all it stands for ┘
//! ```
//!
//! - A file gets its real name when its data is durable. The name itself becomes durable with the next durable commit
//!   of the database ([`Disk::settle`]), so that a pull syncs each directory once; before that nothing refers to it.
//! - What goes away is renamed into `layers/trash/`, and freed by a thread of its own: nobody waits for the blocks of a large
//!   file. A crash leaves it there for the next start.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::error::{Error, Result};

/// What temporary names begin with; [`Disk::sweep`] removes them.
const TEMPORARY: &str = ".tmp-";

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Something that was done to the disk, in the order in which it was done.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// A new, empty file.
    Create {
        path: &'a Path,
    },
    /// The data of a file is durable.
    Sync {
        path: &'a Path,
    },
    Rename {
        from: &'a Path,
        to: &'a Path,
    },
    /// The names in a directory are durable.
    SyncDirectory {
        path: &'a Path,
    },
    /// A durable commit of the database.
    Commit,
}

/// Is told each step; for tests that take the disk away in between.
pub trait Witness: Send + Sync + std::fmt::Debug {
    fn saw(&self, step: Step<'_>);
}

/// How the store changes files. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Disk(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    trash: PathBuf,
    /// Directories with names that are not durable yet.
    dirty: Mutex<BTreeSet<PathBuf>>,
    witness: Option<Arc<dyn Witness>>,
    emptier: Option<Sender<PathBuf>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Disk {
    /// Prepares the trash of a data root, and begins to empty it.
    pub fn open(root: &Path, witness: Option<Arc<dyn Witness>>) -> Result<Disk> {
        let trash = root.join("layers").join("trash");
        ensure_directory(&trash)?;
        let (emptier, full) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let stop = Arc::clone(&stop);
            std::thread::Builder::new()
                .name("trash".to_owned())
                .stack_size(512 * 1024)
                .spawn(move || empty(&full, &stop))
                .map_err(Error::io("start a thread for", &trash))?
        };
        for entry in fs::read_dir(&trash).map_err(Error::io("list", &trash))? {
            // The thread ends only with the sender.
            let _ = emptier.send(entry.map_err(Error::io("list", &trash))?.path());
        }
        Ok(Disk(Arc::new(Inner {
            trash,
            dirty: Mutex::default(),
            witness,
            emptier: Some(emptier),
            stop,
            thread: Some(thread),
        })))
    }

    fn tell(&self, step: Step<'_>) {
        if let Some(witness) = &self.0.witness {
            witness.saw(step);
        }
    }

    /// A new, empty file in `directory`, open for reading and writing.
    pub fn create(&self, directory: &Path) -> Result<(Temporary, File)> {
        let path = directory.join(temporary_name());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(Error::io("create", &path))?;
        self.tell(Step::Create { path: &path });
        Ok((Temporary { disk: self.clone(), path, committed: false }, file))
    }

    /// A new, empty directory in `directory`.
    pub fn create_directory(&self, directory: &Path) -> Result<Temporary> {
        let path = directory.join(temporary_name());
        ensure_directory(&path)?;
        Ok(Temporary { disk: self.clone(), path, committed: false })
    }

    /// A file that was made under a name of its own, to be given its real one like a temporary file.
    pub fn adopt(&self, path: &Path) -> Temporary {
        Temporary { disk: self.clone(), path: path.to_owned(), committed: false }
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to).map_err(Error::io("rename to", to))?;
        self.tell(Step::Rename { from, to });
        Ok(())
    }

    /// Makes all new names durable. Comes before each durable commit of the database.
    pub fn settle(&self) -> Result<()> {
        let mut dirty = self.0.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(directory) = dirty.first().cloned() {
            File::open(&directory).and_then(|handle| handle.sync_all()).map_err(Error::io("sync", &directory))?;
            self.tell(Step::SyncDirectory { path: &directory });
            dirty.remove(&directory);
        }
        Ok(())
    }

    /// The database has made a durable commit.
    pub fn committed(&self) {
        self.tell(Step::Commit);
    }

    /// Takes a file or directory away at once; its blocks are freed later. Gives the bytes it takes on the disk, or
    /// `None` when it is not there.
    pub fn discard(&self, path: &Path) -> Result<Option<u64>> {
        let failed = |source| Error::Io { op: "remove", path: path.to_owned(), source };
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let size = match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => tree_size(path),
            Ok(metadata) => used(&metadata),
            Err(error) if gone(&error) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let aside = self.0.trash.join(temporary_name());
        match fs::rename(path, &aside) {
            Ok(()) => {}
            Err(error) if gone(&error) => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        self.tell(Step::Rename { from: path, to: &aside });
        if let Some(emptier) = &self.0.emptier {
            let _ = emptier.send(aside);
        }
        Ok(Some(size))
    }

    /// Removes temporary files that a crash left in `directory`.
    pub fn sweep(&self, directory: &Path) -> Result<()> {
        for entry in fs::read_dir(directory).map_err(Error::io("list", directory))? {
            let entry = entry.map_err(Error::io("list", directory))?;
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                self.discard(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// The data root is locked, so names of this process are unique but for those that an earlier one with its number left.
fn temporary_name() -> String {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{TEMPORARY}{}-{}-{number}", std::process::id(), now.as_nanos())
}

/// The thread that frees what was discarded.
fn empty(full: &Receiver<PathBuf>, stop: &AtomicBool) {
    while let Ok(path) = full.recv() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let removed = match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&path),
            _ => fs::remove_file(&path),
        };
        if let Err(error) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "something in the trash cannot be removed");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.emptier = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A file or directory under a temporary name. Dropped, it is removed; [`Temporary::rename`] gives it its real name.
#[derive(Debug)]
pub(crate) struct Temporary {
    disk: Disk,
    path: PathBuf,
    committed: bool,
}

impl Temporary {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the path up: whoever has it now removes the file.
    pub fn leave(mut self) -> PathBuf {
        self.committed = true;
        std::mem::take(&mut self.path)
    }

    /// Makes the data durable, and gives it the name `target`, which may be in another directory of the same file
    /// system. The name is durable after [`Disk::settle`].
    pub fn rename(mut self, file: &File, target: &Path) -> Result<()> {
        file.sync_data().map_err(Error::io("sync", &self.path))?;
        self.disk.tell(Step::Sync { path: &self.path });
        self.place(target)
    }

    fn place(&mut self, target: &Path) -> Result<()> {
        self.disk.rename(&self.path, target)?;
        self.committed = true;
        let mut dirty = self.disk.0.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        dirty.extend([&*self.path, target].iter().filter_map(|path| path.parent().map(Path::to_owned)));
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.committed {
            let _ = self.disk.discard(&self.path);
        }
    }
}

/// Creates `directory` and what is missing above it, for root alone.
pub(crate) fn ensure_directory(directory: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(Error::io("create", directory))
}

/// Bytes that a file takes on the disk, as `du` counts them.
pub(crate) fn used(metadata: &fs::Metadata) -> u64 {
    metadata.blocks() * 512
}

/// The same for all below a directory, each file once, without what is mounted there. What cannot be read counts as
/// nothing.
pub(crate) fn tree_size(directory: &Path) -> u64 {
    let mut total = 0;
    let Ok(device) = fs::symlink_metadata(directory).map(|metadata| metadata.dev()) else { return 0 };
    let mut seen = std::collections::HashSet::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.dev() != device {
            continue;
        }
        if metadata.nlink() == 1 || metadata.is_dir() || seen.insert((metadata.dev(), metadata.ino())) {
            total += used(&metadata);
        }
        if metadata.is_dir()
            && let Ok(entries) = fs::read_dir(&path)
        {
            pending.extend(entries.flatten().map(|entry| entry.path()));
        }
    }
    total
}
