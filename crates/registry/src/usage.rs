//! How much there is.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::error::Result;
use crate::layout::Registry;
use crate::name::Name;

/// What a repository takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    pub name: Name,
    pub manifests: usize,
    pub tags: usize,
    pub blobs: u64,
    /// Bytes of its blobs.
    pub bytes: u64,
    /// Of these, bytes that no repository before it in the list has: the sum is what the disk holds.
    pub own: u64,
    /// Unfinished uploads, and their bytes.
    pub uploads: u64,
    pub upload_bytes: u64,
}

impl Registry {
    /// All repositories, in order.
    pub fn usage(&self, may_see: impl Fn(&Name) -> bool) -> Result<Vec<Usage>> {
        let mut seen: HashSet<(u64, u64)> = HashSet::new();
        let mut all = Vec::new();
        for name in self.names()?.into_iter().filter(|name| may_see(name)) {
            let Ok(repository) = self.repository(&name) else { continue };
            let (manifests, tags) = repository.counts();
            let mut usage = Usage { name, manifests, tags, blobs: 0, bytes: 0, own: 0, uploads: 0, upload_bytes: 0 };
            for part in ["blobs/sha256", "blobs/sha512", "uploads"] {
                for entry in fs::read_dir(repository.directory().join(part)).into_iter().flatten().flatten() {
                    let Ok(metadata) = entry.metadata() else { continue };
                    if part == "uploads" {
                        usage.uploads += 1;
                        usage.upload_bytes += metadata.len();
                        continue;
                    }
                    usage.blobs += 1;
                    usage.bytes += metadata.len();
                    if seen.insert((metadata.dev(), metadata.ino())) {
                        usage.own += metadata.len();
                    }
                }
            }
            all.push(usage);
        }
        Ok(all)
    }
}
