//! Reads the archive to its end and sorts its members.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};

use archive::decompress::Compression;
use archive::tar::{Entry, Kind, Reader};
use oci::{Digest, DigestHasher};

use super::MAX_DOCUMENT;
use crate::Store;
use crate::error::{Error, LayerError, Result};
use crate::layer::WrittenLayer;

/// Bounds on what is remembered of an archive.
const MAX_MEMBERS: usize = 20_000;
const MAX_DOCUMENTS: usize = 64 << 20;
/// Links from name to name, as old `docker save` writes them for equal layers.
const MAX_LINKS: usize = 8;

/// The members of an archive by name.
pub(super) struct Collected(HashMap<String, Member>);

enum Member {
    Document(Vec<u8>),
    Layer(WrittenLayer),
    /// A layer that has its real name now.
    Committed(Digest),
    /// What a layer would be, but for this.
    Failed(Error),
    /// Another name for this member.
    Alias(String),
    Skipped,
}

impl Collected {
    pub fn read(store: &Store, archive: impl Read) -> Result<Collected> {
        let mut reader = Reader::new(archive);
        let mut members = HashMap::new();
        let mut documents = 0;
        while let Some(entry) = reader.next_entry().map_err(Error::ArchiveTar)? {
            let name = String::from_utf8_lossy(&entry.metadata.path).into_owned();
            let member = match entry.metadata.kind {
                Kind::File => file(store, &name, entry, &mut documents)?,
                Kind::Hardlink => Member::Alias(String::from_utf8_lossy(&entry.metadata.link).into_owned()),
                Kind::Symlink => match link_target(&name, &entry.metadata.link) {
                    Some(target) => Member::Alias(target),
                    None => Member::Skipped,
                },
                _ => continue,
            };
            members.insert(name, member);
            if members.len() > MAX_MEMBERS {
                return Err(Error::archive(format!("more than {MAX_MEMBERS} members")));
            }
        }
        reader.finish().map_err(Error::ArchiveTar)?;
        Ok(Collected(members))
    }

    /// The name that `name` leads to over aliases.
    fn resolve<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let mut name = name;
        for _ in 0..MAX_LINKS {
            match self.0.get(name)? {
                Member::Alias(target) => name = target,
                _ => return Some(name),
            }
        }
        None
    }

    /// The bytes of a small member.
    pub fn document(&self, name: &str) -> Option<&[u8]> {
        match self.0.get(self.resolve(name)?)? {
            Member::Document(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Commits the layer that `name` holds, whose diffID has to be `diff_id`. An archive may leave out a layer that
    /// the store has.
    pub fn commit(&mut self, store: &Store, name: &str, diff_id: &Digest) -> Result<()> {
        let Some(name) = self.resolve(name).map(str::to_owned) else {
            if store.layers().has(diff_id) {
                return Ok(());
            }
            return Err(Error::archive(format!("layer {name:?} is missing")));
        };
        match self.0.remove(&name) {
            Some(Member::Layer(layer)) => {
                layer.commit(Some(diff_id))?;
                self.0.insert(name, Member::Committed(*diff_id));
                Ok(())
            }
            Some(Member::Committed(actual)) if actual != *diff_id => {
                Err(Error::DigestMismatch { expected: *diff_id, actual })
            }
            Some(committed @ Member::Committed(_)) => {
                self.0.insert(name, committed);
                Ok(())
            }
            Some(Member::Failed(error)) => Err(error),
            _ => Err(Error::archive(format!("layer {name:?} is not a tar archive"))),
        }
    }
}

/// Reads one file of the archive: a layer, a document, or neither.
fn file<R: Read>(store: &Store, name: &str, mut entry: Entry<'_, R>, documents: &mut usize) -> Result<Member> {
    let size = entry.metadata.size;
    let mut first = [0; 512];
    let length = fill(&mut entry, &mut first).map_err(Error::Source)?;
    let first = &first[..length];
    if is_layer(first, size) {
        return match layer(store, name, first, entry) {
            Ok(layer) => Ok(Member::Layer(layer)),
            // The disk is at fault, not the archive.
            Err(error @ (Error::Io { .. } | Error::Layer(LayerError::Write(_)))) => Err(error),
            Err(error) => Ok(Member::Failed(error)),
        };
    }
    if size > MAX_DOCUMENT {
        return Ok(Member::Skipped);
    }
    *documents += size as usize;
    if *documents > MAX_DOCUMENTS {
        return Err(Error::archive(format!("more than {MAX_DOCUMENTS} bytes of documents")));
    }
    let mut bytes = first.to_vec();
    entry.read_to_end(&mut bytes).map_err(Error::Source)?;
    match blob_digest(name) {
        Some(expected) if Digest::of(&bytes) != expected => {
            Ok(Member::Failed(Error::DigestMismatch { expected, actual: Digest::of(&bytes) }))
        }
        _ => Ok(Member::Document(bytes)),
    }
}

/// Compressed, or the header of a tar, or the zeros of an empty one.
fn is_layer(first: &[u8], size: u64) -> bool {
    Compression::detect(first) != Compression::None
        || first.get(257..262) == Some(b"ustar")
        || (first.len() == 512 && size.is_multiple_of(512) && first.iter().all(|byte| *byte == 0))
}

fn layer<R: Read>(store: &Store, name: &str, first: &[u8], mut entry: Entry<'_, R>) -> Result<WrittenLayer> {
    let expected = blob_digest(name);
    let plain = Compression::detect(first) == Compression::None;
    // An uncompressed blob is digested as the layer's tar anyway.
    let hasher = expected.filter(|_| !plain).map(|_| DigestHasher::new());
    let mut source = Hashed { source: first.chain(&mut entry), hasher };
    let written = store.layers().writer()?.write_tar(archive::decompress(&mut source).map_err(Error::Source)?)?;
    io::copy(&mut source, &mut io::sink()).map_err(Error::Source)?;
    if let Some(expected) = expected {
        let actual = source.hasher.map_or(*written.diff_id(), DigestHasher::finish);
        if actual != expected {
            return Err(Error::DigestMismatch { expected, actual });
        }
    }
    Ok(written)
}

/// The digest that the name of a blob promises.
fn blob_digest(name: &str) -> Option<Digest> {
    Digest::from_hex(name.strip_prefix("blobs/sha256/")?).ok()
}

/// Where a symbolic link in the archive leads, as a name of a member.
fn link_target(name: &str, target: &[u8]) -> Option<String> {
    let target = std::str::from_utf8(target).ok()?;
    let mut parts: Vec<&str> = if target.starts_with('/') { Vec::new() } else { name.split('/').collect() };
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn fill(source: &mut impl BufRead, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// Digests what is read, if anybody wants to know.
struct Hashed<R> {
    source: R,
    hasher: Option<DigestHasher>,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(out)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&out[..count]);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links() {
        let check = |name: &str, target: &str, expect: Option<&str>| {
            assert_eq!(link_target(name, target.as_bytes()).as_deref(), expect, "{name} -> {target}");
        };
        check("b/layer.tar", "../a/layer.tar", Some("a/layer.tar"));
        check("layer.tar", "a/./b", Some("a/b"));
        check("x/y", "/a", Some("a"));
        check("layer.tar", "../a", None);
    }
}
