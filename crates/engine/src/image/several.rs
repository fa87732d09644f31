//! Images that are made here under documents of their own: several platforms under one index, annotations.
//!
//! The documents name layers by their diff ids, as tars that are not compressed: nothing is compressed before somebody
//! pushes. Then the layers' blobs take the place of the tars, and all else stays.

use std::collections::{BTreeMap, BTreeSet};

use api::image::{Progress, RegistryAuth};
use oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference, media_type};
use store::ImageRecord;

use super::artifact::{self, Documents, Pushed};
use super::{built, names_changed, publish};
use crate::{Cancel, Engine, Error, Result};

/// Marks the descriptor of such a manifest in an image's record.
const MADE_HERE: &str = "io.hoist.layers";

/// Largest document, in bytes.
const LIMIT: u64 = 4 << 20;

/// What is noted about an image beside its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// Where.
    pub place: Place,
    /// Only for this platform.
    pub platform: Option<Platform>,
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// Where an annotation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the manifest.
    Manifest,
    /// In the index, where it names the manifest.
    ManifestDescriptor,
    /// In the index.
    Index,
    /// Where a layout names the index, or the only manifest.
    IndexDescriptor,
}

/// Images with their documents.
#[derive(Debug, Clone)]
pub struct Layout {
    /// One for each platform, with the manifest.
    images: Vec<(ImageRecord, Descriptor, Vec<u8>)>,
    index: Option<(Descriptor, Vec<u8>)>,
    /// Annotations of the top in a layout.
    outside: BTreeMap<String, String>,
}

impl Layout {
    /// Makes the documents. The layers are in the store.
    pub fn make(engine: &Engine, variants: Vec<(Platform, ImageConfig)>, annotations: &[Annotation]) -> Result<Layout> {
        let several = variants.len() > 1;
        let of = |place: Place, platform: Option<&Platform>| -> BTreeMap<String, String> {
            let meant = annotations.iter().filter(|annotation| {
                annotation.place == place && (annotation.platform.is_none() || annotation.platform.as_ref() == platform)
            });
            meant.map(|annotation| (annotation.key.clone(), annotation.value.clone())).collect()
        };
        if !several && annotations.iter().any(|annotation| annotation.place == Place::Index) {
            return Err(Error::invalid("index annotations not supported for single platform export"));
        }
        if let Some(stray) = annotations.iter().find(|annotation| {
            annotation.platform.as_ref().is_some_and(|wanted| !variants.iter().any(|(platform, _)| platform == wanted))
        }) {
            let platform = stray.platform.clone().unwrap_or_default();
            return Err(Error::invalid(format!(
                "the annotation {:?} is for {platform}, which is not built",
                stray.key
            )));
        }
        let mut images = Vec::new();
        for (platform, config) in variants {
            let record = built::record(engine, config)?;
            let mut layers = Vec::new();
            for layer in &record.layers {
                let size = engine.store.layers().tar(layer).and_then(|tar| tar.size().map_err(store::Error::Source));
                let size = size.map_err(|error| Error::system("look at the image's layers", error))?;
                layers.push(Descriptor::new(media_type::OCI_LAYER, *layer, size));
            }
            let config = Descriptor::of(media_type::OCI_CONFIG, &record.raw_config);
            let annotations = of(Place::Manifest, Some(&platform));
            let bytes = to_json(&Manifest { annotations, ..Manifest::oci(config, layers) });
            let descriptor = Descriptor {
                annotations: of(Place::ManifestDescriptor, Some(&platform)),
                platform: Some(platform),
                ..Descriptor::of(media_type::OCI_MANIFEST, &bytes)
            };
            images.push((record, descriptor, bytes));
        }
        let index = several.then(|| index(images.iter().map(|(_, at, _)| at.clone()), of(Place::Index, None)));
        Ok(Layout { images, index, outside: of(Place::IndexDescriptor, None) })
    }

    /// What names all of it: the index, or the only manifest.
    #[must_use]
    pub fn top(&self) -> Descriptor {
        match (&self.index, self.images.first()) {
            (Some((descriptor, _)), _) | (None, Some((_, descriptor, _))) => descriptor.clone(),
            (None, None) => Descriptor::of(media_type::OCI_INDEX, b""),
        }
    }

    /// The image that the name stands for here: this machine's, or the first.
    #[must_use]
    pub fn main(&self) -> Option<&ImageRecord> {
        let host = Platform::host();
        let own =
            self.images.iter().find(|(_, at, _)| at.platform.as_ref().is_some_and(|platform| host.accepts(platform)));
        own.or(self.images.first()).map(|(record, ..)| record)
    }

    /// The layers, each once.
    #[must_use]
    pub fn layers(&self) -> Vec<Digest> {
        let mut seen = BTreeSet::new();
        let all = self.images.iter().flat_map(|(record, ..)| &record.layers);
        all.filter(|layer| seen.insert(**layer)).copied().collect()
    }

    /// Records the images, and gives the names to the main one.
    pub fn add(&self, engine: &Engine, tags: &[Reference]) -> Result<()> {
        let failed = |error| Error::system("record the image", error);
        let tags: Vec<Reference> = tags.iter().map(Reference::with_default_tag).collect();
        let top = self.top();
        let main = self.main().map(|record| record.id);
        let mut repo_digests: Vec<String> = tags.iter().map(|tag| format!("{}@{}", tag.name(), top.digest)).collect();
        repo_digests.dedup();
        for (record, manifest, bytes) in &self.images {
            let content = engine.store.content();
            let mut blobs = Vec::new();
            for bytes in self.index.iter().map(|(_, bytes)| bytes).chain([bytes, &record.raw_config]) {
                content.put(bytes).map_err(failed)?;
            }
            blobs.extend(self.index.iter().map(|(descriptor, _)| descriptor.clone()));
            let mut own = Descriptor { platform: None, annotations: BTreeMap::new(), ..manifest.clone() };
            own.annotations.insert(MADE_HERE.into(), "uncompressed".into());
            blobs.push(own);
            blobs.push(Descriptor::of(media_type::OCI_CONFIG, &record.raw_config));
            let record = ImageRecord {
                manifest: Some(manifest.digest),
                blobs,
                repo_digests: repo_digests.clone(),
                ..record.clone()
            };
            let tags = if main == Some(record.id) { tags.as_slice() } else { &[] };
            engine.store.images().create_tagged(&record, tags).map_err(failed)?;
            names_changed(engine);
            let id = record.id.to_string();
            publish(engine, "create", &id, &id, Some(&record));
            for tag in tags {
                publish(engine, "tag", &id, &tag.familiar(), Some(&record));
            }
        }
        Ok(())
    }

    /// Pushes all of it under a name.
    pub fn push(
        &self,
        engine: &Engine,
        reference: &Reference,
        auth: Option<RegistryAuth>,
        cancel: &Cancel,
        emit: &mut dyn FnMut(Progress),
    ) -> Result<Pushed> {
        let pushed =
            artifact::push(engine, reference, &self.layers(), auth, &|blobs| self.documents(blobs), cancel, emit)?;
        let name = format!("{}@{}", reference.name(), pushed.digest);
        for (record, ..) in &self.images {
            // Those that are recorded are known by it from now on.
            if let Ok(known) = engine.store.images().get(&record.id) {
                let record = ImageRecord { repo_digests: vec![name.clone()], ..known };
                engine.store.images().create(&record).map_err(|error| Error::system("record the image", error))?;
            }
        }
        names_changed(engine);
        Ok(pushed)
    }

    /// Annotations of what names all of it, where a layout names it.
    #[must_use]
    pub fn outside(&self) -> &BTreeMap<String, String> {
        &self.outside
    }

    /// The documents with the layers' blobs in them; the last one names all of it.
    #[must_use]
    pub fn documents(&self, blobs: &BTreeMap<Digest, Descriptor>) -> Documents {
        let mut documents = Documents::default();
        let mut entries = Vec::new();
        for (record, descriptor, bytes) in &self.images {
            documents.blobs.push((media_type::OCI_CONFIG.into(), record.raw_config.clone()));
            let manifest = serde_json::from_slice::<Manifest>(bytes).map(|mut manifest| {
                for layer in &mut manifest.layers {
                    if let Some(blob) = blobs.get(&layer.digest) {
                        *layer = blob.clone();
                    }
                }
                to_json(&manifest)
            });
            let bytes = manifest.unwrap_or_else(|_| bytes.clone());
            let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
            entries.push(Descriptor { digest, size, ..descriptor.clone() });
            documents.manifests.push((media_type::OCI_MANIFEST.into(), bytes));
        }
        if let Some((_, bytes)) = &self.index {
            let annotations = serde_json::from_slice::<Index>(bytes).map(|index| index.annotations).unwrap_or_default();
            documents.manifests.push((media_type::OCI_INDEX.into(), index(entries, annotations).1));
        }
        documents
    }
}

/// The documents of an image that was made here under some, if all that they name is here. Without `whole` those of this
/// image alone.
pub(super) fn of(engine: &Engine, image: &ImageRecord, whole: bool) -> Option<Layout> {
    let content = engine.store.content();
    let read = |record: &ImageRecord| {
        let own = record.manifest?;
        let descriptor = record.blobs.iter().find(|blob| blob.digest == own)?;
        descriptor.annotations.get(MADE_HERE)?;
        Some((record.clone(), content.read(&own, LIMIT).ok()?))
    };
    let (record, bytes) = read(image)?;
    let single = |record: &ImageRecord, bytes: Vec<u8>, at: Descriptor| Layout {
        images: vec![(record.clone(), at, bytes)],
        index: None,
        outside: BTreeMap::new(),
    };
    let own = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
    let Some(top) = image.blobs.iter().find(|blob| media_type::is_index(&blob.media_type)).filter(|_| whole) else {
        return Some(single(&record, bytes, own));
    };
    let index_bytes = content.read(&top.digest, LIMIT).ok()?;
    let list: Index = serde_json::from_slice(&index_bytes).ok()?;
    let all = engine.store.images().list().ok()?;
    let mut images = Vec::new();
    for entry in list.manifests {
        let found = all.iter().find(|other| other.manifest == Some(entry.digest)).and_then(read);
        // Without one of them it is no longer what the index says.
        let Some((record, bytes)) = found else { return Some(single(&record, bytes, own)) };
        images.push((record, entry, bytes));
    }
    Some(Layout { images, index: Some((top.clone(), index_bytes)), outside: BTreeMap::new() })
}

fn index(
    entries: impl IntoIterator<Item = Descriptor>,
    annotations: BTreeMap<String, String>,
) -> (Descriptor, Vec<u8>) {
    let bytes = to_json(&Index {
        schema_version: 2,
        media_type: media_type::OCI_INDEX.into(),
        artifact_type: None,
        manifests: entries.into_iter().collect(),
        subject: None,
        annotations,
    });
    (Descriptor::of(media_type::OCI_INDEX, &bytes), bytes)
}

fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("names, digests and numbers are plain JSON")
}
