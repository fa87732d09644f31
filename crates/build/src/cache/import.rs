//! Steps that other machines have done: found by their keys, their layers fetched when one is needed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;

use engine::image::{artifact, built};
use engine::{Cancel, Engine};
use oci::{Descriptor, Digest, DigestHasher, ImageConfig, Index, Manifest, Platform, Reference};
use rustix::fs::OFlags;

use super::Entry;
use super::document::{self, Foreign};
use crate::error::{Error, Result};
use crate::request::Client;

/// Layers up to this size may be compressed at any ratio.
const SMALL: u64 = 1 << 30;

/// Nothing compresses better than this in gzip.
const RATIO: u64 = 1100;

/// Where the blobs of a cache are.
pub trait Blobs: Send + Sync {
    /// Writes a blob; whoever asked for it checks it.
    fn fetch(&self, blob: &Descriptor, cancel: &Cancel, into: &mut dyn Write) -> Result<()>;
}

/// The steps of one cache.
pub struct Import {
    steps: HashMap<Digest, Foreign>,
    blobs: Arc<dyn Blobs>,
}

impl Import {
    /// The steps of a cache's manifest or index; `None` if the document is none.
    pub fn of_document(document: &[u8], blobs: Arc<dyn Blobs>, cancel: &Cancel) -> Result<Option<Import>> {
        let Some((config, layers)) = document::open(document)? else { return Ok(None) };
        let config = small(&*blobs, &config, cancel)?;
        Ok(Some(Import::of_steps(document::read(&config, &layers)?, blobs)))
    }

    fn of_steps(steps: Vec<Foreign>, blobs: Arc<dyn Blobs>) -> Import {
        Import { steps: steps.into_iter().map(|step| (step.key, step)).collect(), blobs }
    }

    /// A cache of a registry, or an image with an inline cache, there or here.
    pub fn of_registry(
        engine: &Arc<Engine>,
        name: &str,
        platform: &Platform,
        client: &dyn Client,
        cancel: &Cancel,
    ) -> Result<Import> {
        let reference = Reference::parse(name).map_err(|error| Error::Invalid(error.to_string()))?.with_default_tag();
        if let Some(import) = Import::of_local_image(engine, name, platform)? {
            return Ok(import);
        }
        let auth = client.credentials(&reference.domain);
        let blobs: Arc<dyn Blobs> =
            Arc::new(OfRegistry { engine: Arc::clone(engine), reference: reference.clone(), auth: auth.clone() });
        let found = artifact::manifest(engine, &reference, auth.clone(), cancel)?;
        if let Some(import) = Import::of_document(&found.bytes, Arc::clone(&blobs), cancel)? {
            return Ok(import);
        }
        let broken = |error| Error::system("read the manifest of a cache", error);
        let mut bytes = found.bytes;
        if let Ok(index) = serde_json::from_slice::<Index>(&bytes)
            && let Some(entry) = index.choose(platform)
        {
            let one = Reference::parse(&format!("{}@{}", reference.name(), entry.digest))
                .map_err(|error| Error::Invalid(error.to_string()))?;
            bytes = artifact::manifest(engine, &one, auth, cancel)?.bytes;
        }
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(broken)?;
        let config = ImageConfig::from_bytes(&small(&*blobs, &manifest.config, cancel)?).map_err(broken)?;
        let steps = match &config.cache {
            Some(inline) if config.rootfs.diff_ids.len() == manifest.layers.len() => {
                document::read_inline(inline, &config.rootfs.diff_ids, &manifest.layers)?
            }
            _ => Vec::new(),
        };
        Ok(Import::of_steps(steps, blobs))
    }

    /// The inline cache of an image that is here.
    pub fn of_local_image(engine: &Engine, name: &str, platform: &Platform) -> Result<Option<Import>> {
        let Some(image) = built::local(engine, name, platform)? else { return Ok(None) };
        let Some(inline) = &image.config.cache else { return Ok(None) };
        let blobs: Vec<Descriptor> = image.layers.iter().map(|layer| Descriptor::new("", *layer, 0)).collect();
        let steps = document::read_inline(inline, &image.layers, &blobs)?;
        Ok(Some(Import::of_steps(steps, Arc::new(Nowhere))))
    }

    /// How many steps it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// A step, once its layer is here. What cannot be fetched is as good as unknown.
    pub fn find(&self, engine: &Engine, key: &Digest, cancel: &Cancel) -> Option<Entry> {
        let step = self.steps.get(key)?;
        match bring(engine, &*self.blobs, &step.layer, &step.blob, cancel) {
            Ok(size) => {
                let now = logs::time::now_ns();
                Some(Entry {
                    layer: step.layer,
                    size,
                    created: if step.created == 0 { now } else { step.created },
                    used: now,
                    uses: 1,
                    description: step.description.clone(),
                    parent: None,
                })
            }
            Err(error) => {
                tracing::warn!(layer = %step.layer, %error, "a layer of an imported build cache");
                None
            }
        }
    }
}

/// Brings a layer into the store, unless it is there; its size.
pub(crate) fn bring(
    engine: &Engine,
    blobs: &dyn Blobs,
    layer: &Digest,
    blob: &Descriptor,
    cancel: &Cancel,
) -> Result<u64> {
    let layers = engine.store().layers();
    let failed = |error: store::Error| Error::system("take a layer from elsewhere", error);
    if layers.has(layer) {
        return layers.size(layer).map_err(failed);
    }
    let file = checked(engine, blobs, blob, cancel)?;
    let tar =
        archive::decompress(file).map_err(|error: io::Error| Error::system("take a layer from elsewhere", error))?;
    let limit = blob.size.saturating_mul(RATIO).max(SMALL);
    let written = layers.writer().and_then(|writer| writer.write_tar(Bounded { inner: tar, left: limit }));
    let (_, size) = written.and_then(|written| written.commit(Some(layer))).map_err(failed)?;
    Ok(size)
}

/// A blob that fits into memory.
pub(crate) fn small(blobs: &dyn Blobs, blob: &Descriptor, cancel: &Cancel) -> Result<Vec<u8>> {
    if blob.size > document::MAX_CONFIG {
        return Err(Error::Invalid(format!("the document {} has {} bytes", blob.digest, blob.size)));
    }
    let mut into = Checked { to: Vec::new(), left: blob.size, hasher: DigestHasher::new() };
    blobs.fetch(blob, cancel, &mut into)?;
    into.check(blob)
}

/// A blob in a file without a name.
fn checked(engine: &Engine, blobs: &dyn Blobs, blob: &Descriptor, cancel: &Cancel) -> Result<File> {
    let failed = |error: io::Error| Error::system("fetch a layer", error);
    let file = nameless(engine).map_err(failed)?;
    let mut into = Checked { to: file, left: blob.size, hasher: DigestHasher::new() };
    blobs.fetch(blob, cancel, &mut into)?;
    let mut file = into.check(blob)?;
    file.rewind().map_err(failed)?;
    Ok(file)
}

/// A file of the data root that has no name.
pub fn nameless(engine: &Engine) -> io::Result<File> {
    let folder = engine.config().data_root.join("build");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(&folder, flags, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?))
}

/// Takes no more than was declared, and knows its digest.
struct Checked<W> {
    to: W,
    left: u64,
    hasher: DigestHasher,
}

impl<W: Write> Write for Checked<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "larger than declared"))?;
        self.to.write_all(bytes)?;
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl<W> Checked<W> {
    fn check(self, blob: &Descriptor) -> Result<W> {
        let digest = self.hasher.finish();
        if self.left > 0 || digest != blob.digest {
            return Err(Error::Invalid(format!("the blob {} is {digest}", blob.digest)));
        }
        Ok(self.to)
    }
}

/// Ends with an error behind so many bytes.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        let left = self.left.checked_sub(length as u64);
        self.left =
            left.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it grows too much when unpacked"))?;
        Ok(length)
    }
}

struct OfRegistry {
    engine: Arc<Engine>,
    reference: Reference,
    auth: Option<api::image::RegistryAuth>,
}

impl Blobs for OfRegistry {
    fn fetch(&self, blob: &Descriptor, cancel: &Cancel, into: &mut dyn Write) -> Result<()> {
        Ok(artifact::blob(&self.engine, &self.reference, &blob.digest, self.auth.clone(), cancel, into)?)
    }
}

/// For layers that are here, or nowhere.
struct Nowhere;

impl Blobs for Nowhere {
    fn fetch(&self, blob: &Descriptor, _: &Cancel, _: &mut dyn Write) -> Result<()> {
        Err(Error::NotFound { path: blob.digest.to_string() })
    }
}
