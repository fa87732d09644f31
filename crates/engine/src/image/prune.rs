//! `POST /images/prune`.

use api::filters::Filters;
use api::image::{DeleteItem, PruneReport};

use super::delete::{delete_all, free_layers, users_of};
use super::list::created;
use crate::events::Of;
use crate::{Engine, Error, Result, time};

/// Removes images without a name (`dangling`, the default), or all that no container uses (`dangling=false`).
pub fn prune(engine: &Engine, filters: &Filters) -> Result<PruneReport> {
    filters.check(&["dangling", "label", "label!", "until"])?;
    let Ok(_only) = engine.pruning.try_lock() else {
        return Err(Error::conflict("a prune operation is already running"));
    };
    let _deleting = engine.deleting.lock().unwrap_or_else(|poison| poison.into_inner());
    let dangling = filters.bool_or("dangling", true)?;
    let until = time::until_filter(filters)?;
    let failed = |error| Error::system("read the images", error);
    let images = engine.store.images().list().map_err(failed)?;
    let mut items: Vec<DeleteItem> = Vec::new();
    for image in images {
        let labels: api::Map<String> = image.config.config.labels.clone().map(Into::into).unwrap_or_default();
        let old = until.is_none_or(|until| created(&image) < until);
        if !old || !time::label_filters(filters, &labels) || !users_of(engine, &image.id).is_empty() {
            continue;
        }
        let tags = engine.store.images().tags_of(&image.id).map_err(failed)?;
        if !dangling || tags.is_empty() {
            items.extend(delete_all(engine, &image, &tags)?);
        }
    }
    let (freed, deleted) = free_layers(engine)?;
    items.extend(deleted);
    let attributes = [("reclaimed", freed.to_string())].into_iter().collect();
    engine.events.publish(Of::Image, "prune", "", attributes);
    Ok(PruneReport { images_deleted: time::list_or_null(items), space_reclaimed: freed })
}
