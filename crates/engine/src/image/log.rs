//! `GET /hoist/images/{name}/log`: what a tag has meant.

use api::extension::TagVersion;
use oci::Reference;

use crate::{Engine, Error, Result, time};

/// Newest first.
pub fn log(engine: &Engine, name: &str) -> Result<Vec<TagVersion>> {
    let reference = tag(name)?;
    let failed = |error| Error::system("read the log of the tag", error);
    let images = engine.store.images();
    let versions = images.log(&reference).map_err(failed)?;
    if versions.is_empty() {
        return Err(Error::not_found(format!("No such image: {}", reference.familiar())));
    }
    versions
        .into_iter()
        .zip(0..)
        .map(|(version, back)| {
            let image = images.get(&version.image).map_err(failed)?;
            let since = u64::try_from(version.since).unwrap_or(0).saturating_mul(1_000_000_000);
            Ok(TagVersion {
                back,
                image: image.id.to_string(),
                since: if since == 0 { String::new() } else { time::rfc3339(since) },
                created: image.created,
                size: i64::try_from(image.size).unwrap_or(i64::MAX),
            })
        })
        .collect()
}

/// A name with a tag, and nothing else.
pub(super) fn tag(name: &str) -> Result<Reference> {
    let reference = Reference::parse(name).map_err(|error| Error::invalid(error.to_string()))?;
    if reference.digest.is_some() {
        return Err(Error::invalid(format!(
            "{name} is a digest, which always means the same; only tags have versions"
        )));
    }
    Ok(reference.with_default_tag())
}
