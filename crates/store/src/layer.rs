//! Layers: one EROFS image for each, named by the digest of its tar (diffID), and beside it what the tar had besides.

mod attached;
mod directory;
mod feed;
mod mount;
mod write;

pub use directory::Form;
pub use write::{LayerWriter, WrittenLayer};

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};

use keeper::Keeper;
use oci::Digest;

use crate::disk::{self, Disk};
use crate::erofs::{LABEL_LEN, Label};
use crate::error::{Error, Result};
use crate::lease::Leases;
use crate::split::LayerTar;

const EXTENSION: &str = "erofs";
const SPLIT: &str = "split";

/// The layers of a store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Layers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    disk: Disk,
    leases: Arc<Leases>,
    keeper: Option<Keeper>,
    /// Mounts that this process has a descriptor of.
    mounts: Mutex<HashMap<Digest, OwnedFd>>,
    /// Whether overlayfs takes mounts that are attached nowhere. Asked of the kernel, not read off its version.
    detached: OnceLock<bool>,
    form: Form,
    /// The kernel was asked for EROFS and has none.
    no_erofs: AtomicBool,
    /// Held while a layer is made a directory.
    unpacking: Mutex<()>,
}

/// What is known of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerInfo {
    pub diff_id: Digest,
    /// Bytes of all regular files in it, each counted once.
    pub content: u64,
    /// Bytes that the layer's files take on the disk.
    pub disk: u64,
}

impl Layers {
    pub(crate) fn prepare(
        root: &Path,
        disk: &Disk,
        leases: &Arc<Leases>,
        keeper: Option<Keeper>,
        form: Form,
    ) -> Result<Layers> {
        let directory = root.join("layers");
        disk::ensure_directory(&directory)?;
        disk.sweep(&directory)?;
        let (disk, leases) = (disk.clone(), Arc::clone(leases));
        Ok(Layers(Arc::new(Shared {
            directory,
            disk,
            leases,
            keeper,
            mounts: Mutex::default(),
            detached: OnceLock::new(),
            form,
            no_erofs: AtomicBool::new(form == Form::Directory),
            unpacking: Mutex::new(()),
        })))
    }

    fn path(&self, diff_id: &Digest) -> PathBuf {
        self.0.directory.join(format!("{}.{EXTENSION}", diff_id.hex()))
    }

    fn split_path(&self, diff_id: &Digest) -> PathBuf {
        self.0.directory.join(format!("{}.{SPLIT}", diff_id.hex()))
    }

    /// Is the layer there?
    pub fn has(&self, diff_id: &Digest) -> bool {
        self.0.leases.noting(diff_id, || self.path(diff_id).exists())
    }

    fn open(&self, diff_id: &Digest) -> Result<File> {
        let path = self.path(diff_id);
        self.0.leases.noting(diff_id, || File::open(&path)).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::NoLayer { diff_id: *diff_id },
            _ => Error::Io { op: "open", path: path.clone(), source },
        })
    }

    fn label(&self, diff_id: &Digest, file: &File) -> Result<Label> {
        let path = self.path(diff_id);
        let mut label = [0; LABEL_LEN];
        file.read_exact_at(&mut label, 0).map_err(Error::io("read", &path))?;
        Label::decode(&label).ok_or_else(|| Error::Broken {
            what: "layer",
            detail: format!("{} does not begin with a label", path.display()),
        })
    }

    /// The layer's file, and what it says of itself.
    pub(crate) fn image(&self, diff_id: &Digest) -> Result<(File, Label)> {
        let file = self.open(diff_id)?;
        let label = self.label(diff_id, &file)?;
        Ok((file, label))
    }

    /// What is known of a layer.
    ///
    /// # Errors
    /// [`Error::NoLayer`]
    pub fn info(&self, diff_id: &Digest) -> Result<LayerInfo> {
        let file = self.open(diff_id)?;
        let label = self.label(diff_id, &file)?;
        Ok(LayerInfo { diff_id: *diff_id, content: label.content, disk: self.disk_use(diff_id) })
    }

    /// Bytes that a layer takes on the disk, without looking into it.
    pub(crate) fn disk_use(&self, diff_id: &Digest) -> u64 {
        let used = |path| std::fs::metadata(path).map_or(0, |metadata| disk::used(&metadata));
        used(self.path(diff_id)) + used(self.split_path(diff_id)) + self.tree_use(diff_id)
    }

    /// The uncompressed tar that the layer was made of, byte for byte: its digest is the diffID, and reading the end
    /// of it fails when that is not so.
    ///
    /// # Errors
    /// [`Error::NoLayer`]; [`Error::NoTar`] for a layer of a hoist that did not keep what this takes.
    pub fn tar(&self, diff_id: &Digest) -> Result<LayerTar> {
        let layer = self.open(diff_id)?;
        let path = self.split_path(diff_id);
        let split = File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::NoTar { diff_id: *diff_id },
            _ => Error::Io { op: "open", path: path.clone(), source },
        })?;
        LayerTar::open(layer, split, diff_id).map_err(Error::io("read", &path))
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

    /// Lets go of a layer's mount and removes its files; says whether it was there. What still has the mount, a
    /// running container, keeps it.
    pub fn remove(&self, diff_id: &Digest) -> Result<bool> {
        self.release(diff_id);
        let there = self.0.disk.discard(&self.path(diff_id))?;
        self.0.disk.discard(&self.split_path(diff_id))?;
        self.0.disk.discard(&self.tree(diff_id))?;
        Ok(there.is_some())
    }

    /// Removes a layer unless it is in use; the bytes it took on the disk.
    pub(crate) fn retire(&self, diff_id: &Digest) -> Result<Option<u64>> {
        let disk = &self.0.disk;
        // All of it at once: whoever writes this layer anew after that has a new one.
        let retired = self.0.leases.unless_used(diff_id, || -> Result<Option<u64>> {
            let Some(layer) = disk.discard(&self.path(diff_id))? else { return Ok(None) };
            let split = disk.discard(&self.split_path(diff_id))?;
            let tree = disk.discard(&self.tree(diff_id))?;
            Ok(Some(layer + split.unwrap_or(0) + tree.unwrap_or(0)))
        });
        let freed = retired.unwrap_or(Ok(None))?;
        if freed.is_some() {
            self.release(diff_id);
        }
        Ok(freed)
    }

    /// Removes halves of layers that a crash left: a split file without its layer, and a layer that should have one,
    /// has none, and is in no image yet.
    pub(crate) fn repair(&self, referenced: &HashSet<Digest>) -> Result<()> {
        let directory = &self.0.directory;
        for entry in std::fs::read_dir(directory).map_err(Error::io("list", directory))? {
            let name = entry.map_err(Error::io("list", directory))?.file_name();
            let Some((hex, extension)) = name.to_str().and_then(|name| name.split_once('.')) else { continue };
            let Ok(diff_id) = Digest::from_hex(hex) else { continue };
            if extension == SPLIT && !self.path(&diff_id).exists() {
                self.0.disk.discard(&self.split_path(&diff_id))?;
            }
            if extension == EXTENSION && !referenced.contains(&diff_id) && !self.split_path(&diff_id).exists() {
                let label = self.open(&diff_id).and_then(|file| self.label(&diff_id, &file));
                if !label.is_ok_and(|label| label.version == 1) {
                    self.remove(&diff_id)?;
                }
            }
        }
        Ok(())
    }
}
