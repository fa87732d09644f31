//! `POST /hoist/images/{name}/pin`, `/unpin` and `GET /hoist/images/pins`: images that no pruning removes.

use api::extension::Pin;
use oci::Reference;
use store::ImageRecord;

use super::find;
use crate::{Engine, Error, Result};

/// Pins an image, or takes the pin away.
pub fn pin(engine: &Engine, name: &str, pinned: bool) -> Result<Pin> {
    let _deleting = engine.deleting.lock().unwrap_or_else(|poison| poison.into_inner());
    let image = find(engine, name)?;
    let changed =
        engine.store.images().pin(&image.id, pinned).map_err(|error| Error::system("pin the image", error))?;
    Ok(Pin { names: names(engine, &image)?, image: image.id.to_string(), pinned, changed })
}

/// All pinned images.
pub fn pins(engine: &Engine) -> Result<Vec<Pin>> {
    let failed = |error| Error::system("read the images", error);
    let keeps = engine.store.images().keeps().map_err(failed)?;
    let images = engine.store.images().list().map_err(failed)?;
    let pinned = images.iter().filter(|image| keeps.get(&image.id).is_some_and(|keep| keep.pinned));
    pinned
        .map(|image| {
            Ok(Pin { names: names(engine, image)?, image: image.id.to_string(), pinned: true, changed: false })
        })
        .collect()
}

/// Is the image pinned?
pub(super) fn is_pinned(engine: &Engine, image: &ImageRecord) -> Result<bool> {
    let keeps = engine.store.images().keeps().map_err(|error| Error::system("read the images", error))?;
    Ok(keeps.get(&image.id).is_some_and(|keep| keep.pinned))
}

/// Its tags, as people write them.
pub(crate) fn names(engine: &Engine, image: &ImageRecord) -> Result<Vec<String>> {
    let tags = engine.store.images().tags_of(&image.id).map_err(|error| Error::system("read the tags", error))?;
    Ok(tags.iter().map(Reference::familiar).collect())
}
