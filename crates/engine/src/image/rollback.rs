//! `POST /hoist/images/{name}/rollback`: a tag means again what it meant before.

use api::extension::RolledBack;

use super::log::tag;
use super::{find, names_changed, publish, translate};
use crate::{Engine, Result};

/// `back` counts changes of the tag; 1 is the last one. The roll-back is a change too, so the next one by 1 undoes it.
pub fn roll_back(engine: &Engine, name: &str, back: usize) -> Result<RolledBack> {
    let reference = tag(name)?;
    let name = reference.familiar();
    let _deleting = engine.deleting.lock().unwrap_or_else(|poison| poison.into_inner());
    let before = find(engine, &name)?;
    let image = engine.store.images().roll_back(&reference, back).map_err(|error| translate(&name, error))?;
    names_changed(engine);
    let image = find(engine, &image.to_string())?;
    publish(engine, "tag", &image.id.to_string(), &name, Some(&image));
    Ok(RolledBack { name, image: image.id.to_string(), before: before.id.to_string() })
}
