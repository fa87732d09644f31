//! What is in use before any image refers to it.
//!
//! A pull finds that a layer is there, and names it in an image only minutes later. While a [`Lease`] is held, each
//! blob and layer that is looked at, opened or written is noted; [`crate::Store::prune_unreferenced`] leaves what is
//! noted alone. When the last lease ends the notes are forgotten, and what was written under them but taken into no
//! image is removed.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oci::Digest;

/// Notes of one store.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<Notes>);

#[derive(Debug, Default)]
pub(crate) struct Notes {
    active: usize,
    used: HashSet<Digest>,
    written: HashSet<Digest>,
}

impl Leases {
    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `look`, which finds out whether `digest` is there, so that nobody removes it meanwhile or afterwards.
    pub fn noting<T>(&self, digest: &Digest, look: impl FnOnce() -> T) -> T {
        let mut notes = self.lock();
        if notes.active > 0 {
            notes.used.insert(*digest);
        }
        look()
    }

    /// Notes that `digest` has been written.
    pub fn wrote(&self, digest: &Digest) {
        let mut notes = self.lock();
        if notes.active > 0 {
            notes.used.insert(*digest);
            notes.written.insert(*digest);
        }
    }

    /// Runs `remove` unless `digest` is in use.
    pub fn unless_used<T>(&self, digest: &Digest, remove: impl FnOnce() -> T) -> Option<T> {
        let notes = self.lock();
        (!notes.used.contains(digest)).then(remove)
    }
}

type Sweep = dyn Fn(&HashSet<Digest>) + Send + Sync;

/// Protects what its holder works with from [`crate::Store::prune_unreferenced`], until it is dropped.
#[must_use = "a lease protects only while it is held"]
pub struct Lease {
    leases: Arc<Leases>,
    /// Removes those of the given blobs and layers that no image refers to; called when the last lease ends.
    sweep: Box<Sweep>,
}

impl Lease {
    pub(crate) fn new(leases: &Arc<Leases>, sweep: impl Fn(&HashSet<Digest>) + Send + Sync + 'static) -> Lease {
        leases.lock().active += 1;
        Lease { leases: Arc::clone(leases), sweep: Box::new(sweep) }
    }
}

impl Lease {
    /// Ends it, but leaves what was written for the next try: it is whole, only nobody refers to it yet.
    /// [`crate::Store::prune_unreferenced`] removes it.
    pub fn keep(self) {
        self.leases.lock().written.clear();
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").finish_non_exhaustive()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let written = {
            let mut notes = self.leases.lock();
            notes.active -= 1;
            if notes.active > 0 {
                return;
            }
            notes.used.clear();
            std::mem::take(&mut notes.written)
        };
        if !written.is_empty() {
            (self.sweep)(&written);
        }
    }
}
