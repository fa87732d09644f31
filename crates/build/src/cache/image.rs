//! `--cache-from` of the classic builder: the steps of an image that is here, by what its history says.
//!
//! A step is that of an image if the image begins with the layers below it and the same account of them, and its next layer
//! was made by the same instruction. Of a `COPY` the account says nothing about contents: the files are compared.

use std::collections::HashSet;
use std::sync::Arc;

use archive::tar::Kind;
use engine::image::built;
use engine::{Cancel, Engine};
use oci::{Digest, ImageConfig, Platform};
use store::ImageRecord;

use super::Entry;
use super::import::Import;
use crate::copy::digest;
use crate::copy::walk::{self, Entry as File};
use crate::error::Result;
use crate::tree::Tree;

/// What a step is compared by.
#[derive(Debug, Clone, Copy)]
pub enum Like<'a> {
    /// What it does says all.
    Account,
    /// The files it brings.
    Files(&'a [File]),
    /// It depends on what no image tells of.
    Nothing,
}

/// Images whose steps may be used.
#[derive(Default)]
pub struct Images {
    known: Vec<ImageRecord>,
    /// What some of them have noted of their steps.
    inline: Vec<Import>,
}

impl Images {
    /// Those of these names that are here.
    pub fn find(engine: &Engine, names: &[String], platform: &Platform) -> Result<Images> {
        let mut images = Images::default();
        for name in names {
            images.known.extend(built::local(engine, name, platform)?);
            images.inline.extend(Import::of_local_image(engine, name, platform)?);
        }
        Ok(images)
    }

    /// None of them is here.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// A step by its key.
    pub fn step(&self, engine: &Engine, key: &Digest, cancel: &Cancel) -> Option<Entry> {
        self.inline.iter().find_map(|import| import.find(engine, key, cancel))
    }

    /// The layer that one of them has above `below`, if it was made by `created_by`.
    pub fn layer(
        &self,
        engine: &Engine,
        below: &ImageConfig,
        created_by: &str,
        like: Like<'_>,
    ) -> Result<Option<Digest>> {
        if matches!(like, Like::Nothing) {
            return Ok(None);
        }
        for image in &self.known {
            let Some(layer) = next(image, below, created_by) else { continue };
            if !engine.store().layers().has(&layer) {
                continue;
            }
            match like {
                Like::Files(files) if !same(engine, &layer, files)? => {}
                _ => return Ok(Some(layer)),
            }
        }
        Ok(None)
    }

    /// The entry of a layer that [`Images::layer`] has found.
    pub fn entry(engine: &Engine, layer: Digest, description: String) -> Result<Entry> {
        let size = engine.store().layers().size(&layer);
        let size = size.map_err(|error| crate::Error::system("look at a layer", error))?;
        let now = logs::time::now_ns();
        Ok(Entry { layer, size, created: now, used: now, uses: 1, description, parent: None })
    }
}

fn next(image: &ImageRecord, below: &ImageConfig, created_by: &str) -> Option<Digest> {
    let (known, steps) = (&image.config.history, &below.history);
    let same = known.len() > steps.len()
        && known.iter().zip(steps).all(|(a, b)| a.created_by == b.created_by && a.empty_layer == b.empty_layer);
    let made = known.get(steps.len()).filter(|step| same && !step.empty_layer)?;
    let layers = &below.rootfs.diff_ids;
    (made.created_by == created_by && image.layers.starts_with(layers))
        .then(|| image.layers.get(layers.len()).copied())?
}

/// Whether a layer has exactly these files.
fn same(engine: &Engine, layer: &Digest, files: &[File]) -> Result<bool> {
    let tree = Arc::new(Tree::of_layers(engine.store().layers(), &[*layer])?);
    let paths: HashSet<&[u8]> = files.iter().map(|file| file.metadata.path.as_slice()).collect();
    let mut there = walk::walk(&tree, b"", &|_, _| false)?;
    // Directories that are only on the way are no part of it.
    there.retain(|file| file.metadata.kind != Kind::Directory || paths.contains(file.metadata.path.as_slice()));
    let mut here = files.to_vec();
    for list in [&mut here, &mut there] {
        list.sort_by(|a, b| a.metadata.path.cmp(&b.metadata.path));
    }
    Ok(here.len() == there.len() && digest::digest(&here)? == digest::digest(&there)?)
}
