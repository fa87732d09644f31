//! What is taken away: tags, manifests, blobs. Bytes go when no repository has them any more.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::durable;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layout::Registry;
use crate::name::{Name, Tag};
use crate::push::Reference;
use crate::repository::Change;

impl Registry {
    /// Takes a tag away, or a manifest with all its tags.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`]; [`Error::TagImmutable`]
    pub fn delete_manifest(&self, name: &Name, reference: &Reference, immutable: &dyn Fn(&Tag) -> bool) -> Result<()> {
        let repository = self.repository(name)?;
        let unknown = || Error::ManifestUnknown { reference: reference.to_string() };
        // gc and pushes do not see half of it.
        let _gate = repository.gate.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let refuse = |tag: &Tag, digest: Digest| Error::TagImmutable { tag: tag.to_string(), digest: Box::new(digest) };
        let change = match reference {
            Reference::Tag(tag) => {
                let digest = repository.tagged(tag).ok_or_else(unknown)?;
                if immutable(tag) {
                    return Err(refuse(tag, digest));
                }
                Change::Untag { tag: tag.to_string() }
            }
            Reference::Digest(digest) => {
                repository.entry(digest).ok_or_else(unknown)?;
                let fixed = repository
                    .state()
                    .tags
                    .iter()
                    .find(|(tag, tagged)| *tagged == digest && immutable(tag))
                    .map(|(tag, _)| tag.clone());
                if let Some(tag) = fixed {
                    return Err(refuse(&tag, *digest));
                }
                Change::Delete { digest: *digest }
            }
        };
        repository.record(&[change])?;
        if let Reference::Digest(digest) = reference {
            self.unlink(&repository.blob_path(digest), digest)?;
        }
        self.unsettle(name);
        Ok(())
    }

    /// Takes a blob out of a repository.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`]
    pub fn delete_blob(&self, name: &Name, digest: &Digest) -> Result<()> {
        let repository = self.repository(name)?;
        if !self.unlink(&repository.blob_path(digest), digest)? {
            return Err(Error::BlobUnknown { digest: Box::new(*digest) });
        }
        repository.sync_links(digest.algorithm())
    }

    /// Removes a link, and the shared one if it is the last. Says whether it was there.
    pub(crate) fn unlink(&self, path: &std::path::Path, digest: &Digest) -> Result<bool> {
        let removed = durable::remove(path)?;
        let shared = self.shared(digest);
        if removed && fs::metadata(&shared).is_ok_and(|metadata| metadata.nlink() == 1) {
            // Should somebody link it at this very moment, his link keeps the bytes.
            durable::remove(&shared)?;
        }
        Ok(removed)
    }
}
