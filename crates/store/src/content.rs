//! Blobs by digest: an OCI layout's `blobs/sha256` that other tools can read.

mod partial;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci::{Digest, DigestHasher};

use crate::disk::{self, Disk, Temporary};
use crate::error::{Error, Result};
use crate::lease::Leases;
use crate::writeback::Writeback;

pub use partial::Partial;

/// The blobs of a store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Content {
    blobs: PathBuf,
    ingest: PathBuf,
    disk: Disk,
    leases: Arc<Leases>,
}

impl Content {
    pub(crate) fn prepare(root: &Path, disk: &Disk, leases: &Arc<Leases>) -> Result<Content> {
        let content = root.join("content");
        let (blobs, ingest) = (content.join("blobs").join("sha256"), content.join("ingest"));
        disk::ensure_directory(&blobs)?;
        disk::ensure_directory(&ingest)?;
        disk.sweep(&ingest)?;
        Content::sweep_partials(&ingest)?;
        disk.sweep(&blobs)?;
        Ok(Content { blobs, ingest, disk: disk.clone(), leases: Arc::clone(leases) })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }

    /// Is the blob there?
    pub fn has(&self, digest: &Digest) -> bool {
        self.leases.noting(digest, || self.path(digest).exists())
    }

    /// Bytes of a blob; `None` when it is not there.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let path = self.path(digest);
        self.leases.noting(digest, || match std::fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Io { op: "look at", path: path.clone(), source }),
        })
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// [`Error::NoBlob`]
    pub fn open(&self, digest: &Digest) -> Result<File> {
        let path = self.path(digest);
        self.leases.noting(digest, || match File::open(&path) {
            Ok(file) => Ok(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::NoBlob { digest: *digest }),
            Err(source) => Err(Error::Io { op: "open", path: path.clone(), source }),
        })
    }

    /// A whole blob of at most `limit` bytes.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let file = self.open(digest)?;
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(Error::io("read", self.path(digest)))?;
        if bytes.len() as u64 > limit {
            let size = self.size(digest)?.unwrap_or(0);
            return Err(Error::BlobTooLarge { digest: *digest, size, limit });
        }
        Ok(bytes)
    }

    /// Begins a new blob.
    pub fn writer(&self) -> Result<BlobWriter> {
        let (temporary, file) = self.disk.create(&self.ingest)?;
        Ok(BlobWriter {
            content: self.clone(),
            temporary,
            file,
            hasher: DigestHasher::new(),
            size: 0,
            writeback: Writeback::default(),
        })
    }

    /// A file of its own for a blob that another writer is at.
    fn scratch(&self) -> Result<(PathBuf, File)> {
        let (temporary, file) = self.disk.create(&self.ingest)?;
        Ok((temporary.leave(), file))
    }

    /// Gives a file in `ingest` the name of the blob `digest`, its data being durable.
    fn name(&self, path: &Path, file: &File, digest: &Digest) -> Result<()> {
        self.disk.adopt(path).rename(file, &self.path(digest))
    }

    /// Stores bytes that are at hand, and gives their digest.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        if !self.has(&digest) {
            let mut writer = self.writer()?;
            writer.write_all(bytes).map_err(Error::io("write", &self.ingest))?;
            writer.commit(&digest)?;
        }
        Ok(digest)
    }

    /// Removes a blob; says whether it was there.
    pub fn remove(&self, digest: &Digest) -> Result<bool> {
        self.disk.discard(&self.path(digest)).map(|size| size.is_some())
    }

    /// All blobs with their sizes in bytes, in no order.
    pub fn list(&self) -> Result<Vec<(Digest, u64)>> {
        let mut blobs = Vec::new();
        for entry in std::fs::read_dir(&self.blobs).map_err(Error::io("list", &self.blobs))? {
            let entry = entry.map_err(Error::io("list", &self.blobs))?;
            let Some(digest) = entry.file_name().to_str().and_then(|name| Digest::from_hex(name).ok()) else {
                continue;
            };
            match entry.metadata() {
                Ok(metadata) => blobs.push((digest, metadata.len())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::Io { op: "look at", path: entry.path(), source }),
            }
        }
        Ok(blobs)
    }

    /// Removes a blob unless it is in use; the bytes it took on the disk.
    pub(crate) fn retire(&self, digest: &Digest) -> Result<Option<u64>> {
        self.leases.unless_used(digest, || self.disk.discard(&self.path(digest))).unwrap_or(Ok(None))
    }
}

/// A blob while it is written. Dropped before [`BlobWriter::commit`], nothing is left of it.
#[derive(Debug)]
pub struct BlobWriter {
    content: Content,
    temporary: Temporary,
    file: File,
    hasher: DigestHasher,
    size: u64,
    writeback: Writeback,
}

impl BlobWriter {
    /// Checks the digest of all bytes written, and gives the blob its name: durable as soon as an image is recorded. Gives
    /// its size.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`]; nothing is left then.
    pub fn commit(self, expected: &Digest) -> Result<u64> {
        let actual = self.hasher.finish();
        if actual != *expected {
            return Err(Error::DigestMismatch { expected: *expected, actual });
        }
        self.content.leases.wrote(expected);
        self.temporary.rename(&self.file, &self.content.path(expected))?;
        Ok(self.size)
    }

    /// Digest of the bytes written so far.
    pub fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// The file as it grows, for reading what has been written. It stays readable after [`BlobWriter::commit`].
    pub fn reader(&self) -> Result<File> {
        self.file.try_clone().map_err(Error::io("open", &self.content.ingest))
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.size
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        self.writeback.advance(&self.file, self.size);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
