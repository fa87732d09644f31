//! What is known from earlier builds.
//!
//! A key is the digest of everything that a step's result depends on: what it does, and the content that it does it on (the
//! chain of layers below, the files that are copied), never a time. So a change that comes to the same content finds the
//! steps above it known. Entries are records of the store; the layers they name are kept by them.
//!
//! [`document`] is the form in which steps go to other machines, [`import`] finds them there, [`image`] in images.

pub mod document;
pub mod image;
pub mod import;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::Engine;
use oci::{Digest, DigestHasher};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Kind of the records.
pub const KIND: &str = store::BUILD_CACHE;

/// Version of the keys: what made another result before must not be found again.
const VERSION: &str = "1";

/// A known step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The layer that it made.
    pub layer: Digest,
    /// Bytes of the layer's files.
    pub size: u64,
    /// Nanoseconds since the epoch.
    pub created: u64,
    /// Nanoseconds since the epoch.
    pub used: u64,
    /// How often it was found.
    pub uses: u64,
    /// `[build 2/3] RUN make`
    pub description: String,
    /// Key of the step below.
    pub parent: Option<Digest>,
}

/// A step with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it is found by.
    pub key: Digest,
    /// What it has come to.
    pub entry: Entry,
}

/// Collects what a key depends on.
#[derive(Debug)]
pub struct Key(DigestHasher);

impl Key {
    /// A key for one kind of step.
    #[must_use]
    pub fn new(kind: &str) -> Key {
        Key(DigestHasher::new()).with("version", VERSION).with("kind", kind)
    }

    /// Adds a field; names and lengths keep fields apart.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Key {
        let value = value.as_ref();
        self.0.update(&(name.len() as u64).to_le_bytes());
        self.0.update(name.as_bytes());
        self.0.update(&(value.len() as u64).to_le_bytes());
        self.0.update(value);
        self
    }

    /// Adds a list.
    #[must_use]
    pub fn with_all<T: AsRef<[u8]>>(self, name: &str, values: impl IntoIterator<Item = T>) -> Key {
        values.into_iter().fold(self, |key, value| key.with(name, value))
    }

    /// The key.
    #[must_use]
    pub fn finish(self) -> Digest {
        self.0.finish()
    }
}

/// The identity of a stack of layers: the OCI chain id.
#[must_use]
pub fn chain(below: Option<&Digest>, layer: &Digest) -> Digest {
    match below {
        None => *layer,
        Some(below) => Digest::of(format!("{below} {layer}").as_bytes()),
    }
}

/// The most copies whose keys are kept in memory.
const MAX_COPIES: usize = 4096;

/// The cache of one daemon.
#[derive(Debug, Default)]
pub struct Cache {
    /// Steps that are being done: whoever wants the same waits.
    busy: Mutex<HashMap<Digest, Arc<Mutex<()>>>>,
    /// What was found since the last [`Cache::note_uses`].
    found: Mutex<BTreeMap<Digest, Entry>>,
    /// Keys of copies out of trees that are known to be equal, by what was asked for.
    copies: Mutex<HashMap<Digest, Digest>>,
}

impl Cache {
    /// Does a step unless it is known. Equal steps at the same time are done once. Gives the entry, and whether it was known.
    pub fn get_or_make(
        &self,
        engine: &Engine,
        key: &Digest,
        use_known: bool,
        make: impl FnOnce() -> Result<Entry>,
    ) -> Result<(Entry, bool)> {
        let turn = Arc::clone(lock(&self.busy).entry(*key).or_default());
        let outcome = {
            let _turn = lock(&turn);
            match if use_known { self.find(engine, key)? } else { None } {
                Some(entry) => Ok((entry, true)),
                None => make().and_then(|entry| {
                    put(engine, key, &entry)?;
                    Ok((entry, false))
                }),
            }
        };
        let mut busy = lock(&self.busy);
        drop(turn);
        if busy.get(key).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            busy.remove(key);
        }
        outcome
    }

    /// A step that is known here, with its layer.
    pub fn find(&self, engine: &Engine, key: &Digest) -> Result<Option<Entry>> {
        let record = engine
            .store()
            .records()
            .get(KIND, &key.hex())
            .map_err(|error| Error::system("look into the build cache", error))?;
        let Some(entry) = record.and_then(|record| serde_json::from_str::<Entry>(&record.json).ok()) else {
            return Ok(None);
        };
        // Whoever removed the layer has removed the knowledge.
        if !engine.store().layers().has(&entry.layer) {
            return Ok(None);
        }
        lock(&self.found).insert(*key, entry.clone());
        Ok(Some(entry))
    }

    /// The key of a copy that was asked for in the same words out of an equal tree.
    pub fn copy(&self, asked: &Digest) -> Option<Digest> {
        lock(&self.copies).get(asked).copied()
    }

    /// Keeps the key of a copy.
    pub fn note_copy(&self, asked: Digest, key: Digest) {
        let mut copies = lock(&self.copies);
        // Of trees that have changed since nobody asks again.
        if copies.len() >= MAX_COPIES {
            copies.clear();
        }
        copies.insert(asked, key);
    }

    /// Writes down which entries were of use, so that the others are removed first.
    pub fn note_uses(&self, engine: &Engine, now: u64) {
        for (key, mut entry) in std::mem::take(&mut *lock(&self.found)) {
            entry.used = now;
            entry.uses += 1;
            if let Err(error) = put(engine, &key, &entry) {
                tracing::warn!(%error, "the use of a build cache entry is not noted");
            }
        }
    }
}

fn put(engine: &Engine, key: &Digest, entry: &Entry) -> Result<()> {
    let json = serde_json::to_string(entry).map_err(|error| Error::system("write the build cache", error))?;
    engine
        .store()
        .records()
        .put(KIND, &key.hex(), None, &json)
        .map_err(|error| Error::system("write the build cache", error))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_run_together() {
        let key = |fields: &[(&str, &str)]| {
            fields.iter().fold(Key::new("run"), |key, (name, value)| key.with(name, value)).finish()
        };
        assert_ne!(key(&[("a", "bc")]), key(&[("ab", "c")]));
        assert_ne!(key(&[("a", "b"), ("a", "")]), key(&[("a", ""), ("a", "b")]));
        assert_eq!(key(&[("a", "b")]), key(&[("a", "b")]));
    }
}
