//! Upload sessions: a file that grows until its digest is right.
//!
//! ```text
//!  begin ─▶ uploads/<id> ◀─ write … (the connection may break, the process may die) … write ─▶ finish
//!                                                            │ digest right: synced, blobs/<alg>/<hex>, shared link
//!                                                            └ wrong: removed
//! ```
//! What is known of a session beside its file (the digest so far) is in memory and can be had again from the file.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use store::Writeback;

use crate::durable;

use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Error, Result};
use crate::layout::Registry;
use crate::name::Name;
use crate::repository::Repository;

/// Sessions whose file stays open and whose digest is kept; more are read again when they go on.
const OPEN: usize = 512;

/// A session in memory.
#[derive(Debug)]
enum Slot {
    /// A request has it.
    Busy,
    Idle(Box<Session>, Instant),
}

#[derive(Debug)]
struct Session {
    file: File,
    offset: u64,
    hasher: Hasher,
    writeback: Writeback,
}

/// Sessions that are open, by their files.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<HashMap<PathBuf, Slot>>);

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Is a request writing to it?
    pub(crate) fn is_busy(&self, path: &Path) -> bool {
        matches!(self.lock().get(path), Some(Slot::Busy))
    }

    pub(crate) fn forget(&self, path: &Path) {
        self.lock().remove(path);
    }

    /// Closes files of sessions that nobody has used for a minute, or that are too many.
    fn trim(map: &mut HashMap<PathBuf, Slot>) {
        if map.len() < OPEN {
            return;
        }
        let minute = Duration::from_secs(60);
        map.retain(|_, slot| !matches!(slot, Slot::Idle(_, since) if since.elapsed() > minute));
        while map.len() >= OPEN {
            let oldest = map
                .iter()
                .filter_map(|(path, slot)| match slot {
                    Slot::Idle(_, since) => Some((*since, path.clone())),
                    Slot::Busy => None,
                })
                .min();
            match oldest {
                Some((_, path)) => drop(map.remove(&path)),
                None => return,
            }
        }
    }
}

/// An upload, held by one request. Dropped, it can be gone on with.
#[derive(Debug)]
pub struct Upload {
    registry: Registry,
    repository: Arc<Repository>,
    id: String,
    path: PathBuf,
    session: Option<Box<Session>>,
}

/// `xxxxxxxx-xxxx-4xxx-…`: 122 random bits, so that nobody guesses another's upload.
fn new_id() -> Result<String> {
    let mut bytes = [0_u8; 16];
    let failed = |source: io::Error| Error::Io { op: "read", path: "/dev/urandom".into(), source };
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| failed(errno.into()))?;
    }
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = crate::digest::encode(&bytes);
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

/// Is it of the form that [`new_id`] gives?
fn is_id(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

impl Registry {
    /// Begins an upload; the algorithm is what its digest will probably have.
    pub fn begin_upload(&self, name: &Name, algorithm: Algorithm) -> Result<Upload> {
        let repository = self.ensure_repository(name)?;
        let id = new_id()?;
        let path = repository.uploads().join(&id);
        let open = || OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = match open() {
            // gc took the empty repository away meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Repository::make(repository.directory())?;
                open()
            }
            other => other,
        }
        .map_err(Error::io("create", &path))?;
        self.0.sessions.lock().insert(path.clone(), Slot::Busy);
        let session = Session { file, offset: 0, hasher: Hasher::new(algorithm), writeback: Writeback::default() };
        Ok(Upload { registry: self.clone(), repository, id, path, session: Some(Box::new(session)) })
    }

    /// Goes on with an upload, also after a restart.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`]; [`Error::UploadBusy`] when another request has it.
    pub fn take_upload(&self, name: &Name, id: &str) -> Result<Upload> {
        let repository = self.repository(name).map_err(|error| match error {
            Error::NameUnknown { .. } => Error::UploadUnknown,
            other => other,
        })?;
        if !is_id(id) {
            return Err(Error::UploadUnknown);
        }
        let path = repository.uploads().join(id);
        let session = {
            let mut map = self.0.sessions.lock();
            match map.insert(path.clone(), Slot::Busy) {
                Some(Slot::Busy) => return Err(Error::UploadBusy),
                Some(Slot::Idle(session, _)) => Some(session),
                None => None,
            }
        };
        let mut upload = Upload { registry: self.clone(), repository, id: id.to_owned(), path, session };
        if upload.session.is_none() {
            match Session::read(&upload.path) {
                Ok(session) => upload.session = Some(Box::new(session)),
                Err(error) => {
                    self.0.sessions.forget(&upload.path);
                    return Err(error);
                }
            }
        }
        Ok(upload)
    }
}

impl Session {
    /// Opens the file of an earlier session and computes its digest so far.
    fn read(path: &Path) -> Result<Session> {
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::UploadUnknown),
            Err(source) => return Err(Error::Io { op: "open", path: path.to_owned(), source }),
        };
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let offset = feed(&mut file, &mut hasher).map_err(Error::io("read", path))?;
        Ok(Session { file, offset, hasher, writeback: Writeback::default() })
    }
}

/// Hashes a file from its start; leaves it at its end. Its length.
fn feed(file: &mut File, hasher: &mut Hasher) -> io::Result<u64> {
    let mut buffer = vec![0; 256 << 10];
    let mut length = 0;
    file.seek(SeekFrom::Start(0))?;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(length),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                length += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Upload {
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Bytes that are there.
    pub fn offset(&self) -> u64 {
        self.session.as_ref().map_or(0, |session| session.offset)
    }

    /// The file, to be read by positions while it grows.
    pub fn reader(&self) -> Result<File> {
        let session = self.session.as_ref().ok_or(Error::UploadUnknown)?;
        session.file.try_clone().map_err(Error::io("open", &self.path))
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`Error::BlobTooLarge`]; whatever the file system says, and the upload is then as it was before.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let limit = self.registry.0.options.max_blob;
        let Some(session) = &mut self.session else { return Err(Error::UploadUnknown) };
        if limit > 0 && session.offset.saturating_add(bytes.len() as u64) > limit {
            return Err(Error::BlobTooLarge { limit });
        }
        if let Err(source) = session.file.write_all(bytes) {
            // Part of it may be in the file.
            let _ = session.file.set_len(session.offset);
            let _ = session.file.seek(SeekFrom::Start(session.offset));
            return Err(Error::Io { op: "write", path: self.path.clone(), source });
        }
        session.hasher.update(bytes);
        session.offset += bytes.len() as u64;
        session.writeback.advance(&session.file, session.offset);
        Ok(())
    }

    /// Takes back what was written after `offset`: a piece that turned out to be wrong.
    pub fn rewind(&mut self, offset: u64) -> Result<()> {
        let Some(session) = &mut self.session else { return Err(Error::UploadUnknown) };
        if offset < session.offset {
            session.file.set_len(offset).map_err(Error::io("truncate", &self.path))?;
            // The digest so far has to be computed again.
            **session = Session::read(&self.path)?;
        }
        Ok(())
    }

    /// Makes it the blob `digest` of the repository; durable on return. Its size.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`]; the upload is gone then.
    pub fn finish(mut self, digest: &Digest) -> Result<u64> {
        let Some(mut session) = self.session.take() else { return Err(Error::UploadUnknown) };
        let result = self.commit(&mut session, digest);
        match &result {
            // A full disk may have room again.
            Err(Error::Io { .. }) => self.session = Some(session),
            Err(_) => {
                let _ = durable::remove(&self.path);
            }
            Ok(_) => {}
        }
        result
    }

    fn commit(&self, session: &mut Session, digest: &Digest) -> Result<u64> {
        let actual = if session.hasher.algorithm() == digest.algorithm() {
            session.hasher.clone().finish()
        } else {
            let mut hasher = Hasher::new(digest.algorithm());
            feed(&mut session.file, &mut hasher).map_err(Error::io("read", &self.path))?;
            hasher.finish()
        };
        if actual != *digest {
            return Err(Error::DigestMismatch { expected: Box::new(*digest), actual: Box::new(actual) });
        }
        let target = self.repository.blob_path(digest);
        if self.repository.touch(digest)?.is_some() {
            durable::remove(&self.path)?;
            return Ok(session.offset);
        }
        session.file.sync_data().map_err(Error::io("sync", &self.path))?;
        let shared = self.registry.shared(digest);
        // Whether the shared link is there after a crash does not matter: it only saves space.
        let deduplicated = match fs::hard_link(&self.path, &shared) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::hard_link(&shared, &target).is_ok(),
            _ => false,
        };
        if deduplicated {
            durable::remove(&self.path)?;
            self.repository.touch(digest)?;
        } else {
            fs::rename(&self.path, &target).map_err(Error::io("rename to", &target))?;
        }
        self.repository.sync_links(digest.algorithm())?;
        Ok(session.offset)
    }

    /// Ends it; nothing is left.
    pub fn cancel(mut self) -> Result<()> {
        self.session = None;
        durable::remove(&self.path)?;
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let mut map = self.registry.0.sessions.lock();
        match self.session.take() {
            Some(session) => {
                Sessions::trim(&mut map);
                map.insert(std::mem::take(&mut self.path), Slot::Idle(session, Instant::now()));
            }
            None => drop(map.remove(&self.path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        let id = new_id().unwrap();
        assert!(is_id(&id), "{id}");
        assert_ne!(id, new_id().unwrap());
        for bad in ["", "..", "../../../../../../../../../etc/passwd", &id.to_uppercase(), &id[1..]] {
            assert!(!is_id(bad), "{bad}");
        }
    }
}
