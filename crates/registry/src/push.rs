//! The push of a manifest: the point at which blobs become an image.

use std::io::Write;

use crate::durable;

use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Result};
use crate::layout::Registry;
use crate::manifest::{MANIFEST_LIMIT, Parsed, Relation};
use crate::name::{Name, Tag};
use crate::repository::{Change, Entry, Repository};

/// What a route calls `<reference>`.
#[derive(Clone, Debug, PartialEq)]
pub enum Reference {
    Tag(Tag),
    Digest(Digest),
}

impl Reference {
    /// A tag has no colon, a digest has one.
    pub fn parse(text: &str) -> Result<Reference> {
        if text.contains(':') {
            Digest::parse(text).map(Reference::Digest)
        } else {
            Tag::parse(text).map(Reference::Tag)
        }
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reference::Tag(tag) => tag.fmt(f),
            Reference::Digest(digest) => digest.fmt(f),
        }
    }
}

/// What may differ from push to push.
#[derive(Default)]
pub struct PushOptions<'a> {
    /// Tags that are immutable once they are there.
    pub immutable: Option<&'a dyn Fn(&Tag) -> bool>,
    /// Content may be missing: a manifest of another registry, whose blobs come when they are asked for.
    pub sparse: bool,
}

/// A manifest that is there now.
#[derive(Clone, Debug, PartialEq)]
pub struct Pushed {
    pub digest: Digest,
    pub subject: Option<Digest>,
}

impl Registry {
    /// Stores a manifest and lets the reference, and `more` tags, refer to it. Durable on return.
    ///
    /// # Errors
    /// [`Error::ManifestInvalid`], [`Error::ManifestBlobUnknown`], [`Error::DigestMismatch`],
    /// [`Error::TagImmutable`], [`Error::ManifestTooLarge`]; nothing has changed then.
    pub fn push_manifest(
        &self,
        name: &Name,
        reference: &Reference,
        more: &[Tag],
        content_type: Option<&str>,
        bytes: &[u8],
        options: &PushOptions<'_>,
    ) -> Result<Pushed> {
        let size = bytes.len() as u64;
        if size > MANIFEST_LIMIT {
            return Err(Error::ManifestTooLarge { size, limit: MANIFEST_LIMIT });
        }
        let parsed = Parsed::read(content_type, bytes)?;
        let digest = match reference {
            Reference::Digest(expected) => {
                let actual = Digest::of(expected.algorithm(), bytes);
                if actual != *expected {
                    return Err(Error::DigestMismatch { expected: Box::new(*expected), actual: Box::new(actual) });
                }
                actual
            }
            Reference::Tag(_) => Digest::of(Algorithm::Sha256, bytes),
        };
        let tag = match reference {
            Reference::Tag(tag) => Some(tag),
            Reference::Digest(_) => None,
        };
        let tags: Vec<&Tag> = tag.into_iter().chain(more).collect();

        let repository = self.ensure_repository(name)?;
        let _gate = repository.gate.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        check_content(&repository, &parsed, options.sparse, self.0.options.sparse_indexes)?;
        for tag in &tags {
            if let Some(was) = repository.tagged(tag)
                && was != digest
                && options.immutable.is_some_and(|immutable| immutable(tag))
            {
                return Err(Error::TagImmutable { tag: tag.to_string(), digest: Box::new(was) });
            }
        }

        self.store_manifest(&repository, &digest, bytes)?;
        let entry = Entry {
            media_type: parsed.media_type.as_str().into(),
            size,
            subject: parsed.subject,
            artifact_type: parsed.artifact_type.as_deref().map(Into::into),
        };
        let mut changes = Vec::with_capacity(1 + tags.len());
        if repository.entry(&digest).as_ref() != Some(&entry) {
            changes.push(Change::Put { digest, entry });
        }
        for tag in tags {
            if repository.tagged(tag) != Some(digest) {
                changes.push(Change::Tag { tag: tag.to_string(), digest });
            }
        }
        if !changes.is_empty() {
            repository.record(&changes)?;
            self.unsettle(name);
        }
        Ok(Pushed { digest, subject: parsed.subject })
    }

    fn store_manifest(&self, repository: &Repository, digest: &Digest, bytes: &[u8]) -> Result<()> {
        if repository.touch(digest)?.is_some() {
            return Ok(());
        }
        let target = repository.blob_path(digest);
        // Another repository has it already.
        if std::fs::hard_link(self.shared(digest), &target).is_ok() {
            repository.touch(digest)?;
            return repository.sync_links(digest.algorithm());
        }
        let (temporary, mut file) = durable::Temporary::create(&repository.uploads())?;
        file.write_all(bytes).map_err(Error::io("write", &target))?;
        file.sync_data().map_err(Error::io("sync", &target))?;
        temporary.rename(&target)?;
        let _ = std::fs::hard_link(&target, self.shared(digest));
        repository.sync_links(digest.algorithm())
    }
}

/// Everything that the manifest refers to is there and as large as it says.
fn check_content(repository: &Repository, parsed: &Parsed, sparse: bool, sparse_indexes: bool) -> Result<()> {
    for content in &parsed.content {
        let there = match content.relation {
            Relation::Child => repository.entry(&content.digest).map(|entry| entry.size),
            Relation::Blob | Relation::Elsewhere => None,
        };
        let there = match there {
            Some(size) => Some(size),
            None => repository.touch(&content.digest)?,
        };
        match (there, content.relation) {
            (Some(size), _) if size != content.size => {
                return Err(Error::ManifestInvalid {
                    detail: format!("{} has {size} bytes, not {}", content.digest, content.size),
                });
            }
            (Some(_), _) | (None, Relation::Elsewhere) => {}
            (None, Relation::Child) if sparse_indexes => {}
            (None, _) if sparse => {}
            (None, _) => return Err(Error::ManifestBlobUnknown { digest: Box::new(content.digest) }),
        }
    }
    Ok(())
}
