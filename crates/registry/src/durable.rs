//! Files that are there whole or not at all: written under a temporary name, synced, renamed, directory synced.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// What temporary names begin with; [`sweep`] removes them.
const TEMPORARY: &str = ".tmp-";

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A file under a temporary name. Dropped, it is removed.
#[derive(Debug)]
pub(crate) struct Temporary {
    path: PathBuf,
    committed: bool,
}

impl Temporary {
    /// A new, empty file in `directory`.
    pub fn create(directory: &Path) -> Result<(Temporary, File)> {
        // The registry's root is locked, so names of this process are unique.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("{TEMPORARY}{}-{number}", std::process::id()));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(&path).map_err(Error::io("create", &path))?;
        Ok((Temporary { path, committed: false }, file))
    }

    /// Gives it its real name; syncing is the caller's business.
    pub fn rename(mut self, target: &Path) -> Result<()> {
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

/// Writes a file for the registry's user alone; durable on return. Who reads it sees the old or the new bytes.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let directory = path.parent().unwrap_or(path);
    ensure_directory(directory)?;
    let (temporary, mut file) = Temporary::create(directory)?;
    io::Write::write_all(&mut file, bytes).map_err(Error::io("write", path))?;
    file.sync_data().map_err(Error::io("sync", path))?;
    temporary.rename(path)?;
    sync_directory(directory)
}

/// Makes new and changed names in `directory` durable.
pub(crate) fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory).and_then(|handle| handle.sync_all()).map_err(Error::io("sync", directory))
}

/// Creates `directory` and what is missing above it, for the registry's user alone.
pub(crate) fn ensure_directory(directory: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(Error::io("create", directory))
}

/// Removes temporary files that a crash left in `directory`.
pub(crate) fn sweep(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory).map_err(Error::io("list", directory))? {
        let entry = entry.map_err(Error::io("list", directory))?;
        if entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
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
