//! Images in OCI layouts of the client: brought into the store as far as a build needs them.

use engine::{Cancel, Engine};
use oci::{Descriptor, ImageConfig, Index, Manifest, Platform, media_type};

use crate::cache::import::{Blobs, bring, small};
use crate::error::{Error, Result};

/// Indexes in indexes that are looked into.
const MAX_DEPTH: usize = 4;

/// The image that a layout's descriptor names, for a platform. Its layers are in the store afterwards.
pub fn image(
    engine: &Engine,
    blobs: &dyn Blobs,
    top: &Descriptor,
    platform: &Platform,
    cancel: &Cancel,
) -> Result<ImageConfig> {
    let broken = |error| Error::system("read a document of an OCI layout", error);
    let (mut at, mut bytes) = (top.clone(), small(blobs, top, cancel)?);
    for _ in 0..MAX_DEPTH {
        let index = match serde_json::from_slice::<Index>(&bytes) {
            Ok(index) if !index.manifests.is_empty() || media_type::is_index(&at.media_type) => index,
            _ => break,
        };
        let chosen = index.choose(platform).cloned();
        at = chosen.ok_or_else(|| {
            Error::Invalid(format!("no match for platform in manifest: {} is not made for {platform}", top.digest))
        })?;
        bytes = small(blobs, &at, cancel)?;
    }
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(broken)?;
    let config = ImageConfig::from_bytes(&small(blobs, &manifest.config, cancel)?).map_err(broken)?;
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        return Err(Error::Invalid(format!("the manifest {} and its configuration do not agree", at.digest)));
    }
    for (layer, blob) in config.rootfs.diff_ids.iter().zip(&manifest.layers) {
        bring(engine, blobs, layer, blob, cancel)?;
    }
    Ok(config)
}
