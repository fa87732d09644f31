//! `GET /images/get` and `GET /images/{name}/get`.

use std::io::Write;

use oci::{Platform, Reference};
use store::{ImageRecord, Saving};

use super::{find, platform, publish};
use crate::{Engine, Error, Result};

/// An archive that is about to be written. What it holds stays until it is dropped.
#[derive(Debug)]
pub struct Save {
    saving: Saving,
    _lease: store::Lease,
}

/// Looks up what is to be saved: images by name (a repository alone is all of its tags) or by id.
pub fn save(engine: &Engine, names: &[String], platforms: &[Platform]) -> Result<Save> {
    if names.is_empty() {
        return Err(Error::invalid("no image specified"));
    }
    let lease = engine.store.lease();
    let all = engine.store.images().tags().map_err(|error| Error::system("read the image names", error))?;
    let mut images: Vec<(ImageRecord, Vec<Reference>)> = Vec::new();
    for name in names {
        let reference = Reference::parse(name).ok();
        let repository = reference.as_ref().filter(|reference| reference.tag.is_none() && reference.digest.is_none());
        let tags: Vec<&Reference> = all
            .iter()
            .map(|(tag, _)| tag)
            .filter(|tag| repository.is_some_and(|name| name.domain == tag.domain && name.path == tag.path))
            .collect();
        if !tags.is_empty() {
            for tag in tags {
                images.push((find(engine, &tag.familiar())?, vec![tag.clone()]));
            }
            continue;
        }
        let image = find(engine, name)?;
        // An id has no name to be saved under, even if it happens to read as one.
        let own = reference.filter(|reference| {
            reference.digest.is_none()
                && all.iter().any(|(tag, id)| *id == image.id && tag.familiar() == reference.familiar())
        });
        images.push((image, own.into_iter().collect()));
    }
    if !platforms.is_empty() {
        let mut chosen = Vec::new();
        for (image, names) in images {
            let text = names.first().map_or_else(|| image.id.to_string(), Reference::familiar);
            for wanted in platforms {
                chosen.push((platform::of(engine, image.clone(), &text, wanted)?, names.clone()));
            }
        }
        images = chosen;
    }
    let saving = engine.store.save(images).map_err(|error| Error::system("save the images", error))?;
    Ok(Save { saving, _lease: lease })
}

impl Save {
    /// Writes the archive.
    pub fn write(&self, engine: &Engine, out: &mut dyn Write) -> Result<()> {
        self.saving.write(&engine.store, out).map_err(|error| Error::system("write the archive", error))?;
        for image in self.saving.images() {
            let id = image.id.to_string();
            publish(engine, "save", &id, &id, Some(image));
        }
        Ok(())
    }
}
