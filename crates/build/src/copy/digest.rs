//! What the cache compares of copied files: names, kinds, modes, owners, links, contents. No times.

use std::io::{self, Read};

use archive::tar::Kind;
use oci::{Digest, DigestHasher};

use super::walk::{Content, Entry};
use crate::error::{Error, Result};

/// Digest of entries where they are to be placed.
pub fn digest(entries: &[Entry]) -> Result<Digest> {
    // Reading and hashing take most of the time: two threads, each its half, joined in order.
    let half = entries.len() / 2;
    let (first, second) = if entries.len() < 64 {
        (hashes(entries), Ok(Vec::new()))
    } else {
        std::thread::scope(|scope| {
            let other = scope.spawn(|| hashes(&entries[half..]));
            let first = hashes(&entries[..half]);
            (first, other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    };
    let mut whole = DigestHasher::new();
    for digest in first?.into_iter().chain(second?) {
        whole.update(digest.as_bytes());
    }
    Ok(whole.finish())
}

fn hashes(entries: &[Entry]) -> Result<Vec<Digest>> {
    let mut buffer = vec![0; 128 * 1024];
    entries.iter().map(|entry| hash(entry, &mut buffer)).collect()
}

fn hash(entry: &Entry, buffer: &mut [u8]) -> Result<Digest> {
    let metadata = &entry.metadata;
    let mut hasher = DigestHasher::new();
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    field(&metadata.path);
    field(metadata.kind.name().as_bytes());
    field(&metadata.link);
    for number in [metadata.mode, metadata.uid, metadata.gid, metadata.device.0, metadata.device.1] {
        field(&number.to_le_bytes());
    }
    for (name, value) in &metadata.xattrs {
        field(name);
        field(value);
    }
    if metadata.kind == Kind::File {
        hasher.update(content(entry, buffer)?.as_bytes());
    }
    Ok(hasher.finish())
}

/// Digest of a file's content: known with the tree it is in, or read.
fn content(entry: &Entry, buffer: &mut [u8]) -> Result<Digest> {
    if let Content::Tree(tree) = &entry.content
        && let Some(digest) = tree.digest(&entry.source)
    {
        return Ok(digest);
    }
    let mut hasher = DigestHasher::new();
    {
        let failed =
            |error: io::Error| Error::system(format!("read {}", String::from_utf8_lossy(&entry.source)), error);
        let mut data = entry.open().map_err(failed)?;
        loop {
            match data.read(buffer).map_err(failed)? {
                0 => break,
                length => hasher.update(&buffer[..length]),
            }
        }
    }
    Ok(hasher.finish())
}
