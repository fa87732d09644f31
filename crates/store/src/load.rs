//! `docker load`: archives of images, as `docker save` writes them (`manifest.json`) or as an OCI layout
//! (`index.json`).
//!
//! The archive is a stream, and layers may come before what names them. So each member is judged by its first bytes:
//! a layer is written as one at once, a small document is kept in memory, anything else is skipped. When the stream
//! has ended, the manifest says what belongs together; only then are layers committed.

mod collect;
mod docker;
mod layout;

use std::io::Read;

use oci::{Digest, ImageConfig, Platform, Reference};

use crate::Store;
use crate::error::{Error, Result};
use crate::image::ImageRecord;
use collect::Collected;

/// Largest manifest or config, in bytes.
const MAX_DOCUMENT: u64 = 4 << 20;
/// Most layers of one image (overlayfs takes 500; Docker's limit is 127).
const MAX_LAYERS: usize = 127;

/// An image of an archive, in the store now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub id: Digest,
    /// The tags it came with.
    pub references: Vec<Reference>,
}

/// An image as the archive describes it.
struct Wanted {
    raw_config: Vec<u8>,
    config: ImageConfig,
    /// Members of the archive that hold the layers, base first.
    layers: Vec<String>,
    references: Vec<Reference>,
}

impl Store {
    /// Loads all images of an archive (gzip, zstd, bzip2 and xz are recognised, outside and inside).
    ///
    /// # Errors
    /// [`Error::Archive`] says what is wrong with it; no image of it is recorded then.
    pub fn load(&self, archive: impl Read) -> Result<Vec<Loaded>> {
        self.load_for(archive, &[])
    }

    /// The same, but with `platforms` only what is for one of these. Without: everything of a Docker archive, and of an
    /// index the image that suits this machine best.
    pub fn load_for(&self, archive: impl Read, platforms: &[Platform]) -> Result<Vec<Loaded>> {
        let lease = self.lease();
        let archive = archive::decompress(archive).map_err(Error::Source)?;
        let mut collected = Collected::read(self, archive)?;
        let wanted = if collected.document("manifest.json").is_some() {
            docker::plan(&collected, platforms)?
        } else if collected.document("index.json").is_some() {
            layout::plan(&collected, platforms)?
        } else {
            return Err(Error::archive("it has neither manifest.json nor index.json"));
        };
        let records: Vec<(ImageRecord, Vec<Reference>)> =
            wanted.into_iter().map(|image| self.take(&mut collected, image)).collect::<Result<_>>()?;
        let mut loaded = Vec::new();
        for (record, references) in records {
            self.images().create_tagged(&record, &references)?;
            loaded.push(Loaded { id: record.id, references });
        }
        drop(lease);
        Ok(loaded)
    }

    /// Commits the layers of one image.
    fn take(&self, collected: &mut Collected, image: Wanted) -> Result<(ImageRecord, Vec<Reference>)> {
        let Wanted { raw_config, config, layers, references } = image;
        let diff_ids = config.rootfs.diff_ids.clone();
        if diff_ids.len() != layers.len() {
            let (expected, actual) = (diff_ids.len(), layers.len());
            return Err(Error::archive(format!(
                "invalid manifest, layers length mismatch: expected {expected}, got {actual}"
            )));
        }
        if layers.len() > MAX_LAYERS {
            return Err(Error::archive(format!("{} layers, the limit is {MAX_LAYERS}", layers.len())));
        }
        let mut size = 0;
        for (diff_id, name) in diff_ids.iter().zip(&layers) {
            collected.commit(self, name, diff_id)?;
            size += self.layers().size(diff_id)?;
        }
        let record = ImageRecord {
            id: Digest::of(&raw_config),
            created: config.created.clone().unwrap_or_default(),
            layers: diff_ids,
            config,
            raw_config,
            manifest: None,
            blobs: Vec::new(),
            size,
            repo_digests: Vec::new(),
        };
        Ok((record, references))
    }
}

/// Is an image for one of these? None at all means that any will do.
fn is_wanted(config: &ImageConfig, platforms: &[Platform]) -> bool {
    platforms.is_empty() || platforms.iter().any(|wanted| wanted.rank(&config.platform()) == Some(0))
}

fn shown(platforms: &[Platform]) -> String {
    platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn parse_config(name: &str, bytes: &[u8]) -> Result<ImageConfig> {
    ImageConfig::from_bytes(bytes).map_err(|error| Error::archive(format!("config {name:?}: {error}")))
}
