//! What an image's index lists, and what of it is here.

use api::image::{Descriptor, ManifestAttestation, ManifestImage, ManifestSize, ManifestSummary, Unpacked};
use oci::{Index, Manifest, media_type};
use store::ImageRecord;

use super::delete::users_of;
use super::platform::{of_image, wire};
use crate::Engine;

/// Largest index or manifest, in bytes.
const LIMIT: u64 = 4 << 20;

/// In the words of the API.
pub(super) fn descriptor(from: &oci::Descriptor) -> Descriptor {
    Descriptor {
        media_type: from.media_type.clone(),
        digest: from.digest.to_string(),
        size: bytes(from.size),
        annotations: from.annotations.clone().into(),
        platform: from.platform.clone().map(wire),
    }
}

/// What the image was pulled by or pushed as: its index, or its manifest.
pub(super) fn target(image: &ImageRecord) -> Option<Descriptor> {
    let index = image.blobs.iter().find(|blob| media_type::is_index(&blob.media_type));
    let own = || image.blobs.iter().find(|blob| Some(blob.digest) == image.manifest);
    index.or_else(own).map(descriptor)
}

/// The entries of the image's index, or its one manifest. Empty for an image that was never in a registry.
pub(super) fn list(engine: &Engine, image: &ImageRecord, all: &[ImageRecord]) -> Vec<ManifestSummary> {
    let index = image.blobs.iter().find(|blob| media_type::is_index(&blob.media_type));
    let entries = match index.and_then(|blob| engine.store.content().read(&blob.digest, LIMIT).ok()) {
        Some(bytes) => serde_json::from_slice::<Index>(&bytes).map(|index| index.manifests).unwrap_or_default(),
        None => image
            .blobs
            .iter()
            .filter(|blob| Some(blob.digest) == image.manifest)
            .map(|blob| oci::Descriptor { platform: Some(of_image(image)), ..blob.clone() })
            .collect(),
    };
    entries.iter().map(|entry| summary(engine, entry, all)).collect()
}

fn summary(engine: &Engine, entry: &oci::Descriptor, all: &[ImageRecord]) -> ManifestSummary {
    let content = engine.store.content();
    let size = |digest| content.size(digest).ok().flatten().unwrap_or(0);
    let manifest: Option<Manifest> =
        content.read(&entry.digest, LIMIT).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let blobs = manifest.iter().flat_map(|manifest| {
        std::iter::once(&manifest.config.digest).chain(manifest.layers.iter().map(|layer| &layer.digest))
    });
    let stored: u64 = size(&entry.digest) + blobs.map(size).sum::<u64>();
    let image = all.iter().find(|image| image.manifest == Some(entry.digest));
    let unpacked = image.map_or(0, |image| image.size);
    let subject = entry.annotations.get("vnd.docker.reference.digest");
    let is_attestation =
        entry.annotations.get("vnd.docker.reference.type").is_some_and(|kind| kind == "attestation-manifest");
    let platform = entry.platform.clone().or_else(|| image.map(of_image));
    let kind = match (is_attestation, &platform) {
        (true, _) => "attestation",
        (false, Some(_)) => "image",
        (false, None) => "unknown",
    };
    ManifestSummary {
        id: entry.digest.to_string(),
        descriptor: descriptor(entry),
        available: image.is_some(),
        size: ManifestSize { total: bytes(stored + unpacked), content: bytes(stored) },
        kind: kind.to_owned(),
        image_data: platform.filter(|_| !is_attestation).map(|platform| ManifestImage {
            platform: wire(platform),
            containers: image
                .map(|image| users_of(engine, &image.id).iter().map(|user| user.id.to_string()).collect::<Vec<_>>())
                .unwrap_or_default()
                .into(),
            size: Unpacked { unpacked: bytes(unpacked) },
        }),
        attestation_data: subject
            .filter(|_| is_attestation)
            .map(|subject| ManifestAttestation { subject: subject.clone() }),
    }
}

fn bytes(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
