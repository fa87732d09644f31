//! `docker save`: images as an archive that is a Docker archive and an OCI layout at once.
//!
//! ```text
//!  blobs/sha256/<hex>    layers (the tars as they came, so the name is the diffID), configs, manifests
//!  index.json            OCI: a manifest for each name, annotated with it
//!  manifest.json         Docker: configs, names and layers
//!  oci-layout  repositories
//! ```
//! The same images give the same bytes.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use archive::tar::{Kind, Metadata, Writer};
use oci::{Descriptor, Digest, Index, Manifest, Reference, media_type};
use serde_json::json;

use crate::Store;
use crate::error::{Error, Result};
use crate::image::ImageRecord;

/// What an archive will hold: images with the names they are saved under.
#[derive(Clone, Debug)]
pub struct Saving {
    images: Vec<(ImageRecord, Vec<Reference>)>,
    /// DiffIDs with the sizes of their tars, each once, in order.
    layers: Vec<(Digest, u64)>,
}

impl Store {
    /// Looks at everything that [`Saving::write`] will need. Images that come twice are put together.
    ///
    /// # Errors
    /// [`Error::NoLayer`], [`Error::NoTar`]
    pub fn save(&self, images: Vec<(ImageRecord, Vec<Reference>)>) -> Result<Saving> {
        let mut saving = Saving { images: Vec::new(), layers: Vec::new() };
        for (image, names) in images {
            for diff_id in &image.layers {
                if !saving.layers.iter().any(|(known, _)| known == diff_id) {
                    let size = self.layers().tar(diff_id)?.size().map_err(Error::Source)?;
                    saving.layers.push((*diff_id, size));
                }
            }
            match saving.images.iter_mut().find(|(known, _)| known.id == image.id) {
                Some((_, known)) => {
                    known.extend(names.into_iter().filter(|name| !known.contains(name)).collect::<Vec<_>>())
                }
                None => saving.images.push((image, names)),
            }
        }
        Ok(saving)
    }
}

impl Saving {
    /// The images in it.
    pub fn images(&self) -> impl Iterator<Item = &ImageRecord> {
        self.images.iter().map(|(image, _)| image)
    }

    /// Writes the archive.
    ///
    /// # Errors
    /// Those of `out`; a layer that is broken ends the archive in the middle.
    pub fn write(&self, store: &Store, out: impl Write) -> Result<()> {
        let written = Error::Source;
        let mut tar = Writer::new(out);
        for directory in ["blobs", "blobs/sha256"] {
            tar.append(&Metadata::new(directory, Kind::Directory), io::empty()).map_err(written)?;
        }
        for (diff_id, size) in &self.layers {
            let layer = store.layers().tar(diff_id)?;
            append(&mut tar, &path(diff_id), *size, layer).map_err(written)?;
        }
        let mut done: Vec<Digest> = Vec::new();
        let mut blob = |tar: &mut Writer<_>, bytes: &[u8]| -> Result<Digest> {
            let digest = Digest::of(bytes);
            if !done.contains(&digest) {
                append(tar, &path(&digest), bytes.len() as u64, bytes).map_err(written)?;
                done.push(digest);
            }
            Ok(digest)
        };
        let (mut entries, mut items) = (Vec::new(), Vec::new());
        let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (image, names) in &self.images {
            blob(&mut tar, &image.raw_config)?;
            let layers =
                image.layers.iter().map(|diff_id| Descriptor::new(media_type::OCI_LAYER, *diff_id, self.size(diff_id)));
            let manifest = Manifest::oci(Descriptor::of(media_type::OCI_CONFIG, &image.raw_config), layers.collect());
            let bytes = to_json(&manifest);
            blob(&mut tar, &bytes)?;
            let descriptor = Descriptor {
                platform: Some(image.config.platform()).filter(|platform| !platform.architecture.is_empty()),
                ..Descriptor::of(media_type::OCI_MANIFEST, &bytes)
            };
            if names.is_empty() {
                entries.push(descriptor.clone());
            }
            for name in names {
                let mut entry = descriptor.clone();
                entry.annotations.insert("io.containerd.image.name".to_owned(), name.to_string());
                entry
                    .annotations
                    .insert("org.opencontainers.image.ref.name".to_owned(), name.tag_or_latest().to_owned());
                entries.push(entry);
                let top = image.layers.last().unwrap_or(&image.id).hex().to_string();
                repositories.entry(name.familiar_name()).or_default().insert(name.tag_or_latest().to_owned(), top);
            }
            items.push(json!({
                "Config": path(&image.id),
                "RepoTags": if names.is_empty() { None } else { Some(names.iter().map(Reference::familiar).collect::<Vec<_>>()) },
                "Layers": image.layers.iter().map(path).collect::<Vec<_>>(),
            }));
        }
        let index = Index {
            schema_version: 2,
            media_type: media_type::OCI_INDEX.to_owned(),
            artifact_type: None,
            manifests: entries,
            subject: None,
            annotations: BTreeMap::new(),
        };
        for (name, bytes) in [
            ("index.json", to_json(&index)),
            ("manifest.json", to_json(&items)),
            ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ("repositories", to_json(&repositories)),
        ] {
            append(&mut tar, name, bytes.len() as u64, bytes.as_slice()).map_err(written)?;
        }
        tar.finish().map_err(written)?;
        Ok(())
    }

    fn size(&self, diff_id: &Digest) -> u64 {
        self.layers.iter().find(|(known, _)| known == diff_id).map_or(0, |(_, size)| *size)
    }
}

fn path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("names, digests and numbers are plain JSON")
}

fn append<W: Write>(tar: &mut Writer<W>, name: &str, size: u64, mut data: impl Read) -> io::Result<()> {
    tar.append(&Metadata { size, ..Metadata::new(name, Kind::File) }, &mut data)?;
    // The end of a layer is where its digest is checked.
    match data.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::Error::other(format!("{name} is longer than announced"))),
    }
}
