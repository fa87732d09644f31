//! From tar bytes to a committed layer, in one pass.

use std::fs::File;
use std::io::Read;

use oci::Digest;

use super::Layers;
use super::feed::{Fed, pair};
use crate::disk::Temporary;
use crate::erofs;
use crate::error::{Error, LayerError, Result};
use crate::split::SplitWriter;

/// A layer that has no bytes yet. Dropped before the commit, nothing is left of it.
#[derive(Debug)]
pub struct LayerWriter {
    layers: Layers,
    layer: (Temporary, File),
    split: (Temporary, File),
}

/// A layer that is written but has no name yet. Dropped before the commit, nothing is left of it.
#[derive(Debug)]
pub struct WrittenLayer {
    layers: Layers,
    layer: (Temporary, File),
    split: (Temporary, File),
    diff_id: Digest,
    content: u64,
    tar_size: u64,
}

impl LayerWriter {
    pub(super) fn create(layers: Layers) -> Result<LayerWriter> {
        let layer = layers.0.disk.create(&layers.0.directory)?;
        let split = layers.0.disk.create(&layers.0.directory)?;
        Ok(LayerWriter { layers, layer, split })
    }

    /// Reads an uncompressed tar to its end; computes its digest and writes the layer on the way. `tar` is read on
    /// this thread, the rest is done by another one.
    ///
    /// # Errors
    /// [`Error::Source`] when `tar` cannot be read, [`Error::Layer`] when it is not a tar that a layer can hold.
    pub fn write_tar(self, tar: impl Read) -> Result<WrittenLayer> {
        let LayerWriter { layers, layer: (layer_name, file), split: (split_name, split) } = self;
        let failed = |source| Error::Layer(LayerError::Write(source));
        let split = SplitWriter::new(split).map_err(failed)?;
        let (feed, fed) = pair();
        let written = std::thread::scope(|scope| {
            let writer = std::thread::Builder::new()
                .name("layer".to_owned())
                .spawn_scoped(scope, move || erofs::write(fed, file, split, |fed: &Fed| fed.digest().0))
                .map_err(Error::io("start a thread for", &layers.0.directory))?;
            feed.pump(tar);
            match writer.join() {
                Ok(written) => written.map_err(classify),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })?;
        let (diff_id, tar_size) = written.source.digest();
        let split = (split_name, written.split.seal(&diff_id).map_err(failed)?);
        let layer = (layer_name, written.file);
        Ok(WrittenLayer { layers, layer, split, diff_id, content: written.label.content, tar_size })
    }
}

/// A source that failed is told from a tar that is wrong.
fn classify(error: LayerError) -> Error {
    match error {
        LayerError::Tar(archive::tar::Error::Read(source)) => Error::Source(source),
        error => Error::Layer(error),
    }
}

impl WrittenLayer {
    /// Digest of the uncompressed tar.
    pub fn diff_id(&self) -> &Digest {
        &self.diff_id
    }

    /// The image, under its temporary name.
    pub(crate) fn image(&self) -> &File {
        &self.layer.1
    }

    /// Bytes of all regular files.
    pub fn content(&self) -> u64 {
        self.content
    }

    /// Bytes of the uncompressed tar.
    pub fn tar_size(&self) -> u64 {
        self.tar_size
    }

    /// Gives the layer its name, the diffID: durable as soon as an image is recorded. Gives that, and the bytes of all regular files. A layer that is
    /// there already stays as it is.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`] when the diffID is not `expected`; nothing is left then.
    pub fn commit(self, expected: Option<&Digest>) -> Result<(Digest, u64)> {
        let diff_id = self.diff_id;
        if let Some(expected) = expected
            && *expected != diff_id
        {
            return Err(Error::DigestMismatch { expected: *expected, actual: diff_id });
        }
        if !self.layers.has(&diff_id) {
            self.layers.0.leases.wrote(&diff_id);
            let ((layer_name, layer), (split_name, split)) = (self.layer, self.split);
            // Whichever of the two names a crash leaves alone, the next start removes.
            split_name.rename(&split, &self.layers.split_path(&diff_id))?;
            layer_name.rename(&layer, &self.layers.path(&diff_id))?;
            // Nobody may be able to write to what is sealed.
            drop((layer, split));
            self.layers.seal(&diff_id);
        }
        Ok((diff_id, self.content))
    }
}

impl Layers {
    /// Where the file system has fs-verity, no byte of a layer changes from now on without an error on reading it. A
    /// layer without is as good, and found out by looking at all of it (`system verify`).
    fn seal(&self, diff_id: &Digest) {
        for path in [self.path(diff_id), self.split_path(diff_id)] {
            match File::open(&path).and_then(|file| sys::verity::seal(&file)) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => tracing::warn!(path = %path.display(), %error, "cannot seal a layer by fs-verity"),
            }
        }
    }
}
