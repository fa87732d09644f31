//! `manifest.json` of `docker save`.

use oci::{Platform, Reference};
use serde::Deserialize;

use super::collect::Collected;
use super::{Wanted, is_wanted, parse_config, shown};
use crate::error::{Error, Result};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

pub(super) fn plan(collected: &Collected, platforms: &[Platform]) -> Result<Vec<Wanted>> {
    let bytes = collected.document("manifest.json").unwrap_or_default();
    let items: Vec<Item> =
        serde_json::from_slice(bytes).map_err(|error| Error::archive(format!("manifest.json: {error}")))?;
    let mut images: Vec<Wanted> = items
        .into_iter()
        .map(|item| {
            let raw_config = collected
                .document(&item.config)
                .ok_or_else(|| Error::archive(format!("config {:?} is missing", item.config)))?;
            let references = item
                .repo_tags
                .unwrap_or_default()
                .iter()
                .map(|tag| Reference::parse(tag).map_err(|error| Error::archive(format!("tag {tag:?}: {error}"))))
                .collect::<Result<_>>()?;
            Ok(Wanted {
                config: parse_config(&item.config, raw_config)?,
                raw_config: raw_config.to_vec(),
                layers: item.layers.unwrap_or_default(),
                references,
            })
        })
        .collect::<Result<_>>()?;
    images.retain(|image| is_wanted(&image.config, platforms));
    if images.is_empty() && !platforms.is_empty() {
        return Err(Error::archive(format!("no image for {} in it", shown(platforms))));
    }
    Ok(images)
}
