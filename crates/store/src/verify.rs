//! Checks every byte of what is stored.
//!
//! ```text
//! blob:   its bytes ──digest──▶ its name
//! layer:  image + split ──▶ tar ──digest──▶ its name          contents, headers
//!                            └──▶ a second image ══ the first  inodes, names, attributes
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use oci::{Digest, DigestHasher};

use crate::Store;
use crate::erofs::Label;
use crate::error::{Error, Result};

/// Bytes that are read at once.
const BUFFER: usize = 1 << 20;

/// Something that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// `blob`, `layer` or `image`.
    pub kind: &'static str,
    pub digest: Digest,
    /// Bytes that were read.
    pub bytes: u64,
    /// What is wrong with it.
    pub problem: Option<String>,
}

impl Store {
    /// Checks all blobs, layers and images, one after the other, and tells `each`; it says whether to go on. Takes as
    /// long as reading everything does.
    ///
    /// # Errors
    /// Only where the store cannot be listed: what is wrong with one thing is told.
    pub fn verify(&self, mut each: impl FnMut(Checked) -> bool) -> Result<()> {
        let lease = self.lease();
        for image in self.images().list()? {
            let missing = image.layers.iter().find(|layer| !self.layers().has(layer));
            let manifest = image.manifest.filter(|manifest| !self.content().has(manifest));
            let problem = match (missing, manifest) {
                (Some(layer), _) => Some(format!("its layer {layer} is missing")),
                (None, Some(manifest)) => Some(format!("its manifest {manifest} is missing")),
                (None, None) => None,
            };
            if !each(Checked { kind: "image", digest: image.id, bytes: image.raw_config.len() as u64, problem }) {
                return Ok(());
            }
        }
        for (digest, bytes) in self.content().list()? {
            let problem = self.check_blob(&digest).err().map(|error| chain(&error));
            if !each(Checked { kind: "blob", digest, bytes, problem }) {
                return Ok(());
            }
        }
        for digest in self.layers().list()? {
            let (bytes, problem) = match self.check_layer(&digest) {
                Ok(bytes) => (bytes, None),
                Err(error) => (0, Some(chain(&error))),
            };
            if !each(Checked { kind: "layer", digest, bytes, problem }) {
                break;
            }
        }
        drop(lease);
        Ok(())
    }

    fn check_blob(&self, digest: &Digest) -> Result<()> {
        let mut file = self.content().open(digest)?;
        let mut hasher = DigestHasher::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => hasher.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Source(source)),
            }
        }
        match hasher.finish() {
            actual if actual == *digest => Ok(()),
            actual => Err(Error::DigestMismatch { expected: *digest, actual }),
        }
    }

    /// Bytes that were read.
    fn check_layer(&self, digest: &Digest) -> Result<u64> {
        let (file, label) = self.layers().image(digest)?;
        let mut tar = self.layers().tar(digest)?;
        if label.version != Label::VERSION {
            // Another form: the same tar makes another image now, so only what the tar has can be checked.
            return io::copy(&mut tar, &mut io::sink()).map_err(Error::Source);
        }
        let again = self.layers().writer()?.write_tar(tar)?;
        if !same(&file, again.image()).map_err(Error::Source)? {
            return Err(Error::Damaged { diff_id: *digest });
        }
        file.metadata().map(|metadata| metadata.len()).map_err(Error::Source)
    }
}

/// Have two files the same bytes?
fn same(one: &File, other: &File) -> io::Result<bool> {
    let length = one.metadata()?.len();
    if other.metadata()?.len() != length {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; BUFFER], vec![0; BUFFER]);
    let mut offset = 0;
    while offset < length {
        let count = usize::try_from(length - offset).unwrap_or(usize::MAX).min(BUFFER);
        one.read_exact_at(&mut left[..count], offset)?;
        other.read_exact_at(&mut right[..count], offset)?;
        if left[..count] != right[..count] {
            return Ok(false);
        }
        offset += count as u64;
    }
    Ok(true)
}

/// An error with its sources.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
