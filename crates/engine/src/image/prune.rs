//! `POST /images/prune`, and `GET /hoist/images/prune`, which says what that would do and why.

use std::collections::{HashMap, HashSet};

use api::extension::{Planned, PrunePlan};
use api::filters::Filters;
use api::image::{DeleteItem, PruneReport};
use oci::{Digest, Reference};
use store::ImageRecord;

use super::delete::{delete_all, free_layers, layers_in_use, users_of};
use super::list::created;
use crate::events::Of;
use crate::{Engine, Error, Result, time};

/// What is to be done with an image, and why.
enum Verdict {
    Remove(String),
    Keep(String),
}

/// Removes images without a name (`dangling`, the default), or all that no container uses (`dangling=false`).
pub fn prune(engine: &Engine, filters: &Filters) -> Result<PruneReport> {
    let Ok(_only) = engine.pruning.try_lock() else {
        return Err(Error::conflict("a prune operation is already running"));
    };
    let _deleting = engine.deleting.lock().unwrap_or_else(|poison| poison.into_inner());
    let mut items: Vec<DeleteItem> = Vec::new();
    for (image, tags, verdict) in judge(engine, filters)? {
        if let Verdict::Remove(_) = verdict {
            items.extend(delete_all(engine, &image, &tags)?);
        }
    }
    let (freed, deleted) = free_layers(engine)?;
    items.extend(deleted);
    let attributes = [("reclaimed", freed.to_string())].into_iter().collect();
    engine.events.publish(Of::Image, "prune", "", attributes);
    Ok(PruneReport { images_deleted: time::list_or_null(items), space_reclaimed: freed })
}

/// What [`prune`] with the same filters would remove and leave, with reasons. Nothing is changed.
pub fn plan_prune(engine: &Engine, filters: &Filters) -> Result<PrunePlan> {
    let mut plan = PrunePlan::default();
    let mut gone = HashSet::new();
    for (image, tags, verdict) in judge(engine, filters)? {
        let row = |reason| Planned {
            kind: "image".to_owned(),
            id: image.id.to_string(),
            names: tags.iter().map(Reference::familiar).collect(),
            size: image.size,
            reason,
        };
        match verdict {
            Verdict::Remove(reason) => {
                plan.remove.push(row(reason));
                gone.insert(image.id);
            }
            Verdict::Keep(reason) => plan.keep.push(row(reason)),
        }
    }
    let garbage = engine
        .store
        .garbage(&layers_in_use(engine), &gone)
        .map_err(|error| Error::system("look for what is not used", error))?;
    let parts = [("blob", garbage.blobs), ("layer", garbage.layers)];
    for (kind, digest, size) in
        parts.into_iter().flat_map(|(kind, all)| all.into_iter().map(move |(d, s)| (kind, d, s)))
    {
        plan.space_reclaimed += size;
        plan.remove.push(Planned {
            kind: kind.to_owned(),
            id: digest.to_string(),
            names: Vec::new(),
            size,
            reason: "in no image that stays, and in no container".to_owned(),
        });
    }
    Ok(plan)
}

/// Looks at every image.
fn judge(engine: &Engine, filters: &Filters) -> Result<Vec<(ImageRecord, Vec<Reference>, Verdict)>> {
    filters.check(&["dangling", "label", "label!", "until"])?;
    let dangling = filters.bool_or("dangling", true)?;
    let until = time::until_filter(filters)?;
    let failed = |error| Error::system("read the images", error);
    let images = engine.store.images();
    let keeps = images.keeps().map_err(failed)?;
    let versions = kept_versions(engine)?;
    let mut judged = Vec::new();
    let mut all = Vec::new();
    for image in images.list().map_err(failed)? {
        all.push((images.tags_of(&image.id).map_err(failed)?, image));
    }
    // Indexes that have a name, by one of their images.
    let named: HashSet<String> =
        all.iter().filter(|(tags, _)| !tags.is_empty()).flat_map(|(_, image)| image.repo_digests.clone()).collect();
    for (tags, image) in all {
        let labels: api::Map<String> = image.config.config.labels.clone().map(Into::into).unwrap_or_default();
        let verdict = if keeps.get(&image.id).is_some_and(|keep| keep.pinned) {
            Verdict::Keep("pinned".to_owned())
        } else if let Some(user) = users_of(engine, &image.id).first() {
            Verdict::Keep(format!("container {} uses it", user.name))
        } else if dangling && !tags.is_empty() {
            Verdict::Keep("has a name".to_owned())
        } else if until.is_some_and(|until| created(&image) >= until) {
            Verdict::Keep("newer than the filter until says".to_owned())
        } else if !time::label_filters(filters, &labels) {
            Verdict::Keep("the filter of labels leaves it out".to_owned())
        } else if let Some(version) = versions.get(&image.id).filter(|_| tags.is_empty()) {
            Verdict::Keep(format!("{version}, one of the last {}", engine.config.image_versions))
        } else if dangling && image.repo_digests.iter().any(|name| named.contains(name)) {
            Verdict::Keep(format!("the image for {} of an index that has a name", super::platform::of_image(&image)))
        } else if tags.is_empty() {
            Verdict::Remove("no name, and no container uses it".to_owned())
        } else {
            Verdict::Remove("no container uses it".to_owned())
        };
        judged.push((image, tags, verdict));
    }
    Ok(judged)
}

/// Images that the setting `image-versions` keeps because a tag meant them lately, with what they were.
fn kept_versions(engine: &Engine) -> Result<HashMap<Digest, String>> {
    let mut kept = HashMap::new();
    if engine.config.image_versions == 0 {
        return Ok(kept);
    }
    let earlier = engine.store.images().earlier().map_err(|error| Error::system("read the log of tags", error))?;
    for (reference, versions) in earlier {
        for (version, back) in versions.iter().take(engine.config.image_versions).zip(1..) {
            kept.entry(version.image).or_insert_with(|| format!("{}@{{{back}}}", reference.familiar()));
        }
    }
    Ok(kept)
}
