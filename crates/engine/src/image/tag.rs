//! `POST /images/{name}/tag`.

use super::{find, names_changed, publish, target};
use crate::{Engine, Error, Result};

/// Gives an image one more name, taking it from the image that had it.
pub fn tag(engine: &Engine, name: &str, repository: &str, tag: &str) -> Result<()> {
    let image = find(engine, name)?;
    let reference = target(repository, tag)?;
    engine.store.images().tag(&reference, &image.id).map_err(|error| Error::system("tag the image", error))?;
    names_changed(engine);
    publish(engine, "tag", &image.id.to_string(), &reference.familiar(), Some(&image));
    Ok(())
}
