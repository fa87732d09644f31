//! Layers: one EROFS image for each, named by the digest of its tar (diffID).

mod attached;
mod feed;
mod mount;
mod write;

pub use write::{LayerWriter, WrittenLayer};

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use keeper::Keeper;
use oci::Digest;

use crate::disk;
use crate::erofs::{LABEL_LEN, Label};
use crate::error::{Error, Result};
use crate::lease::Leases;

const EXTENSION: &str = "erofs";

/// The layers of a store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Layers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    leases: Arc<Leases>,
    keeper: Option<Keeper>,
    /// Mounts that this process has a descriptor of.
    mounts: Mutex<HashMap<Digest, OwnedFd>>,
    /// Whether overlayfs takes mounts that are attached nowhere. Asked of the kernel, not read off its version.
    detached: OnceLock<bool>,
}

/// What is known of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerInfo {
    pub diff_id: Digest,
    /// Bytes of all regular files in it, each counted once.
    pub content: u64,
    /// Bytes of the layer's file.
    pub disk: u64,
}

impl Layers {
    pub(crate) fn prepare(root: &Path, leases: &Arc<Leases>, keeper: Option<Keeper>) -> Result<Layers> {
        let directory = root.join("layers");
        disk::ensure_directory(&directory)?;
        disk::sweep(&directory)?;
        let leases = Arc::clone(leases);
        Ok(Layers(Arc::new(Shared { directory, leases, keeper, mounts: Mutex::default(), detached: OnceLock::new() })))
    }

    fn path(&self, diff_id: &Digest) -> PathBuf {
        self.0.directory.join(format!("{}.{EXTENSION}", diff_id.hex()))
    }

    /// Is the layer there?
    pub fn has(&self, diff_id: &Digest) -> bool {
        self.0.leases.noting(diff_id, || self.path(diff_id).exists())
    }

    /// What is known of a layer.
    ///
    /// # Errors
    /// [`Error::NoLayer`]
    pub fn info(&self, diff_id: &Digest) -> Result<LayerInfo> {
        let path = self.path(diff_id);
        let file = self.0.leases.noting(diff_id, || File::open(&path)).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::NoLayer { diff_id: *diff_id },
            _ => Error::Io { op: "open", path: path.clone(), source },
        })?;
        let disk = file.metadata().map_err(Error::io("look at", &path))?.len();
        let mut label = [0; LABEL_LEN];
        file.read_exact_at(&mut label, 0).map_err(Error::io("read", &path))?;
        let label = Label::decode(&label).ok_or_else(|| Error::Broken {
            what: "layer",
            detail: format!("{} does not begin with a label", path.display()),
        })?;
        Ok(LayerInfo { diff_id: *diff_id, content: label.content, disk })
    }

    /// Bytes of all regular files in a layer.
    pub fn size(&self, diff_id: &Digest) -> Result<u64> {
        self.info(diff_id).map(|info| info.content)
    }

    /// All layers, in no order.
    pub fn list(&self) -> Result<Vec<Digest>> {
        let directory = &self.0.directory;
        let mut layers = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(Error::io("list", directory))? {
            let name = entry.map_err(Error::io("list", directory))?.file_name();
            let hex = name.to_str().and_then(|name| name.strip_suffix(EXTENSION)?.strip_suffix('.'));
            layers.extend(hex.and_then(|hex| Digest::from_hex(hex).ok()));
        }
        Ok(layers)
    }

    /// Begins a new layer.
    pub fn writer(&self) -> Result<LayerWriter> {
        LayerWriter::create(self.clone())
    }

    /// Lets go of a layer's mount and removes its file; says whether it was there. What still has the mount, a
    /// running container, keeps it.
    pub fn remove(&self, diff_id: &Digest) -> Result<bool> {
        self.release(diff_id);
        disk::remove(&self.path(diff_id))
    }

    /// Sets a layer aside unless it is in use; its blocks are freed by [`disk::remove`].
    pub(crate) fn retire(&self, diff_id: &Digest) -> Result<Option<PathBuf>> {
        let retired =
            self.0.leases.unless_used(diff_id, || disk::set_aside(&self.path(diff_id))).unwrap_or(Ok(None))?;
        if retired.is_some() {
            self.release(diff_id);
        }
        Ok(retired)
    }
}
