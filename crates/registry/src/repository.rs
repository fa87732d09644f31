//! One repository: what it has, in memory and on the disk.
//!
//! ```text
//!  change ─▶ a line of the journal ─▶ memory ─▶ sync ─▶ answer          index.json follows when pushes pause
//!  start  ─▶ index.json, then the journal over it: each line says what is so, so that lines may be read twice
//! ```

mod index;
mod journal;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use crate::durable;
use serde::{Deserialize, Serialize};

use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Result};
use crate::name::{Name, Tag};
use crate::sync::GroupSync;
use journal::Journal;

/// What is known of a manifest without reading it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    pub media_type: Arc<str>,
    /// Bytes.
    pub size: u64,
    /// What it refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<Arc<str>>,
}

/// A change of the repository, as the journal has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Change {
    Put { digest: Digest, entry: Entry },
    Tag { tag: String, digest: Digest },
    Untag { tag: String },
    Delete { digest: Digest },
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub manifests: HashMap<Digest, Entry>,
    pub tags: BTreeMap<Tag, Digest>,
    pub referrers: HashMap<Digest, BTreeSet<Digest>>,
}

impl State {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Put { digest, entry } => {
                if let Some(subject) = entry.subject {
                    self.referrers.entry(subject).or_default().insert(*digest);
                }
                self.manifests.insert(*digest, entry.clone());
            }
            Change::Tag { tag, digest } => {
                if let Ok(tag) = Tag::parse(tag) {
                    self.tags.insert(tag, *digest);
                }
            }
            Change::Untag { tag } => drop(self.tags.remove(tag.as_str())),
            Change::Delete { digest } => {
                let subject = self.manifests.remove(digest).and_then(|entry| entry.subject);
                if let Some(subject) = subject
                    && let Some(referrers) = self.referrers.get_mut(&subject)
                {
                    referrers.remove(digest);
                    if referrers.is_empty() {
                        self.referrers.remove(&subject);
                    }
                }
                self.tags.retain(|_, tagged| tagged != digest);
            }
        }
    }
}

/// One repository. See the module's drawing.
#[derive(Debug)]
pub struct Repository {
    name: Name,
    directory: PathBuf,
    state: RwLock<State>,
    journal: Mutex<Journal>,
    /// Directories of blobs, by algorithm.
    links: [OnceLock<GroupSync>; 2],
    /// Pushes of manifests hold it shared from the check of their blobs to the record; gc takes it alone.
    pub(crate) gate: RwLock<()>,
    /// It has, or had, a manifest.
    listed: AtomicBool,
    writable: bool,
}

impl Repository {
    /// Makes the directory of a new repository.
    pub(crate) fn make(directory: &Path) -> Result<()> {
        let make = |path: &Path| {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::io("create", path))
        };
        for part in ["blobs/sha256", "blobs/sha512", "uploads"] {
            make(&directory.join(part))?;
        }
        let path = directory.join("oci-layout");
        fs::write(&path, r#"{"imageLayoutVersion":"1.0.0"}"#).map_err(Error::io("write", &path))?;
        durable::sync_directory(directory)?;
        Ok(())
    }

    pub(crate) fn open(name: Name, directory: PathBuf, writable: bool) -> Result<Repository> {
        if writable {
            // A layout that was put here by hand lacks some of it.
            Repository::make(&directory)?;
            durable::sweep(&directory)?;
            durable::sweep(&directory.join("uploads"))?;
        }
        let mut state = State::default();
        let indexed = index::read(&directory, &mut state)?;
        let journal = Journal::read(&directory, &mut state, writable)?;
        let listed = indexed || !journal.is_empty();
        Ok(Repository {
            name,
            directory,
            state: RwLock::new(state),
            journal: Mutex::new(journal),
            links: Default::default(),
            gate: RwLock::new(()),
            listed: AtomicBool::new(listed),
            writable,
        })
    }

    pub fn name(&self) -> &Name {
        &self.name
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where a blob is, if it is there.
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.directory.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    pub(crate) fn uploads(&self) -> PathBuf {
        self.directory.join("uploads")
    }

    /// Whether it ever had a manifest: one that only knows uploads is nobody's business yet.
    pub fn is_listed(&self) -> bool {
        self.listed.load(Ordering::Acquire)
    }

    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a tag refers to.
    pub fn tagged(&self, tag: &Tag) -> Option<Digest> {
        self.state().tags.get(tag).copied()
    }

    /// What is known of a manifest.
    pub fn entry(&self, digest: &Digest) -> Option<Entry> {
        self.state().manifests.get(digest).cloned()
    }

    /// At most `limit` tags after `last`, in order, and whether there are more.
    pub fn tags(&self, last: Option<&str>, limit: usize) -> (Vec<Tag>, bool) {
        use std::ops::Bound;
        let state = self.state();
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut range = state.tags.range::<str, _>((from, Bound::Unbounded)).map(|(tag, _)| tag.clone());
        let tags: Vec<Tag> = range.by_ref().take(limit).collect();
        let more = range.next().is_some();
        (tags, more)
    }

    /// Number of manifests and of tags.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.state();
        (state.manifests.len(), state.tags.len())
    }

    /// Records changes, durable on return.
    pub(crate) fn record(&self, changes: &[Change]) -> Result<()> {
        let sync = {
            let mut journal = self.journal();
            let sync = journal.append(changes)?;
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            changes.iter().for_each(|change| state.apply(change));
            sync
        };
        self.listed.store(true, Ordering::Release);
        sync.sync().map_err(Error::io("sync", self.directory.join(journal::NAME)))
    }

    /// Makes new links of blobs durable.
    pub(crate) fn sync_links(&self, algorithm: Algorithm) -> Result<()> {
        let cell = &self.links[usize::from(algorithm == Algorithm::Sha512)];
        let path = self.directory.join("blobs").join(algorithm.name());
        let sync = match cell.get() {
            Some(sync) => sync,
            None => {
                let directory = fs::File::open(&path).map_err(Error::io("open", &path))?;
                cell.get_or_init(|| GroupSync::new(directory))
            }
        };
        sync.sync().map_err(Error::io("sync", path))
    }

    /// Is `index.json` behind?
    pub(crate) fn is_unsettled(&self) -> bool {
        self.writable && !self.journal().is_empty()
    }

    /// Writes `index.json` anew and empties the journal.
    pub(crate) fn settle(&self) -> Result<()> {
        // Changes wait: what is written and what is dropped from the journal must be the same.
        let mut journal = self.journal();
        if journal.is_empty() {
            return Ok(());
        }
        let bytes = index::write(&self.state());
        durable::write_file(&self.directory.join(index::NAME), &bytes)?;
        journal.clear()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("hoist-repository-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        Repository::make(&directory).unwrap();
        directory
    }

    fn put(text: &str, subject: Option<Digest>) -> (Digest, Change) {
        let digest = Digest::of(Algorithm::Sha256, text.as_bytes());
        let entry = Entry { media_type: "m".into(), size: 1, subject, artifact_type: Some("a/b".into()) };
        (digest, Change::Put { digest, entry })
    }

    #[test]
    fn changes_survive() {
        let directory = scratch("survive");
        let open = || Repository::open(Name::parse("x").unwrap(), directory.clone(), true).unwrap();
        let repository = open();
        assert!(!repository.is_listed());
        let (a, put_a) = put("a", None);
        let (b, put_b) = put("b", Some(a));
        let tag = |tag: &str, digest| Change::Tag { tag: tag.into(), digest };
        repository.record(&[put_a, tag("one", a), tag("two", a)]).unwrap();
        repository.record(&[put_b, Change::Untag { tag: "two".into() }]).unwrap();
        let check = |repository: &Repository| {
            assert!(repository.is_listed());
            assert_eq!(repository.tags(None, 10), (vec![Tag::parse("one").unwrap()], false));
            assert_eq!(repository.counts(), (2, 1));
            assert_eq!(repository.state().referrers[&a].iter().collect::<Vec<_>>(), [&b]);
            assert_eq!(repository.entry(&b).unwrap().artifact_type.as_deref(), Some("a/b"));
        };
        check(&open());
        repository.settle().unwrap();
        assert_eq!(fs::metadata(directory.join("journal")).unwrap().len(), 0);
        check(&open());
        // A torn line is dropped, and what follows is kept.
        fs::write(directory.join("journal"), b"{\"tag\":{\"tag\":\"torn\",\"dig").unwrap();
        let repository = open();
        check(&repository);
        repository.record(&[Change::Delete { digest: b }]).unwrap();
        let repository = open();
        assert_eq!(repository.counts(), (1, 1));
        assert!(repository.state().referrers.is_empty());
        fs::remove_dir_all(directory).unwrap();
    }
}
