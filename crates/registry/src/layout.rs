//! The registry as a whole: its directory, its lock, its repositories.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::durable;
use rustix::fs::{FlockOperation, flock};

use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Result};
use crate::name::Name;
use crate::repository::Repository;
use crate::upload::Sessions;

/// How long a change waits before `index.json` is written anew: pushes come in bursts.
const SETTLE: Duration = Duration::from_millis(700);

/// How long the thread that settles waits for the next change before it looks whether anybody is left.
const IDLE: Duration = Duration::from_secs(30);

/// Repositories that are kept in memory; more only while they are in use.
const LOADED: usize = 256;

/// How a registry is opened.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Largest blob in bytes; 0: no limit.
    pub max_blob: u64,
    /// Accept indexes whose manifests are not all there.
    pub sparse_indexes: bool,
    /// Data root of an engine: what its images have is linked instead of uploaded.
    pub engine: Option<PathBuf>,
}

/// Everything below one root. Cheap to clone; all clones are the same registry.
#[derive(Clone, Debug)]
pub struct Registry(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub root: PathBuf,
    pub options: Options,
    pub sessions: Sessions,
    repositories: Mutex<HashMap<Name, Arc<Repository>>>,
    unsettled: Mutex<Unsettled>,
    changed: Condvar,
    settling: Mutex<Option<JoinHandle<()>>>,
    /// Held as long as the registry is open; `None` for a look from outside.
    lock: Option<File>,
}

#[derive(Debug, Default)]
struct Unsettled {
    names: HashSet<Name>,
    ending: bool,
}

impl Registry {
    /// Opens the registry at `root` for this process alone, and makes it if it is new.
    ///
    /// # Errors
    /// [`Error::Locked`]
    pub fn open(root: &Path, options: Options) -> Result<Registry> {
        durable::ensure_directory(root)?;
        let lock = lock(root)?;
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            durable::ensure_directory(&root.join("blobs").join(algorithm.name()))?;
        }
        durable::ensure_directory(&root.join("repositories"))?;
        let registry = Registry::with(root, options, Some(lock));
        registry.start_settling()?;
        Ok(registry)
    }

    /// A look at a registry that another process may have open: nothing may be changed through it.
    pub fn look(root: &Path) -> Result<Registry> {
        std::fs::metadata(root.join("repositories")).map_err(Error::io("find", root.join("repositories")))?;
        Ok(Registry::with(root, Options::default(), None))
    }

    fn with(root: &Path, options: Options, lock: Option<File>) -> Registry {
        Registry(Arc::new(Inner {
            root: root.to_owned(),
            options,
            sessions: Sessions::default(),
            repositories: Mutex::default(),
            unsettled: Mutex::default(),
            changed: Condvar::new(),
            settling: Mutex::default(),
            lock,
        }))
    }

    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// Can it be written to? Tried, not guessed.
    pub fn is_writable(&self) -> bool {
        let probe = || durable::Temporary::create(&self.repositories_directory()).map(drop);
        self.0.lock.is_some() && probe().is_ok()
    }

    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// The shared link of a blob.
    pub(crate) fn shared(&self, digest: &Digest) -> PathBuf {
        self.0.root.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    pub(crate) fn repositories_directory(&self) -> PathBuf {
        self.0.root.join("repositories")
    }

    pub(crate) fn loaded(&self) -> MutexGuard<'_, HashMap<Name, Arc<Repository>>> {
        self.0.repositories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The repository of this name.
    ///
    /// # Errors
    /// [`Error::NameUnknown`]
    pub fn repository(&self, name: &Name) -> Result<Arc<Repository>> {
        self.load(name, false)
    }

    /// The repository of this name, made if it is new.
    pub fn ensure_repository(&self, name: &Name) -> Result<Arc<Repository>> {
        if self.0.lock.is_none() {
            return Err(Error::ReadOnly { what: "this view of the registry" });
        }
        self.load(name, true)
    }

    fn load(&self, name: &Name, make: bool) -> Result<Arc<Repository>> {
        let mut loaded = self.loaded();
        if let Some(repository) = loaded.get(name) {
            return Ok(Arc::clone(repository));
        }
        let directory = self.repositories_directory().join(name.directory());
        if !directory.is_dir() {
            if !make {
                return Err(Error::NameUnknown { name: name.to_string() });
            }
            Repository::make(&directory)?;
            durable::sync_directory(&self.repositories_directory())?;
        }
        let repository = Arc::new(Repository::open(name.clone(), directory, self.0.lock.is_some())?);
        if loaded.len() >= LOADED {
            loaded.retain(|_, repository| Arc::strong_count(repository) > 1 || repository.is_unsettled());
        }
        loaded.insert(name.clone(), Arc::clone(&repository));
        Ok(repository)
    }

    /// Notes that a repository's `index.json` is behind its journal.
    pub(crate) fn unsettle(&self, name: &Name) {
        let mut unsettled = self.0.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
        unsettled.names.insert(name.clone());
        self.0.changed.notify_one();
    }

    /// Brings every `index.json` up to date.
    pub fn settle(&self) {
        self.0.settle();
    }

    fn start_settling(&self) -> Result<()> {
        let inner: Weak<Inner> = Arc::downgrade(&self.0);
        std::thread::Builder::new()
            .name("settle".to_owned())
            .stack_size(256 << 10)
            .spawn(move || {
                while let Some(inner) = inner.upgrade() {
                    let unsettled = inner.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
                    if unsettled.ending {
                        return;
                    }
                    // Until a burst is over; without changes not for ever, since nobody could end the wait of the last
                    // one who holds the registry.
                    let due = !unsettled.names.is_empty();
                    let wait = if due { SETTLE } else { IDLE };
                    let over = |unsettled: &mut Unsettled| !unsettled.ending && (due || unsettled.names.is_empty());
                    drop(inner.changed.wait_timeout_while(unsettled, wait, over));
                    if due {
                        inner.settle();
                    }
                }
            })
            .map_err(Error::io("start a thread for", &self.0.root))
            .map(|thread| {
                *self.0.settling.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
            })
    }

    /// Writes what is behind and ends the thread that does so; for the end of a server.
    pub fn close(&self) {
        self.0.unsettled.lock().unwrap_or_else(PoisonError::into_inner).ending = true;
        self.0.changed.notify_all();
        let thread = self.0.settling.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Joined, so that the lock is free as soon as the last clone is gone.
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        self.0.settle();
    }
}

impl Inner {
    fn settle(&self) {
        let names = std::mem::take(&mut self.unsettled.lock().unwrap_or_else(PoisonError::into_inner).names);
        for name in names {
            let loaded = self.repositories.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
            if let Some(repository) = loaded
                && let Err(error) = repository.settle()
            {
                // The journal has it all; the next change tries again.
                tracing::warn!(repository = %name, %error, "cannot write index.json");
            }
        }
    }
}

fn lock(root: &Path) -> Result<File> {
    let path = root.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Locked { path: root.to_owned() }),
        Err(errno) => Err(Error::Io { op: "lock", path, source: errno.into() }),
    }
}
