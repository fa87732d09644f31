//! Blobs of a repository: looked at, opened, mounted from elsewhere.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::digest::Digest;
use crate::engine::EngineView;
use crate::error::{Error, Result};
use crate::gc::GRACE;
use crate::layout::Registry;
use crate::manifest::MANIFEST_LIMIT;
use crate::name::Name;
use crate::repository::Repository;

impl Repository {
    /// Size of a blob in bytes; `None` when it is not there. Whoever asks is about to refer to it: it is protected
    /// from gc for the grace, by its time of modification.
    pub fn touch(&self, digest: &Digest) -> Result<Option<u64>> {
        let path = self.blob_path(digest);
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Io { op: "look at", path, source }),
        };
        let age = metadata.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
        if age.is_none_or(|age| age > GRACE / 60) {
            // A view from outside may not write; it does not collect either.
            let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        }
        Ok(Some(metadata.len()))
    }

    /// Opens a blob; its size.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`]
    pub fn open_blob(&self, digest: &Digest) -> Result<(File, u64)> {
        let path = self.blob_path(digest);
        let opened = File::open(&path).and_then(|file| file.metadata().map(|metadata| (file, metadata.len())));
        opened.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::BlobUnknown { digest: Box::new(*digest) },
            _ => Error::Io { op: "open", path, source },
        })
    }

    /// The bytes of a manifest.
    pub fn read_manifest(&self, digest: &Digest) -> Result<Vec<u8>> {
        let unknown = || Error::ManifestUnknown { reference: digest.to_string() };
        let (file, size) = self.open_blob(digest).map_err(|error| match error {
            Error::BlobUnknown { .. } => unknown(),
            other => other,
        })?;
        if size > MANIFEST_LIMIT {
            return Err(unknown());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        file.take(MANIFEST_LIMIT).read_to_end(&mut bytes).map_err(Error::io("read", self.blob_path(digest)))?;
        Ok(bytes)
    }
}

impl Registry {
    /// Gives `target` a blob that `source` has, without copying. Says whether it could.
    pub fn mount(&self, target: &Name, source: &Name, digest: &Digest) -> Result<bool> {
        let Ok(source) = self.repository(source) else { return Ok(false) };
        if source.touch(digest)?.is_none() {
            return Ok(false);
        }
        self.link_from(target, &source.blob_path(digest), digest)
    }

    /// Gives `target` a blob that some repository which `may_read` allows has.
    pub fn mount_from_any(&self, target: &Name, digest: &Digest, may_read: impl Fn(&Name) -> bool) -> Result<bool> {
        let shared = self.shared(digest);
        if !shared.exists() {
            return Ok(false);
        }
        for name in self.names()? {
            if may_read(&name) && self.mount(target, &name, digest)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Gives `target` a blob of the engine's store, where the registry was opened beside one, if an image has it whose
    /// repository `may_read` allows. Says whether it could.
    pub fn mount_from_engine(&self, target: &Name, digest: &Digest, may_read: impl Fn(&Name) -> bool) -> Result<bool> {
        let Some(root) = &self.0.options.engine else { return Ok(false) };
        match EngineView::open(root)?.shared(digest, may_read)? {
            Some(path) => self.link_from(target, &path, digest),
            None => Ok(false),
        }
    }

    fn link_from(&self, target: &Name, path: &Path, digest: &Digest) -> Result<bool> {
        let repository = self.ensure_repository(target)?;
        let link = repository.blob_path(digest);
        match fs::hard_link(path, &link) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            // Another file system, or as many links as it can have.
            Err(error) if matches!(error.kind(), io::ErrorKind::CrossesDevices | io::ErrorKind::TooManyLinks) => {
                return self.copy_from(target, path, digest);
            }
            Err(source) => return Err(Error::Io { op: "link", path: link, source }),
        }
        let _ = fs::hard_link(&link, self.shared(digest));
        repository.touch(digest)?;
        repository.sync_links(digest.algorithm())?;
        Ok(true)
    }

    fn copy_from(&self, target: &Name, path: &Path, digest: &Digest) -> Result<bool> {
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        let mut upload = self.begin_upload(target, digest.algorithm())?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer).map_err(Error::io("read", path))? {
                0 => break,
                count => {
                    if let Err(error) = upload.write(&buffer[..count]) {
                        upload.cancel()?;
                        return Err(error);
                    }
                }
            }
        }
        upload.finish(digest)?;
        Ok(true)
    }
}

/// How old a file is by its time of modification.
pub(crate) fn age(metadata: &fs::Metadata) -> Duration {
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    SystemTime::now().duration_since(modified).unwrap_or_default()
}
