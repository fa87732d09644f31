//! Who refers to a manifest (distribution-spec, "Listing Referrers").

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::digest::Digest;
use crate::error::Result;
use crate::layout::Registry;
use crate::manifest::{Listed, Parsed};
use crate::name::Name;
use crate::repository::Repository;

/// Descriptors in one answer; further ones are at the link.
const PAGE: usize = 500;

/// One page of the list.
#[derive(Debug)]
pub struct Referrers {
    /// An OCI index.
    pub json: Vec<u8>,
    /// The last digest of this page, if there is another.
    pub next: Option<Digest>,
}

impl Registry {
    /// Manifests whose subject is `subject`, in order of their digests, after `last`. A subject that is not known has
    /// none.
    pub fn referrers(
        &self,
        name: &Name,
        subject: &Digest,
        artifact_type: Option<&str>,
        last: Option<&Digest>,
    ) -> Result<Referrers> {
        let repository = self.repository(name)?;
        let mut digests: BTreeSet<Digest> = repository.state().referrers.get(subject).cloned().unwrap_or_default();
        digests.extend(fallback(&repository, subject));
        let mut rows = Vec::new();
        let mut next = None;
        for digest in digests.into_iter().filter(|digest| last.is_none_or(|last| digest > last)) {
            let Some(entry) = repository.entry(&digest) else { continue };
            if artifact_type.is_some_and(|wanted| entry.artifact_type.as_deref() != Some(wanted)) {
                continue;
            }
            if rows.len() == PAGE {
                next = rows.last().map(|row: &Listed| row.digest);
                break;
            }
            let annotations = repository
                .read_manifest(&digest)
                .ok()
                .and_then(|bytes| Parsed::read(Some(&entry.media_type), &bytes).ok())
                .map(|parsed| parsed.annotations)
                .filter(|annotations| !annotations.is_empty());
            rows.push(Listed {
                media_type: entry.media_type.to_string(),
                digest,
                size: entry.size,
                artifact_type: entry.artifact_type.as_deref().map(str::to_owned),
                annotations,
            });
        }
        let index = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": oci::media_type::OCI_INDEX,
            "manifests": rows,
        });
        Ok(Referrers { json: index.to_string().into_bytes(), next })
    }
}

/// What clients of registries without this route have written under the fallback tag.
fn fallback(repository: &Repository, subject: &Digest) -> Vec<Digest> {
    #[derive(Deserialize)]
    struct Index {
        #[serde(default)]
        manifests: Vec<Listed>,
    }
    let tagged = repository.state().tags.get(subject.fallback_tag().as_str()).copied();
    tagged
        .and_then(|digest| repository.read_manifest(&digest).ok())
        .and_then(|bytes| serde_json::from_slice::<Index>(&bytes).ok())
        .map(|index| index.manifests.into_iter().map(|row| row.digest).collect())
        .unwrap_or_default()
}
