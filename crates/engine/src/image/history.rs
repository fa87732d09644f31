//! `GET /images/{name}/history`.

use api::image::HistoryItem;

use super::find;
use crate::{Engine, Error, Result, time};

/// The image's build steps, the newest first.
pub fn history(engine: &Engine, name: &str, wanted: Option<&oci::Platform>) -> Result<Vec<HistoryItem>> {
    let image = find(engine, name)?;
    let image = match wanted {
        Some(wanted) => super::platform::of(engine, image, name, wanted)?,
        None => image,
    };
    let tags =
        engine.store.images().tags_of(&image.id).map_err(|error| Error::system("read the image's tags", error))?;
    let mut layers = image.layers.iter();
    let mut items: Vec<HistoryItem> = image
        .config
        .history
        .iter()
        .map(|step| {
            let layer = if step.empty_layer { None } else { layers.next() };
            let size = layer.and_then(|layer| engine.store.layers().info(layer).ok()).map_or(0, |info| info.content);
            let created = step.created.as_deref().and_then(|text| logs::time::parse(text.as_bytes()));
            HistoryItem {
                comment: step.comment.clone(),
                created: created.map_or(0, time::seconds),
                created_by: step.created_by.clone(),
                id: "<missing>".to_owned(),
                size: i64::try_from(size).unwrap_or(i64::MAX),
                tags: api::List::default(),
            }
        })
        .collect();
    items.reverse();
    if let Some(newest) = items.first_mut() {
        newest.id = image.id.to_string();
        newest.tags = time::list_or_null(tags.iter().map(oci::Reference::familiar).collect());
    }
    Ok(items)
}
