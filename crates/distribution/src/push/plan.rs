//! What a push will have to bring, found out without the registry.

use std::collections::BTreeSet;

use oci::{Descriptor, Digest, Index, Manifest, Reference, media_type};
use store::{ImageRecord, Store};

use crate::config::Compression;
use crate::manifest::{Document, MANIFEST_LIMIT};
use crate::{Error, Result};

/// Repositories that are offered for a mount, at most.
const MOUNTS: usize = 3;

/// Forms of a layer that the registry is asked for besides the one it has now.
const OTHERS: usize = 3;

/// All of a push.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) jobs: Vec<Job>,
    /// Configurations: descriptor and bytes.
    pub(super) configs: Vec<Document>,
    /// What the image was pulled by, and the manifests below it.
    pub(super) documents: Option<(Document, Vec<Document>)>,
}

/// One layer.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// How it was compressed when it was pulled or pushed before.
    pub(super) known: Option<Descriptor>,
    /// `None` for a layer of another platform, which is here as a blob only.
    pub(super) diff_id: Option<Digest>,
    /// Paths of repositories on the same registry that have the blob.
    pub(super) origins: Vec<String>,
    /// Other forms in which the layer was pulled or pushed before, and the paths of repositories on the same registry
    /// that had them.
    pub(super) others: Vec<(Descriptor, Vec<String>)>,
}

impl Job {
    /// As Docker shows it.
    pub(super) fn id(&self) -> String {
        match (&self.diff_id, &self.known) {
            (Some(diff_id), _) => diff_id.short(),
            (None, Some(known)) => known.digest.short(),
            (None, None) => String::new(),
        }
    }
}

impl Plan {
    pub(super) fn make(
        store: &Store,
        image: &ImageRecord,
        reference: &Reference,
        whole: bool,
        compression: Compression,
    ) -> Result<Plan> {
        let others = store.images().list()?;
        let own = image.manifest.and_then(|digest| manifest(store, image, &digest));
        let mut plan = Plan {
            jobs: Vec::new(),
            configs: vec![Document {
                descriptor: own.as_ref().map_or_else(
                    || Descriptor::of(media_type::DOCKER_CONFIG, &image.raw_config),
                    |(_, manifest)| manifest.config.clone(),
                ),
                bytes: image.raw_config.clone(),
            }],
            documents: own.as_ref().map(|(document, _)| (document.clone(), Vec::new())),
        };
        let own = own.as_ref().map(|(_, manifest)| manifest);
        plan.jobs = jobs(store, &others, &image.layers, own, reference, compression)?;
        if whole {
            plan.extend_to_index(store, image, &others, reference);
        }
        Ok(plan)
    }

    /// Repositories that layers could come from.
    pub(super) fn origins(&self) -> impl Iterator<Item = String> {
        let others = |job: &'_ Job| job.others.iter().flat_map(|(_, origins)| origins.clone()).collect::<Vec<_>>();
        self.jobs
            .iter()
            .flat_map(|job| [job.origins.clone(), others(job)].concat())
            .collect::<BTreeSet<_>>()
            .into_iter()
    }

    /// The whole index, if every image and attestation in it is here with all its blobs.
    fn extend_to_index(&mut self, store: &Store, image: &ImageRecord, others: &[ImageRecord], reference: &Reference) {
        let Some(index) = image.blobs.iter().find(|blob| media_type::is_index(&blob.media_type)) else { return };
        let Some((top, list)) = document::<Index>(store, index) else { return };
        if !list.manifests.iter().any(|entry| Some(entry.digest) == image.manifest) {
            return;
        }
        let content = store.content();
        let (mut jobs, mut configs, mut below) = (self.jobs.clone(), self.configs.clone(), Vec::new());
        for entry in &list.manifests {
            let Some((document, manifest)) = document::<Manifest>(store, entry) else { return };
            if Some(entry.digest) != image.manifest {
                let Ok(bytes) = content.read(&manifest.config.digest, MANIFEST_LIMIT) else { return };
                configs.push(Document { descriptor: manifest.config.clone(), bytes });
                for layer in manifest.layers {
                    if jobs.iter().any(|job| job.known.as_ref().is_some_and(|known| known.digest == layer.digest)) {
                        continue;
                    }
                    if !content.has(&layer.digest) {
                        return;
                    }
                    let origins = origins(others, &layer.digest, reference);
                    jobs.push(Job { known: Some(layer), diff_id: None, origins, others: Vec::new() });
                }
            }
            below.push(document);
        }
        *self = Plan { jobs, configs, documents: Some((top, below)) };
    }
}

/// A job for each of these layers; `own` is the manifest they were pulled by, if there is one.
pub(super) fn jobs(
    store: &Store,
    images: &[ImageRecord],
    layers: &[Digest],
    own: Option<&Manifest>,
    reference: &Reference,
    compression: Compression,
) -> Result<Vec<Job>> {
    let mut jobs: Vec<Job> = Vec::new();
    for (position, diff_id) in layers.iter().enumerate() {
        if jobs.iter().any(|job| job.diff_id == Some(*diff_id)) {
            continue;
        }
        let known = own
            .and_then(|manifest| manifest.layers.get(position).cloned())
            .or_else(|| known_elsewhere(store, images, diff_id));
        let mut origins = known.as_ref().map_or_else(Vec::new, |known| origins(images, &known.digest, reference));
        let mut others = remembered(store, diff_id, reference, compression)?;
        // The blob may be gone from here, and so from the image, but not from where it was pushed to.
        others.retain(|(blob, from)| {
            let same = known.as_ref().is_some_and(|known| known.digest == blob.digest);
            if same {
                origins.extend(from.iter().filter(|path| !origins.contains(path)).cloned().collect::<Vec<_>>());
            }
            !same
        });
        origins.truncate(MOUNTS);
        jobs.push(Job { known, diff_id: Some(*diff_id), origins, others });
    }
    Ok(jobs)
}

/// The manifest an image was pulled by, if it is here and fits.
fn manifest(store: &Store, image: &ImageRecord, digest: &Digest) -> Option<(Document, Manifest)> {
    let descriptor = image.blobs.iter().find(|blob| blob.digest == *digest)?;
    document::<Manifest>(store, descriptor)
        .filter(|(_, manifest)| manifest.config.digest == image.id && manifest.layers.len() == image.layers.len())
}

fn document<T: serde::de::DeserializeOwned>(store: &Store, descriptor: &Descriptor) -> Option<(Document, T)> {
    let bytes = store.content().read(&descriptor.digest, MANIFEST_LIMIT).ok()?;
    let parsed = serde_json::from_slice(&bytes).ok()?;
    Some((Document { descriptor: Descriptor::of(descriptor.media_type.clone(), &bytes), bytes }, parsed))
}

/// How another image's manifest has this layer; one whose blob is here comes first.
fn known_elsewhere(store: &Store, images: &[ImageRecord], diff_id: &Digest) -> Option<Descriptor> {
    let mut found: Option<Descriptor> = None;
    for image in images {
        let Some(position) = image.layers.iter().position(|layer| layer == diff_id) else { continue };
        let Some((_, manifest)) = image.manifest.and_then(|digest| manifest(store, image, &digest)) else { continue };
        let Some(layer) =
            manifest.layers.get(position).filter(|layer| !media_type::is_foreign_layer(&layer.media_type))
        else {
            continue;
        };
        if store.content().has(&layer.digest) {
            return Some(layer.clone());
        }
        found.get_or_insert_with(|| layer.clone());
    }
    found
}

/// How the layer was pulled or pushed before, by the store's memory: forms that the repository itself had come first, then
/// those of the same registry. A form that another registry had is what compressing would give here, too.
fn remembered(
    store: &Store,
    diff_id: &Digest,
    reference: &Reference,
    compression: Compression,
) -> Result<Vec<(Descriptor, Vec<String>)>> {
    let mut forms: Vec<(u8, Descriptor, Vec<String>)> = Vec::new();
    for layer in store.images().compressed(diff_id)? {
        let zstd = matches!(layer.blob.media_type.as_str(), media_type::OCI_LAYER_ZSTD | media_type::DOCKER_LAYER_ZSTD);
        let Ok(had) = Reference::parse(&layer.repository) else { continue };
        if zstd != (compression == Compression::Zstd) {
            continue;
        }
        let (same, own) = (had.domain == reference.domain, had.path == reference.path);
        let rank = if same && own { 0 } else { u8::from(!same) + 1 };
        let origin = (same && !own).then_some(had.path);
        match forms.iter_mut().find(|(_, blob, _)| blob.digest == layer.blob.digest) {
            Some((best, _, origins)) => {
                *best = rank.min(*best);
                origins.extend(origin);
            }
            None => forms.push((rank, layer.blob, origin.into_iter().collect())),
        }
    }
    forms.sort_by_key(|(rank, ..)| *rank);
    forms.truncate(OTHERS);
    for (.., origins) in &mut forms {
        origins.truncate(MOUNTS);
    }
    Ok(forms.into_iter().map(|(_, blob, origins)| (blob, origins)).collect())
}

/// Repositories of the reference's registry whose images have this blob.
fn origins(images: &[ImageRecord], blob: &Digest, reference: &Reference) -> Vec<String> {
    let mut paths = Vec::new();
    for image in images.iter().filter(|image| image.blobs.iter().any(|known| known.digest == *blob)) {
        for name in image.repo_digests.iter().filter_map(|name| Reference::parse(name).ok()) {
            if name.domain == reference.domain && name.path != reference.path && !paths.contains(&name.path) {
                paths.push(name.path);
            }
        }
    }
    paths.truncate(MOUNTS);
    paths
}

/// A layer's descriptor for a Docker manifest.
pub(super) fn as_docker(layer: Descriptor) -> Descriptor {
    let media_type = match layer.media_type.as_str() {
        media_type::OCI_LAYER_GZIP => media_type::DOCKER_LAYER_GZIP,
        media_type::OCI_LAYER => media_type::DOCKER_LAYER,
        other => other,
    };
    Descriptor { media_type: media_type.into(), annotations: Default::default(), ..layer }
}

/// A layer's descriptor for an OCI manifest.
pub(super) fn as_oci(layer: Descriptor) -> Descriptor {
    let media_type = match layer.media_type.as_str() {
        media_type::DOCKER_LAYER_GZIP => media_type::OCI_LAYER_GZIP,
        media_type::DOCKER_LAYER_ZSTD => media_type::OCI_LAYER_ZSTD,
        media_type::DOCKER_LAYER => media_type::OCI_LAYER,
        other => other,
    };
    Descriptor { media_type: media_type.into(), ..layer }
}

/// A manifest that names foreign content by a digest that nobody can check is a bug of ours.
pub(super) fn need(known: Option<&Descriptor>) -> Result<&Descriptor> {
    known.ok_or_else(|| Error::Manifest { detail: "a layer without diff id and blob".to_owned() })
}
