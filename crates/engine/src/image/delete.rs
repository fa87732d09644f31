//! `DELETE /images/{name}`: a name is taken away; with its last name goes the image.

use std::collections::HashSet;

use api::image::DeleteItem;
use oci::{Digest, Platform, Reference};
use store::ImageRecord;

use super::pin::is_pinned;
use super::{find, names_changed, publish};
use crate::container::Record;
use crate::id::ContainerId;
use crate::{Engine, Error, Result};

/// Removes a name or an image. `force` where a stopped container uses it, or an id has several names.
///
/// `no_prune` keeps the layers that only this image used. With `platforms` the images that the name's index brought for
/// these go, and the name stays with another.
pub fn remove(
    engine: &Engine,
    name: &str,
    force: bool,
    no_prune: bool,
    platforms: &[Platform],
) -> Result<Vec<DeleteItem>> {
    let _deleting = engine.deleting.lock().unwrap_or_else(|poison| poison.into_inner());
    let image = find(engine, name)?;
    if !platforms.is_empty() {
        return remove_platforms(engine, &image, name, platforms, force);
    }
    let tags =
        engine.store.images().tags_of(&image.id).map_err(|error| Error::system("read the image's tags", error))?;
    let users = users_of(engine, &image.id);
    // An earlier version of a tag is no name of its own: what goes is the image.
    let by_id = is_id(name, &image.id) || oci::parse_version(name).is_some();
    let mut items = Vec::new();
    let pinned = || -> Result<()> {
        match !force && is_pinned(engine, &image)? {
            true => Err(Error::conflict(format!(
                "conflict: unable to delete {} (must be forced) - image is pinned",
                image.id.short()
            ))),
            false => Ok(()),
        }
    };

    if !by_id {
        let reference = Reference::parse(name).map_err(|error| Error::invalid(error.to_string()))?;
        let last = if reference.digest.is_some() {
            tags.is_empty() && image.repo_digests.len() <= 1
        } else {
            tags.iter().all(|tag| tag.familiar() == reference.with_default_tag().familiar())
        };
        // An image of an index stays as long as another one of it has a name.
        if !last || (!tags.is_empty() && has_named_sibling(engine, &image)?) {
            untag(engine, &image, &reference, &mut items)?;
            names_changed(engine);
            return Ok(items);
        }
        // The last name: the image goes too, so nobody may use it. A forced removal leaves the layers to those who do.
        if let Some(user) = users.first().filter(|_| !force) {
            return Err(Error::conflict(format!(
                "conflict: unable to delete {} (must be forced) - container {} is using its referenced image {}",
                reference.with_default_tag().familiar(),
                user.id.short(),
                image.id.short()
            )));
        }
    } else {
        let repositories: HashSet<String> = tags.iter().map(Reference::name).collect();
        if repositories.len() > 1 && !force {
            return Err(Error::conflict(format!(
                "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
                image.id.short()
            )));
        }
    }
    pinned()?;
    if let Some(user) = users.iter().find(|user| user.state.phase.is_alive()).filter(|_| by_id || !force) {
        return Err(in_use(&image.id, &user.id, true));
    }
    if let Some(user) = users.first().filter(|_| !force) {
        return Err(in_use(&image.id, &user.id, false));
    }
    // A running container keeps its image's record, as with Docker: only the name goes.
    if users.iter().any(|user| user.state.phase.is_alive()) {
        for tag in &tags {
            untag(engine, &image, tag, &mut items)?;
        }
        names_changed(engine);
        return Ok(items);
    }
    let siblings = match by_id {
        true => Vec::new(),
        false => super::platform::siblings(engine, &image)?.split_off(1),
    };
    items.extend(delete_all(engine, &image, &tags)?);
    // None of them has a name, or this one would have stayed.
    for sibling in siblings.iter().filter(|sibling| users_of(engine, &sibling.id).is_empty()) {
        items.extend(delete_all(engine, sibling, &[])?);
    }
    if !no_prune {
        let (_, deleted) = free_layers(engine)?;
        items.extend(deleted);
    }
    Ok(items)
}

/// Does another image of the same index have a name?
fn has_named_sibling(engine: &Engine, image: &ImageRecord) -> Result<bool> {
    let failed = |error| Error::system("read the image's tags", error);
    for sibling in &super::platform::siblings(engine, image)?[1..] {
        if !engine.store.images().tags_of(&sibling.id).map_err(failed)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn remove_platforms(
    engine: &Engine,
    image: &ImageRecord,
    name: &str,
    platforms: &[Platform],
    force: bool,
) -> Result<Vec<DeleteItem>> {
    if !force && is_id(name, &image.id) {
        return Err(Error::conflict("cannot remove platform variants by the image's id without force"));
    }
    let mut items = Vec::new();
    let family = super::platform::siblings(engine, image)?;
    let mut gone: Vec<Digest> = Vec::new();
    for wanted in platforms {
        let variant = super::platform::of(engine, image.clone(), name, wanted)?;
        let users = users_of(engine, &variant.id);
        if let Some(user) = users.iter().find(|user| user.state.phase.is_alive()) {
            return Err(in_use(&variant.id, &user.id, true));
        }
        if let Some(user) = users.first().filter(|_| !force) {
            return Err(in_use(&variant.id, &user.id, false));
        }
        gone.push(variant.id);
        // The names go to another image of the index, as long as there is one.
        let tags = engine
            .store
            .images()
            .tags_of(&variant.id)
            .map_err(|error| Error::system("read the image's tags", error))?;
        match family.iter().find(|other| !gone.contains(&other.id)) {
            Some(heir) => {
                for tag in &tags {
                    let tagged = engine.store.images().tag(tag, &heir.id);
                    tagged.map_err(|error| Error::system("tag the image", error))?;
                }
                items.extend(delete_all(engine, &variant, &[])?);
            }
            None => items.extend(delete_all(engine, &variant, &tags)?),
        }
    }
    let (_, deleted) = free_layers(engine)?;
    items.extend(deleted);
    Ok(items)
}

fn in_use(image: &Digest, container: &ContainerId, running: bool) -> Error {
    let (force, what) =
        if running { ("cannot be forced", "running container") } else { ("must be forced", "stopped container") };
    Error::conflict(format!(
        "conflict: unable to delete {} ({force}) - image is being used by {what} {}",
        image.short(),
        container.short()
    ))
}

/// The text is the image's id or its beginning, and no name.
fn is_id(text: &str, id: &Digest) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    !digits.is_empty() && id.hex().starts_with(digits)
}

/// Snapshots of the containers that were made from an image.
pub(super) fn users_of(engine: &Engine, image: &Digest) -> Vec<std::sync::Arc<Record>> {
    let all = engine.containers.all();
    let mut users: Vec<_> =
        all.iter().map(|container| container.snapshot()).filter(|record| record.image == *image).collect();
    users.sort_by_key(|record| record.created);
    users
}

fn untag(engine: &Engine, image: &ImageRecord, reference: &Reference, items: &mut Vec<DeleteItem>) -> Result<()> {
    let gone = engine.store.images().untag(reference).map_err(|error| Error::system("untag the image", error))?;
    if gone {
        let name =
            if reference.digest.is_some() { reference.familiar() } else { reference.with_default_tag().familiar() };
        publish(engine, "untag", &image.id.to_string(), &name, Some(image));
        items.push(DeleteItem { untagged: name, ..DeleteItem::default() });
    }
    Ok(())
}

/// All names and the record; the layers stay until [`free_layers`].
pub(super) fn delete_all(engine: &Engine, image: &ImageRecord, tags: &[Reference]) -> Result<Vec<DeleteItem>> {
    let mut items = Vec::new();
    for tag in tags {
        untag(engine, image, tag, &mut items)?;
    }
    for name in &image.repo_digests {
        items.push(DeleteItem { untagged: super::inspect::familiar_digest(name), ..DeleteItem::default() });
    }
    engine.store.images().delete(&image.id).map_err(|error| Error::system("delete the image", error))?;
    names_changed(engine);
    let id = image.id.to_string();
    publish(engine, "delete", &id, &id, Some(image));
    items.push(DeleteItem { deleted: id, ..DeleteItem::default() });
    Ok(items)
}

/// Removes layers and blobs that neither an image nor a container uses; bytes freed, and the layers as items.
pub(super) fn free_layers(engine: &Engine) -> Result<(u64, Vec<DeleteItem>)> {
    let pruned = engine
        .store
        .prune_unreferenced_except(&layers_in_use(engine))
        .map_err(|error| Error::system("free the image's layers", error))?;
    let items = pruned.layers.iter().map(|layer| DeleteItem { deleted: layer.to_string(), ..DeleteItem::default() });
    Ok((pruned.freed, items.collect()))
}

/// Layers of containers, which may have lost their image.
pub(super) fn layers_in_use(engine: &Engine) -> HashSet<Digest> {
    let of = |record: &crate::container::Record| -> Vec<Digest> {
        let mounted = record.mounts.iter().flat_map(|mount| &mount.layers);
        record.layers.iter().chain(mounted).cloned().collect()
    };
    engine.containers.all().iter().flat_map(|container| of(&container.snapshot())).collect()
}

/// [`free_layers`] after the last container of an image that is gone.
pub(crate) fn free_unused(engine: &Engine) {
    let _deleting = engine.deleting.lock().unwrap_or_else(|poison| poison.into_inner());
    if let Err(error) = free_layers(engine) {
        tracing::warn!(error = error.full_text(), "unused layers are still there");
    }
}
