//! A blob that may take several tries: what came stays when the connection, the pull or the daemon ends.
//!
//! ```text
//!  content/ingest/<hex>.part      the beginning of the blob
//!  content/ingest/<hex>.journal   lines "<bytes> <sha256 of that many>", every MiB and at the end of a try
//! ```
//!
//! Nothing is synced before the blob is whole: after a power cut the journal shows how far the file can be believed, and
//! at worst it begins anew. Only the digest of the whole says whether the bytes are right. A lock on the file keeps a
//! second writer away, who then writes to a file of its own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use oci::{Digest, DigestHasher};
use rustix::fs::{FlockOperation, flock};

use super::Content;
use crate::error::{Error, Result};
use crate::writeback::Writeback;

/// Bytes between two lines of the journal; what is shorter is not kept.
const STEP: u64 = 1 << 20;
/// Least number of bytes that are kept at the end of a try.
const LEAST: u64 = 256 << 10;
/// Largest journal that is read, in bytes.
const JOURNAL_LIMIT: u64 = 4 << 20;
/// How long nobody may ask for what was kept.
const AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// A blob while it comes. Dropped, it is kept for the next try; see [`Partial::discard`] and [`Partial::commit`].
#[derive(Debug)]
pub struct Partial {
    content: Content,
    digest: Digest,
    path: PathBuf,
    file: File,
    /// `None` for the second writer of a blob.
    journal: Option<File>,
    noted: u64,
    hasher: DigestHasher,
    kept: u64,
    size: u64,
    writeback: Writeback,
    over: bool,
}

impl Content {
    /// Begins a blob, or goes on with what an earlier try left of it.
    pub fn resume(&self, digest: &Digest) -> Result<Partial> {
        let path = self.ingest.join(format!("{}.part", digest.hex()));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(Error::io("open", &path))?;
        let mut partial = Partial {
            content: self.clone(),
            digest: *digest,
            path,
            file,
            journal: None,
            noted: 0,
            hasher: DigestHasher::new(),
            kept: 0,
            size: 0,
            writeback: Writeback::default(),
            over: false,
        };
        if flock(&partial.file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let (path, file) = self.scratch()?;
            (partial.path, partial.file) = (path, file);
            return Ok(partial);
        }
        let path = partial.journal_path();
        let mut journal = options.open(&path).map_err(Error::io("open", &path))?;
        partial.believe(&mut journal).map_err(Error::io("read", &partial.path))?;
        partial.journal = Some(journal);
        Ok(partial)
    }

    /// Removes what nobody went on with for a week. Called when nobody writes.
    pub(super) fn sweep_partials(ingest: &Path) -> Result<()> {
        for entry in fs::read_dir(ingest).map_err(Error::io("list", ingest))? {
            let entry = entry.map_err(Error::io("list", ingest))?;
            let age = entry.metadata().and_then(|metadata| metadata.modified()).ok();
            let old = age.is_none_or(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age > AGE));
            if old {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// Removes a file; one that is gone already is no error.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

impl Partial {
    /// Bytes that are here from an earlier try.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// Reads what is here from an earlier try.
    pub fn prefix(&self) -> Result<impl Read + use<>> {
        let file = File::open(&self.path).map_err(Error::io("open", &self.path))?;
        Ok(BufReader::with_capacity(256 << 10, file).take(self.kept))
    }

    /// Digest of all bytes that are here.
    pub fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// Checks the digest of the whole, and makes the blob durable under it. Gives its size.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`]; nothing is left then.
    pub fn commit(mut self) -> Result<u64> {
        let actual = std::mem::take(&mut self.hasher).finish();
        if actual != self.digest {
            let expected = self.digest;
            self.discard();
            return Err(Error::DigestMismatch { expected, actual });
        }
        self.content.leases.wrote(&self.digest);
        self.content.name(&self.path, &self.file, &self.digest)?;
        self.over = true;
        if self.journal.is_some() {
            remove(&self.journal_path())?;
        }
        Ok(self.size)
    }

    /// Throws everything away: the bytes are wrong.
    pub fn discard(mut self) {
        self.remove();
    }

    fn remove(&mut self) {
        self.over = true;
        let _ = fs::remove_file(&self.path);
        if self.journal.is_some() {
            let _ = fs::remove_file(self.journal_path());
        }
    }

    fn journal_path(&self) -> PathBuf {
        self.path.with_extension("journal")
    }

    /// Finds the longest beginning whose digest the journal has, and cuts off what comes after it.
    fn believe(&mut self, journal: &mut File) -> io::Result<()> {
        let mut text = Vec::new();
        Read::by_ref(journal).take(JOURNAL_LIMIT).read_to_end(&mut text)?;
        let length = self.file.metadata()?.len();
        let mut marks: Vec<(u64, Digest)> = text
            .split(|byte| *byte == b'\n')
            .filter_map(|line| {
                let (bytes, hex) = std::str::from_utf8(line).ok()?.split_once(' ')?;
                Some((bytes.parse().ok()?, Digest::from_hex(hex).ok()?))
            })
            .filter(|(bytes, _)| *bytes <= length)
            .collect();
        marks.sort_unstable_by_key(|(bytes, _)| *bytes);
        let mut hasher = DigestHasher::new();
        let (mut at, mut buffer) = (0u64, vec![0; 256 << 10]);
        for (bytes, digest) in marks {
            while at < bytes {
                let want = buffer.len().min(usize::try_from(bytes - at).unwrap_or(usize::MAX));
                let count = self.file.read_at(&mut buffer[..want], at)?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                hasher.update(&buffer[..count]);
                at += count as u64;
            }
            if hasher.clone().finish() != digest {
                break;
            }
            (self.kept, self.hasher) = (bytes, hasher.clone());
        }
        self.file.set_len(self.kept)?;
        self.file.seek(SeekFrom::Start(self.kept))?;
        (self.size, self.noted) = (self.kept, self.kept);
        journal.set_len(0)?;
        journal.rewind()?;
        if self.kept > 0 {
            writeln!(journal, "{} {}", self.kept, self.hasher.clone().finish().hex())?;
        }
        Ok(())
    }

    /// Writes a line into the journal; without it less is kept, no more.
    fn note(&mut self) {
        if let Some(journal) = &mut self.journal {
            let _ = writeln!(journal, "{} {}", self.size, self.hasher.clone().finish().hex());
            self.noted = self.size;
        }
    }
}

impl Write for Partial {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Never beyond the next line of the journal.
        let room = usize::try_from(STEP - (self.size - self.noted).min(STEP - 1)).unwrap_or(usize::MAX);
        let count = self.file.write(&bytes[..bytes.len().min(room)])?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        self.writeback.advance(&self.file, self.size);
        if self.size - self.noted >= STEP {
            self.note();
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        if self.journal.is_none() || self.size < LEAST {
            self.remove();
        } else if self.size > self.noted {
            self.note();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    fn noise(length: usize) -> Vec<u8> {
        (0..length as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    struct Place(PathBuf);
    impl Place {
        fn new(name: &str) -> Place {
            Place(std::env::temp_dir().join(format!("hoist-partial-{name}-{}", std::process::id())))
        }
        fn files(&self) -> usize {
            fs::read_dir(self.0.join("content/ingest")).unwrap().count()
        }
    }
    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn goes_on_where_a_try_ended() {
        let place = Place::new("resume");
        let data = noise(9 << 20);
        let digest = Digest::of(&data);
        let store = Store::open(&place.0, None).unwrap();
        let mut first = store.content().resume(&digest).unwrap();
        assert_eq!(first.kept(), 0);
        first.write_all(&data[..5 << 20]).unwrap();
        drop(first);
        // The next daemon.
        drop(store);
        let store = Store::open(&place.0, None).unwrap();
        let mut second = store.content().resume(&digest).unwrap();
        assert_eq!(second.kept(), 5 << 20);
        let mut prefix = Vec::new();
        second.prefix().unwrap().read_to_end(&mut prefix).unwrap();
        assert!(prefix == data[..5 << 20]);
        // A second writer of the same blob is on its own.
        let mut other = store.content().resume(&digest).unwrap();
        assert_eq!(other.kept(), 0);
        other.write_all(&data[..1 << 20]).unwrap();
        drop(other);
        second.write_all(&data[5 << 20..]).unwrap();
        assert_eq!(second.commit().unwrap(), data.len() as u64);
        assert!(store.content().has(&digest));
        assert_eq!(place.files(), 0);
    }

    #[test]
    fn believes_only_what_the_journal_vouches_for() {
        let place = Place::new("torn");
        let data = noise(9 << 20);
        let digest = Digest::of(&data);
        let store = Store::open(&place.0, None).unwrap();
        let part = place.0.join(format!("content/ingest/{}.part", digest.hex()));
        let begin = |length: usize| {
            let mut partial = store.content().resume(&digest).unwrap();
            let kept = usize::try_from(partial.kept()).unwrap();
            partial.write_all(&data[kept..length]).unwrap();
        };
        begin(9 << 20);
        // The disk lost the last megabytes, and one byte in the middle of the second step.
        File::options().write(true).open(&part).unwrap().write_all_at(b"!", (4 << 20) + 77).unwrap();
        assert_eq!(store.content().resume(&digest).unwrap().kept(), 4 << 20);
        begin(6 << 20);
        fs::write(part.with_extension("journal"), "nonsense\n99999999999999999999 x\n").unwrap();
        assert_eq!(store.content().resume(&digest).unwrap().kept(), 0);
        assert_eq!(place.files(), 0, "nothing worth keeping");
        // Wrong bytes are thrown away.
        let mut wrong = store.content().resume(&digest).unwrap();
        wrong.write_all(&data[1..]).unwrap();
        assert!(matches!(wrong.commit(), Err(Error::DigestMismatch { .. })));
        assert_eq!(place.files(), 0);
    }
}
