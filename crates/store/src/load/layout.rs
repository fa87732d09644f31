//! `index.json` of an OCI layout (image-spec, `image-layout.md`).

use oci::{Descriptor, Digest, Index, Manifest, Platform, Reference, media_type};
use serde::de::DeserializeOwned;

use super::collect::Collected;
use super::{Wanted, is_wanted, parse_config, shown};
use crate::error::{Error, Result};

/// An index in an index is usual (one entry for each image, then one for each platform); more is not.
const MAX_NESTING: usize = 4;

pub(super) fn plan(collected: &Collected, platforms: &[Platform]) -> Result<Vec<Wanted>> {
    let host = [Platform::host()];
    let choices = if platforms.is_empty() { host.as_slice() } else { platforms };
    let index: Index = parse("index.json", collected.document("index.json").unwrap_or_default())?;
    let mut images = Vec::new();
    for descriptor in &index.manifests {
        for platform in choices {
            let Some(image) = image(collected, descriptor, platform, MAX_NESTING)? else { continue };
            if is_wanted(&image.config, platforms) {
                images.push(Wanted { references: names(descriptor)?, ..image });
                // A manifest by itself suits every choice.
                if media_type::is_manifest(&descriptor.media_type) {
                    break;
                }
            }
        }
    }
    if images.is_empty() {
        return Err(Error::archive(format!("no image for {} in index.json", shown(choices))));
    }
    Ok(images)
}

/// The image behind a descriptor: a manifest, or the best one of an index. `None` for what is no image.
fn image(
    collected: &Collected,
    descriptor: &Descriptor,
    platform: &Platform,
    nesting: usize,
) -> Result<Option<Wanted>> {
    if media_type::is_index(&descriptor.media_type) && nesting > 0 {
        let index: Index = blob(collected, &descriptor.digest)?;
        return match index.choose(platform) {
            Some(chosen) => image(collected, chosen, platform, nesting - 1),
            None => Ok(None),
        };
    }
    if !media_type::is_manifest(&descriptor.media_type) {
        return Ok(None);
    }
    let manifest: Manifest = blob(collected, &descriptor.digest)?;
    if !media_type::is_config(&manifest.config.media_type) {
        return Ok(None);
    }
    let name = path(&manifest.config.digest);
    let raw_config = bytes(collected, &manifest.config.digest)?;
    Ok(Some(Wanted {
        config: parse_config(&name, raw_config)?,
        raw_config: raw_config.to_vec(),
        layers: manifest.layers.iter().map(|layer| path(&layer.digest)).collect(),
        references: Vec::new(),
    }))
}

/// The names that tools annotate: containerd's full one, or the specification's when it is more than a bare tag.
fn names(descriptor: &Descriptor) -> Result<Vec<Reference>> {
    let annotation = |key: &str| descriptor.annotations.get(key);
    let name = annotation("io.containerd.image.name")
        .or_else(|| annotation("org.opencontainers.image.ref.name").filter(|name| name.contains(['/', ':'])));
    match name {
        Some(name) => {
            let reference =
                Reference::parse(name).map_err(|error| Error::archive(format!("name {name:?}: {error}")))?;
            Ok(vec![reference])
        }
        None => Ok(Vec::new()),
    }
}

fn path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn bytes<'a>(collected: &'a Collected, digest: &Digest) -> Result<&'a [u8]> {
    collected.document(&path(digest)).ok_or_else(|| Error::archive(format!("blob {digest} is missing or broken")))
}

fn blob<T: DeserializeOwned>(collected: &Collected, digest: &Digest) -> Result<T> {
    parse(&path(digest), bytes(collected, digest)?)
}

fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::archive(format!("{name}: {error}")))
}
