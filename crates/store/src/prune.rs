//! Removes what no image refers to.

use std::collections::HashSet;

use oci::Digest;

use crate::Store;
use crate::error::Result;

/// Kind of the records of build steps. Each keeps the layer that its field `layer` names.
pub const BUILD_CACHE: &str = "build-cache";

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    pub layers: Vec<Digest>,
    pub blobs: Vec<Digest>,
    /// Bytes on disk that were freed.
    pub freed: u64,
}

impl Store {
    /// Removes layers and blobs that no image refers to, unless a [`crate::Lease`] protects them.
    pub fn prune_unreferenced(&self) -> Result<Pruned> {
        self.prune_unreferenced_except(&HashSet::new())
    }

    /// The same, and keeps `in_use`: layers of containers whose image is gone.
    pub fn prune_unreferenced_except(&self, in_use: &HashSet<Digest>) -> Result<Pruned> {
        self.prune(|_| true, in_use)
    }

    /// The same for those in `written` only.
    pub(crate) fn prune_of(&self, written: &HashSet<Digest>) -> Result<Pruned> {
        self.prune(|digest| written.contains(digest), &HashSet::new())
    }

    /// Layers that the build cache keeps.
    fn build_cache(&self) -> Result<Vec<Digest>> {
        /// What counts of such a record here.
        #[derive(serde::Deserialize)]
        struct Step {
            layer: Digest,
        }
        let records = self.records().list(BUILD_CACHE)?;
        // One that cannot be read keeps nothing: its step is done anew.
        Ok(records.iter().filter_map(|record| Some(serde_json::from_str::<Step>(&record.json).ok()?.layer)).collect())
    }

    fn prune(&self, candidate: impl Fn(&Digest) -> bool, in_use: &HashSet<Digest>) -> Result<Pruned> {
        // Candidates first, references second: what becomes an image in between is seen as one.
        let layers = self.layers().list()?;
        let blobs = self.content().list()?;
        let mut referenced = in_use.clone();
        referenced.insert(*self.mount_points());
        let removable =
            |digest: &Digest, referenced: &HashSet<Digest>| candidate(digest) && !referenced.contains(digest);
        for image in self.images().list()? {
            referenced.extend(image.layers);
            referenced.extend(image.manifest);
            referenced.extend(image.blobs.iter().map(|blob| blob.digest));
            referenced.insert(image.id);
        }
        referenced.extend(self.build_cache()?);
        let mut pruned = Pruned::default();
        for layer in layers.into_iter().filter(|layer| removable(layer, &referenced)) {
            if let Some(size) = self.layers().retire(&layer)? {
                pruned.freed += size;
                pruned.layers.push(layer);
            }
        }
        for (blob, _) in blobs.into_iter().filter(|(blob, _)| removable(blob, &referenced)) {
            if let Some(size) = self.content().retire(&blob)? {
                pruned.freed += size;
                pruned.blobs.push(blob);
            }
        }
        Ok(pruned)
    }
}
