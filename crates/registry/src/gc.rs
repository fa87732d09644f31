//! Garbage collection beside pushes and pulls.
//!
//! ```text
//!  per repository:  manifests ─▶ what they refer to          (no lock: a snapshot)
//!                   blobs that are not in it, older than the grace ─▶ gate, age again ─▶ unlink
//!                   uploads that nobody has written to for a day ─▶ removed
//!  then:            shared links with no other link ─▶ removed
//! ```
//! A push looks at each blob it refers to, which makes the blob young, with the gate held shared; so a blob is either
//! seen young by gc or missing by the push. A manifest that cannot be read refers to nobody knows what: its repository is
//! left as it is, and the collection says so at its end.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use crate::durable;

use crate::blob::age;
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Result};
use crate::layout::Registry;
use crate::manifest::{Parsed, Relation};
use crate::name::Name;
use crate::repository::{Change, Repository};

/// How long a blob without a manifest stays: between its push and that of its manifest.
pub(crate) const GRACE: Duration = Duration::from_secs(3600);

/// What is collected.
#[derive(Clone, Copy, Debug)]
pub struct GcOptions {
    /// Nothing younger is touched. With zero, uploads of the moment may lose blobs and will push them again.
    pub grace: Duration,
    /// Uploads that nobody has written to for so long.
    pub uploads: Duration,
    /// Also manifests that no tag, index or referrer leads to.
    pub untagged: bool,
    /// Count only.
    pub dry_run: bool,
}

impl Default for GcOptions {
    fn default() -> GcOptions {
        GcOptions { grace: GRACE, uploads: Duration::from_secs(24 * 3600), untagged: false, dry_run: false }
    }
}

/// What has been collected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    pub repositories: u64,
    pub manifests: u64,
    pub blobs: u64,
    pub uploads: u64,
    /// Bytes that are free again.
    pub bytes: u64,
}

impl Registry {
    /// Collects garbage; pushes and pulls may go on.
    ///
    /// # Errors
    /// The first that came; the other repositories are collected nevertheless.
    pub fn gc(&self, options: &GcOptions) -> Result<Collected> {
        let mut collected = Collected::default();
        let mut failure = None;
        for name in self.names()? {
            let done = match self.repository(&name) {
                // Deleted meanwhile.
                Err(Error::NameUnknown { .. }) => continue,
                Err(error) => Err(error),
                Ok(repository) => self.gc_repository(&repository, options, &mut collected).map(|()| repository),
            };
            match done {
                Ok(repository) if !options.dry_run => self.gc_directory(&name, repository, options, &mut collected),
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(repository = %name, %error, "garbage is not collected here");
                    failure.get_or_insert(error);
                }
            }
        }
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let directory = self.0.root.join("blobs").join(algorithm.name());
            for_each_file(&directory, |path, metadata| {
                if metadata.nlink() == 1 {
                    collected.bytes += metadata.len();
                    if !options.dry_run {
                        durable::remove(path)?;
                    }
                }
                Ok(())
            })?;
        }
        failure.map_or(Ok(collected), Err)
    }

    fn gc_repository(&self, repository: &Repository, options: &GcOptions, collected: &mut Collected) -> Result<()> {
        if options.untagged {
            self.gc_untagged(repository, options, collected)?;
        }
        let used = references(repository)?;
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let directory = repository.directory().join("blobs").join(algorithm.name());
            for_each_file(&directory, |path, metadata| {
                let digest =
                    path.file_name().and_then(|name| name.to_str()).and_then(|hex| Digest::from_hex(algorithm, hex));
                let Some(digest) = digest else { return Ok(()) };
                if used.contains(&digest) || age(metadata) < options.grace {
                    return Ok(());
                }
                let _gate = repository.gate.write().unwrap_or_else(PoisonError::into_inner);
                let young = fs::metadata(path).map_or(true, |metadata| age(&metadata) < options.grace);
                if young || repository.entry(&digest).is_some() || refers_now(repository, &used, &digest, options)? {
                    return Ok(());
                }
                collected.blobs += 1;
                // The shared link is the other one.
                if metadata.nlink() <= 2 {
                    collected.bytes += metadata.len();
                }
                if !options.dry_run {
                    self.unlink(path, &digest)?;
                }
                Ok(())
            })?;
        }
        for_each_file(&repository.uploads(), |path, metadata| {
            // Manifests being written have temporary names; the next start removes what a crash left of them.
            let is_session = path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."));
            if is_session && age(metadata) >= options.uploads && !self.0.sessions.is_busy(path) {
                collected.uploads += 1;
                collected.bytes += metadata.len();
                if !options.dry_run {
                    self.0.sessions.forget(path);
                    durable::remove(path)?;
                }
            }
            Ok(())
        })
    }

    /// Manifests that nothing leads to.
    fn gc_untagged(&self, repository: &Repository, options: &GcOptions, collected: &mut Collected) -> Result<()> {
        let _gate = repository.gate.write().unwrap_or_else(PoisonError::into_inner);
        let mut kept: HashSet<Digest> = HashSet::new();
        let mut next: Vec<Digest> = repository.state().tags.values().copied().collect();
        while let Some(digest) = next.pop() {
            if !kept.insert(digest) {
                continue;
            }
            next.extend(read(repository, &digest)?.iter().flat_map(Parsed::children).map(|child| child.digest));
            next.extend(repository.state().referrers.get(&digest).into_iter().flatten());
        }
        let all: Vec<Digest> = repository.state().manifests.keys().copied().collect();
        for digest in all.into_iter().filter(|digest| !kept.contains(digest)) {
            let path = repository.blob_path(&digest);
            if fs::metadata(&path).is_ok_and(|metadata| age(&metadata) < options.grace) {
                continue;
            }
            collected.manifests += 1;
            if !options.dry_run {
                repository.record(&[Change::Delete { digest }])?;
                self.unlink(&path, &digest)?;
                self.unsettle(repository.name());
            }
        }
        Ok(())
    }

    /// A repository without anything goes.
    fn gc_directory(
        &self,
        name: &Name,
        repository: std::sync::Arc<Repository>,
        options: &GcOptions,
        collected: &mut Collected,
    ) {
        let directory = repository.directory().to_owned();
        if repository.counts() != (0, 0) || !fs::metadata(&directory).is_ok_and(|found| age(&found) >= options.grace) {
            return;
        }
        let mut loaded = self.loaded();
        drop(repository);
        if loaded.get(name).is_some_and(|repository| std::sync::Arc::strong_count(repository) > 1) {
            return;
        }
        // Only what is empty can be removed; whoever pushes at this moment makes it again.
        let empty = ["uploads", "blobs/sha256", "blobs/sha512"]
            .iter()
            .all(|part| fs::read_dir(directory.join(part)).map_or(true, |mut entries| entries.next().is_none()));
        if empty {
            loaded.remove(name);
            if fs::remove_dir_all(&directory).is_ok() {
                collected.repositories += 1;
            }
        }
    }
}

/// A manifest; `None` if it has been deleted.
fn read(repository: &Repository, digest: &Digest) -> Result<Option<Parsed>> {
    let Some(entry) = repository.entry(digest) else { return Ok(None) };
    let parsed =
        repository.read_manifest(digest).and_then(|bytes| Parsed::read(Some(&entry.media_type), &bytes)).map(Some);
    match parsed {
        Err(_) if repository.entry(digest).is_none() => Ok(None),
        other => other,
    }
}

/// All manifests and what they refer to.
fn references(repository: &Repository) -> Result<HashSet<Digest>> {
    let manifests: Vec<Digest> = repository.state().manifests.keys().copied().collect();
    let mut used = HashSet::new();
    for digest in manifests {
        used.insert(digest);
        for content in read(repository, &digest)?.into_iter().flat_map(|parsed| parsed.content) {
            if content.relation != Relation::Child {
                used.insert(content.digest);
            }
        }
    }
    Ok(used)
}

/// With a grace of zero age says nothing: does a manifest that came since the snapshot refer to it?
fn refers_now(repository: &Repository, used: &HashSet<Digest>, digest: &Digest, options: &GcOptions) -> Result<bool> {
    if !options.grace.is_zero() {
        return Ok(false);
    }
    let new: Vec<Digest> = repository.state().manifests.keys().filter(|known| !used.contains(known)).copied().collect();
    for known in &new {
        let parsed = read(repository, known)?;
        if parsed.is_some_and(|parsed| parsed.content.iter().any(|content| content.digest == *digest)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn for_each_file(directory: &Path, mut work: impl FnMut(&Path, &fs::Metadata) -> Result<()>) -> Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(Error::Io { op: "list", path: directory.to_owned(), source }),
    };
    for entry in entries {
        let entry = entry.map_err(Error::io("list", directory))?;
        // Gone meanwhile is as good as never there.
        if let Ok(metadata) = entry.metadata()
            && metadata.is_file()
        {
            work(&entry.path(), &metadata)?;
        }
    }
    Ok(())
}
