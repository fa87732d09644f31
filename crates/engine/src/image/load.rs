//! `POST /images/load`: an archive of images, as `save` writes it.

use std::io::Read;

use api::image::Progress;

use super::{find, import, names_changed, publish};
use crate::{Engine, Result};

/// Loads all images of an archive and names them; with `platforms` those of an index that are for one of these.
pub fn load(
    engine: &Engine,
    tar: &mut dyn Read,
    _quiet: bool,
    platforms: &[oci::Platform],
    emit: &mut dyn FnMut(Progress),
) -> Result<()> {
    let loaded = engine.store.load_for(tar, platforms).map_err(import::translate)?;
    names_changed(engine);
    for image in loaded {
        let id = image.id.to_string();
        let record = find(engine, &id).ok();
        if image.references.is_empty() {
            publish(engine, "load", &id, &id, record.as_ref());
            emit(Progress::stream(format!("Loaded image ID: {id}\n")));
        }
        for reference in &image.references {
            publish(engine, "load", &id, &reference.familiar(), record.as_ref());
            emit(Progress::stream(format!("Loaded image: {}\n", reference.familiar())));
        }
    }
    Ok(())
}
