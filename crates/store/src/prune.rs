//! Removes what no image refers to.

use std::collections::HashSet;

use oci::Digest;

use crate::Store;
use crate::error::Result;

/// Kind of the records of build steps. Each keeps the layer that its field `layer` names.
pub const BUILD_CACHE: &str = "build-cache";

/// Kind of the records of containers. Each keeps the layers of its own field `layers` and of those of its `mounts`, also
/// when their image is gone.
pub const CONTAINER: &str = "container";

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    pub layers: Vec<Digest>,
    pub blobs: Vec<Digest>,
    /// Bytes on disk that were freed.
    pub freed: u64,
}

/// What nothing refers to, with bytes on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    pub layers: Vec<(Digest, u64)>,
    pub blobs: Vec<(Digest, u64)>,
}

impl Store {
    /// Removes layers and blobs that no image refers to, unless a [`crate::Lease`] protects them.
    pub fn prune_unreferenced(&self) -> Result<Pruned> {
        self.prune_unreferenced_except(&HashSet::new())
    }

    /// The same, and keeps `in_use`.
    pub fn prune_unreferenced_except(&self, in_use: &HashSet<Digest>) -> Result<Pruned> {
        self.prune(|_| true, in_use)
    }

    /// The same for those in `written` only.
    pub(crate) fn prune_of(&self, written: &HashSet<Digest>) -> Result<Pruned> {
        self.prune(|digest| written.contains(digest), &HashSet::new())
    }

    /// Layers that containers have.
    fn layers_of_containers(&self) -> Result<Vec<Digest>> {
        /// What counts of such a record here, and of a mount in it.
        #[derive(serde::Deserialize)]
        struct Layered {
            #[serde(default)]
            layers: Vec<Digest>,
            #[serde(default)]
            mounts: Vec<Layered>,
        }
        let mut found = Vec::new();
        for record in self.records().list(CONTAINER)? {
            // One that cannot be read is no container for the engine either.
            let Ok(container) = serde_json::from_str::<Layered>(&record.json) else { continue };
            found.extend(container.layers);
            found.extend(container.mounts.into_iter().flat_map(|mount| mount.layers));
        }
        Ok(found)
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

    /// What [`Store::prune_unreferenced_except`] would remove if the images in `gone` were not there any more.
    pub fn garbage(&self, in_use: &HashSet<Digest>, gone: &HashSet<Digest>) -> Result<Garbage> {
        // Candidates first, references second: what becomes an image in between is seen as one.
        let layers = self.layers().list()?;
        let blobs = self.content().list()?;
        let mut referenced = in_use.clone();
        referenced.insert(*self.mount_points());
        for image in self.images().list()?.into_iter().filter(|image| !gone.contains(&image.id)) {
            referenced.extend(image.layers);
            referenced.extend(image.manifest);
            referenced.extend(image.blobs.iter().map(|blob| blob.digest));
            referenced.insert(image.id);
        }
        referenced.extend(self.build_cache()?);
        referenced.extend(self.layers_of_containers()?);
        let free = |digest: &Digest| !referenced.contains(digest) && !self.leased(digest);
        // Without a note of the look: it would be in use.
        let size = |digest: &Digest| self.layers().disk_use(digest);
        Ok(Garbage {
            layers: layers.into_iter().filter(free).map(|digest| (digest, size(&digest))).collect(),
            blobs: blobs.into_iter().filter(|(digest, _)| free(digest)).collect(),
        })
    }

    fn prune(&self, candidate: impl Fn(&Digest) -> bool, in_use: &HashSet<Digest>) -> Result<Pruned> {
        // Who takes up a layer from here on leaves a note, which must outlast him until this is over.
        let _notes = self.lease();
        let Garbage { layers, blobs } = self.garbage(in_use, &HashSet::new())?;
        let mut pruned = Pruned::default();
        // Compressed forms first: they can be made again of the layers.
        for (blob, _) in blobs.into_iter().filter(|(blob, _)| candidate(blob)) {
            if let Some(size) = self.content().retire(&blob)? {
                pruned.freed += size;
                pruned.blobs.push(blob);
            }
        }
        for (layer, _) in layers.into_iter().filter(|(layer, _)| candidate(layer)) {
            if let Some(size) = self.layers().retire(&layer)? {
                pruned.freed += size;
                pruned.layers.push(layer);
            }
        }
        Ok(pruned)
    }

    /// Removes the compressed layers of an image; they are made anew when it is pushed, with another digest perhaps.
    /// Those that another image has too stay. Bytes that were freed.
    pub fn drop_compressed(&self, id: &Digest) -> Result<u64> {
        let image = self.images().get(id)?;
        let layer = |blob: &oci::Descriptor| oci::media_type::is_layer(&blob.media_type);
        let (dropped, kept): (Vec<_>, Vec<_>) = image.blobs.into_iter().partition(layer);
        if dropped.is_empty() {
            return Ok(0);
        }
        self.images().set_blobs(id, &kept)?;
        let digests: HashSet<Digest> = dropped.iter().map(|blob| blob.digest).collect();
        self.prune_of(&digests).map(|pruned| pruned.freed)
    }
}
