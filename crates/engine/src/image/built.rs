//! What a builder needs of images: the one to build on, and a place for the one that was built.

use oci::{Digest, ImageConfig, Reference};
use store::ImageRecord;

use super::{find, names_changed, publish};
use crate::{Engine, Error, Kind, Result};

/// The image that a text means, if it is here and made for `platform`: itself, or one that came by the same index.
pub fn local(engine: &Engine, text: &str, platform: &oci::Platform) -> Result<Option<ImageRecord>> {
    match find(engine, text) {
        Ok(image) if platform.accepts(&image.config.platform()) => Ok(Some(image)),
        Ok(image) => {
            let siblings = super::platform::siblings(engine, &image)?;
            Ok(siblings.into_iter().find(|image| platform.accepts(&image.config.platform())))
        }
        Err(error) if error.kind == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The layers of an image as overlayfs stacks them, the topmost first.
///
/// A layer that an image has twice (empty ones, mostly) is stacked once, where it is topmost: whatever lies between is
/// covered by the upper one wherever the lower one had something, and overlayfs refuses the same directory twice.
pub fn stack(layers: &[Digest]) -> Vec<&Digest> {
    let mut seen = std::collections::HashSet::new();
    layers.iter().rev().filter(|layer| seen.insert(**layer)).collect()
}

/// Tells that the build cache was pruned, and how much that freed.
pub fn tell_pruned(engine: &Engine, freed: u64) {
    let attributes = [("reclaimed", freed.to_string())].into_iter().collect();
    engine.events.publish(crate::events::Of::Builder, "prune", "", attributes);
}

/// Removes layers that no image, container or build step needs any more; bytes on disk that were freed.
pub fn free(engine: &Engine) -> Result<u64> {
    let _deleting = engine.deleting.lock().unwrap_or_else(|poison| poison.into_inner());
    super::delete::free_layers(engine).map(|(freed, _)| freed)
}

/// The record of an image whose layers are in the store; nobody knows it yet.
pub fn record(engine: &Engine, config: ImageConfig) -> Result<ImageRecord> {
    let raw_config = config.to_bytes();
    let layers = config.rootfs.diff_ids.clone();
    let size = layers.iter().map(|layer| engine.store.layers().size(layer)).sum::<store::Result<u64>>();
    Ok(ImageRecord {
        id: Digest::of(&raw_config),
        raw_config,
        layers,
        manifest: None,
        blobs: Vec::new(),
        created: config.created.clone().unwrap_or_default(),
        size: size.map_err(|error| Error::system("look at the image's layers", error))?,
        repo_digests: Vec::new(),
        config,
    })
}

/// Records an image whose layers are in the store, and gives it names. Its id.
pub fn add(engine: &Engine, config: ImageConfig, tags: &[Reference]) -> Result<Digest> {
    let record = record(engine, config)?;
    let tags: Vec<Reference> = tags.iter().map(Reference::with_default_tag).collect();
    engine.store.images().create_tagged(&record, &tags).map_err(|error| Error::system("record the image", error))?;
    names_changed(engine);
    let id = record.id.to_string();
    publish(engine, "create", &id, &id, Some(&record));
    for tag in &tags {
        publish(engine, "tag", &record.id.to_string(), &tag.familiar(), Some(&record));
    }
    Ok(record.id)
}
