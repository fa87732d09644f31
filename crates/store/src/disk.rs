//! Files that are there whole or not at all: written under a temporary name, synced, renamed, directory synced.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// What temporary names begin with; [`sweep`] removes them.
const TEMPORARY: &str = ".tmp-";

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A file under a temporary name. Dropped, it is removed; [`Temporary::commit`] gives it its real name.
#[derive(Debug)]
pub(crate) struct Temporary {
    path: PathBuf,
    committed: bool,
}

impl Temporary {
    /// A new, empty file in `directory`, open for reading and writing.
    pub fn create(directory: &Path) -> Result<(Temporary, File)> {
        // The data root is locked, so names of this process are unique.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("{TEMPORARY}{}-{number}", std::process::id()));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(Error::io("create", &path))?;
        Ok((Temporary { path, committed: false }, file))
    }

    /// Makes the data durable, then the name `target`, which may be in another directory of the same file system.
    pub fn commit(self, file: &File, target: &Path) -> Result<()> {
        self.rename(file, target)?;
        sync_directory(target.parent().unwrap_or(target))
    }

    /// The same, but leaves the name to whoever syncs the directory.
    pub fn rename(mut self, file: &File, target: &Path) -> Result<()> {
        file.sync_data().map_err(Error::io("sync", &self.path))?;
        fs::rename(&self.path, target).map_err(Error::io("rename to", target))?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes new and changed names in `directory` durable.
pub(crate) fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory).and_then(|handle| handle.sync_all()).map_err(Error::io("sync", directory))
}

/// Creates `directory` and what is missing above it, for root alone.
pub(crate) fn ensure_directory(directory: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(Error::io("create", directory))
}

/// Removes temporary files that a crash left in `directory`.
pub(crate) fn sweep(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory).map_err(Error::io("list", directory))? {
        let entry = entry.map_err(Error::io("list", directory))?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a file; one that is gone already is no error. Says whether it was there.
pub(crate) fn remove(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::Io { op: "remove", path: path.to_owned(), source }),
    }
}

/// Gives a file a temporary name, so that it is gone at once and its blocks are freed later by [`remove`]. `None`
/// when it is not there.
pub(crate) fn set_aside(path: &Path) -> Result<Option<PathBuf>> {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let aside = path.with_file_name(format!("{TEMPORARY}{}-{number}", std::process::id()));
    match fs::rename(path, &aside) {
        Ok(()) => Ok(Some(aside)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { op: "remove", path: path.to_owned(), source }),
    }
}

/// Bytes that a file takes on the disk, as `du` counts them.
pub(crate) fn used(metadata: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    metadata.blocks() * 512
}
