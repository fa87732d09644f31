//! The images of an engine on this machine, as repositories: read-only, from its store as it is at the moment.
//!
//! ```text
//!  docker.io/library/httpd:2.4 ─▶ repository library/httpd, tag 2.4        other hosts keep their name: ghcr.io/a/b;
//!  localhost:5000/x:1          ─▶ repository localhost_5000/x, tag 1       ":" of a port becomes "_"
//! ```
//! What the engine has no compressed blobs of (images that were built or imported and never pushed) is not there.

use std::fs::File;
use std::path::{Path, PathBuf};

use oci::Reference;
use store::{ImageRecord, View};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::{MANIFEST_LIMIT, Parsed};
use crate::name::Name;
use crate::push;

/// A look at the store below a data root. The engine may run meanwhile.
#[derive(Debug)]
pub struct EngineView {
    view: View,
    blobs: PathBuf,
}

fn own(digest: &oci::Digest) -> Digest {
    Digest::Sha256(*digest.as_bytes())
}

fn has(record: &ImageRecord, digest: &Digest) -> bool {
    own(&record.id) == *digest || record.blobs.iter().any(|blob| own(&blob.digest) == *digest)
}

/// Repository and tag of a name of the engine.
fn place(reference: &Reference) -> Option<(Name, String)> {
    let name = match reference.domain.as_str() {
        "docker.io" => reference.path.clone(),
        domain => format!("{}/{}", domain.replace(':', "_"), reference.path),
    };
    Some((Name::parse(&name).ok()?, reference.tag_or_latest().to_owned()))
}

impl EngineView {
    pub fn open(data_root: &Path) -> Result<EngineView> {
        Ok(EngineView { view: View::open(data_root)?, blobs: data_root.join("content").join("blobs") })
    }

    /// All tags, with their images.
    fn tags(&self) -> Result<Vec<(Name, String, ImageRecord)>> {
        let tags = self.view.tags()?;
        Ok(tags
            .into_iter()
            .filter_map(|(reference, record)| place(&reference).map(|(name, tag)| (name, tag, record)))
            .filter(|(_, _, record)| self.is_complete(record))
            .collect())
    }

    /// Is all of it there that a client would ask for?
    fn is_complete(&self, record: &ImageRecord) -> bool {
        let Some(manifest) = &record.manifest else { return false };
        let Some((_, bytes)) = self.read(&own(manifest)).ok().flatten() else { return false };
        let Ok(parsed) = Parsed::read(None, &bytes) else { return false };
        parsed.content.iter().all(|content| self.path(&content.digest).is_file())
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.algorithm().name()).join(digest.hex())
    }

    /// Names of repositories, in order.
    pub fn names(&self) -> Result<Vec<Name>> {
        let mut names: Vec<Name> = self.tags()?.into_iter().map(|(name, _, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// Tags of a repository, in order; `None` when there is none of this name.
    pub fn tags_of(&self, name: &Name) -> Result<Option<Vec<String>>> {
        let mut tags: Vec<String> =
            self.tags()?.into_iter().filter(|(found, _, _)| found == name).map(|(_, tag, _)| tag).collect();
        tags.sort_unstable();
        Ok((!tags.is_empty()).then_some(tags))
    }

    /// The manifest that a reference names: digest, type and bytes.
    pub fn manifest(&self, name: &Name, reference: &push::Reference) -> Result<Option<(Digest, String, Vec<u8>)>> {
        for (_, tag, record) in self.tags()?.into_iter().filter(|(found, _, _)| found == name) {
            let Some(manifest) = record.manifest.as_ref().map(own) else { continue };
            let fits = match reference {
                push::Reference::Tag(wanted) => wanted.as_str() == tag,
                push::Reference::Digest(wanted) => *wanted == manifest,
            };
            if fits && let Some((media_type, bytes)) = self.read(&manifest)? {
                return Ok(Some((manifest, media_type, bytes)));
            }
        }
        Ok(None)
    }

    fn read(&self, digest: &Digest) -> Result<Option<(String, Vec<u8>)>> {
        let path = self.path(digest);
        if !std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() <= MANIFEST_LIMIT) {
            return Ok(None);
        }
        let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
        Ok(Parsed::read(None, &bytes).ok().map(|parsed| (parsed.media_type, bytes)))
    }

    /// Where a blob is that an image has, complete or not, whose repository `may_read` allows.
    pub(crate) fn shared(&self, digest: &Digest, may_read: impl Fn(&Name) -> bool) -> Result<Option<PathBuf>> {
        let path = self.path(digest);
        if !path.is_file() {
            return Ok(None);
        }
        let belongs = self.view.tags()?.iter().any(|(reference, record)| {
            has(record, digest) && place(reference).is_some_and(|(name, _)| may_read(&name))
        });
        Ok(belongs.then_some(path))
    }

    /// A blob of an image of this repository; its size.
    pub fn blob(&self, name: &Name, digest: &Digest) -> Result<Option<(File, u64)>> {
        if !self.tags()?.iter().any(|(found, _, record)| found == name && has(record, digest)) {
            return Ok(None);
        }
        let path = self.path(digest);
        match File::open(&path).and_then(|file| file.metadata().map(|metadata| (file, metadata.len()))) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Io { op: "open", path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        for (reference, expect) in [
            ("busybox", "library/busybox latest"),
            ("team/x:1", "team/x 1"),
            ("ghcr.io/a/b:v2", "ghcr.io/a/b v2"),
            ("localhost:5000/x:1", "localhost_5000/x 1"),
        ] {
            let (name, tag) = place(&Reference::parse(reference).unwrap()).unwrap();
            assert_eq!(format!("{name} {tag}"), expect);
        }
    }
}
