//! Where copied entries go in the image.

use std::collections::BTreeSet;

use archive::tar::{Kind, Metadata, Time};
use rustix::fs::{FileType, OFlags};

use super::mode;
use super::walk::{Content, Entry};
use crate::error::{Error, Result};
use crate::tree::{Resolved, Tree, components};

/// What is said of all entries of one instruction.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// `--chown`, for what does not keep its owner.
    pub owner: (u32, u32),
    /// `--chmod`.
    pub mode: Option<mode::Change>,
    /// Times later than this become this (`SOURCE_DATE_EPOCH`), in seconds.
    pub latest: Option<i64>,
    /// Time of directories that are made.
    pub now: i64,
}

/// Something to copy: entries below one path, and the name it has if it goes into a directory.
#[derive(Debug)]
pub struct Source {
    /// The last name of the source.
    pub name: Vec<u8>,
    /// `--parents`: where below the destination, instead of the name.
    pub parents: Option<Vec<u8>>,
    /// The entries; the first is the source itself.
    pub entries: Vec<Entry>,
    /// Keep owners as they are: those of an archive, of a stage, of an image.
    pub keep_owner: bool,
}

/// Gives every entry its path in the image, and adds the directories on the way. `image` is the file system that is copied
/// into (`None` for `--link`: nothing below is looked at).
pub fn place(image: Option<&Tree>, destination: &str, sources: Vec<Source>, rules: &Rules) -> Result<Vec<Entry>> {
    let failed = |error: std::io::Error| Error::system(format!("look at the destination {destination:?}"), error);
    let given = components(destination.as_bytes()).collect::<Vec<_>>().join(&b'/');
    let resolved = match image {
        Some(image) => image.resolve(&given).map_err(failed)?,
        None => Resolved { path: given.clone(), kind: None },
    };
    let several = sources.len() > 1;
    let into_directory = destination.ends_with('/')
        || destination.ends_with("/.")
        || several
        || resolved.kind == Some(FileType::Directory)
        || resolved.path.is_empty();
    if into_directory && resolved.kind.is_some_and(|kind| kind != FileType::Directory) {
        return Err(Error::Invalid(format!("cannot copy to non-directory: {destination}")));
    }
    let mut placed = Placed { image, rules, directories: BTreeSet::new(), entries: Vec::new(), last: None };
    if sources.is_empty() {
        // A pattern that matches nothing: the directory that it would have gone to is made all the same.
        placed.ensure_directory(if destination.ends_with('/') { &resolved.path } else { parent(&resolved.path) })?;
    }
    for source in sources {
        let is_directory = source.entries.first().is_some_and(|entry| entry.metadata.kind == Kind::Directory);
        let base = match (&source.parents, is_directory) {
            (Some(parents), _) => join(&resolved.path, parents),
            // The directory's contents, not itself.
            (None, true) => resolved.path.clone(),
            (None, false) if into_directory => join(&resolved.path, &source.name),
            (None, false) => resolved.path.clone(),
        };
        if is_directory {
            if resolved.kind.is_some_and(|kind| kind != FileType::Directory) {
                return Err(Error::Invalid(format!("cannot copy to non-directory: {destination}")));
            }
            placed.ensure_directory(&base)?;
        } else {
            placed.ensure_directory(parent(&base))?;
        }
        for entry in source.entries {
            if is_directory && entry.metadata.path.is_empty() {
                continue;
            }
            placed.add(entry, &base, source.keep_owner)?;
        }
    }
    Ok(placed.entries)
}

struct Placed<'a> {
    image: Option<&'a Tree>,
    rules: &'a Rules,
    /// Directories that the layer has already.
    directories: BTreeSet<Vec<u8>>,
    entries: Vec<Entry>,
    /// The directory that was looked up last, and what it is in the image: most entries lie beside the one before.
    last: Option<(Vec<u8>, Resolved)>,
}

impl Placed<'_> {
    /// The directories down to `path`: those of the image as they are there, the others new.
    fn ensure_directory(&mut self, path: &[u8]) -> Result<()> {
        let mut so_far: Vec<u8> = Vec::new();
        for part in components(path) {
            so_far = join(&so_far, part);
            if !self.directories.insert(so_far.clone()) {
                continue;
            }
            let failed =
                |error: std::io::Error| Error::system(format!("look at {}", String::from_utf8_lossy(path)), error);
            let there = match self.image {
                Some(image) => {
                    Some(image.resolve_parent(&so_far).map_err(failed)?).filter(|found| found.kind.is_some())
                }
                None => None,
            };
            let metadata = match (self.image, there) {
                (Some(image), Some(found)) => {
                    if found.kind != Some(FileType::Directory) {
                        return Err(Error::Invalid(format!(
                            "cannot copy to non-directory: /{}",
                            String::from_utf8_lossy(&so_far)
                        )));
                    }
                    let directory = image.open(&found.path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
                    let stat = rustix::fs::fstat(&directory).map_err(|errno| failed(errno.into()))?;
                    let mut metadata = Metadata::new(so_far.clone(), Kind::Directory);
                    metadata.mode = stat.st_mode & 0o7777;
                    (metadata.uid, metadata.gid) = (stat.st_uid, stat.st_gid);
                    metadata.mtime = Time { seconds: stat.st_mtime, nanos: 0 };
                    metadata.xattrs = super::layer::xattrs(&directory).map_err(failed)?;
                    metadata
                }
                _ => {
                    let mut metadata = Metadata::new(so_far.clone(), Kind::Directory);
                    (metadata.uid, metadata.gid) = self.rules.owner;
                    if let Some(change) = &self.rules.mode {
                        metadata.mode = change.apply(metadata.mode, true);
                    }
                    metadata.mtime = self.time(Time { seconds: self.rules.now, nanos: 0 });
                    metadata
                }
            };
            self.entries.push(Entry { source: Vec::new(), metadata, content: Content::Nothing });
        }
        Ok(())
    }

    fn add(&mut self, mut entry: Entry, base: &[u8], keep_owner: bool) -> Result<()> {
        let metadata = &mut entry.metadata;
        let relative = std::mem::take(&mut metadata.path);
        let there = self.through_links(join(base, &relative), metadata.kind)?;
        metadata.path = there.path;
        if metadata.kind == Kind::Hardlink {
            let first = std::mem::take(&mut metadata.link);
            metadata.link = self.through_links(join(base, &first), Kind::File)?.path;
        }
        if !keep_owner {
            (metadata.uid, metadata.gid) = self.rules.owner;
        }
        if let Some(change) = &self.rules.mode
            && metadata.kind != Kind::Symlink
        {
            metadata.mode = change.apply(metadata.mode, metadata.kind == Kind::Directory);
        }
        metadata.mtime = self.time(metadata.mtime);
        if metadata.kind == Kind::Directory {
            self.directories.insert(metadata.path.clone());
        } else if there.kind == Some(FileType::Directory) {
            return Err(Error::Invalid(format!(
                "cannot replace to directory /{} with file",
                String::from_utf8_lossy(&metadata.path)
            )));
        }
        self.entries.push(entry);
        Ok(())
    }

    /// A directory of the image that is a link leads where it points: files copied "into" it go there.
    fn through_links(&mut self, path: Vec<u8>, kind: Kind) -> Result<Resolved> {
        let Some(image) = self.image else { return Ok(Resolved { path, kind: None }) };
        let found = self
            .look(image, &path, kind == Kind::Directory)
            .map_err(|error| Error::system(format!("look at {}", String::from_utf8_lossy(&path)), error))?;
        match (kind, found.kind) {
            (Kind::Directory, Some(other)) if other != FileType::Directory => Err(Error::Invalid(format!(
                "cannot overwrite non-directory /{} with directory",
                String::from_utf8_lossy(&path)
            ))),
            _ => Ok(found),
        }
    }

    /// [`Tree::resolve`] and [`Tree::resolve_parent`] by way of the directory above, which is mostly known.
    fn look(&mut self, image: &Tree, path: &[u8], follow_last: bool) -> std::io::Result<Resolved> {
        let (above, name) = (parent(path), last(path));
        if self.last.as_ref().is_none_or(|(known, _)| known != above) {
            self.last = Some((above.to_vec(), image.resolve(above)?));
        }
        match &self.last {
            Some((_, Resolved { path, kind: None })) if name != b".." => {
                Ok(Resolved { path: join(path, name), kind: None })
            }
            _ if follow_last => image.resolve(path),
            _ => image.resolve_parent(path),
        }
    }

    fn time(&self, time: Time) -> Time {
        match self.rules.latest {
            Some(latest) if time.seconds >= latest => Time { seconds: latest, nanos: 0 },
            _ => time,
        }
    }
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    match (path.is_empty(), name.is_empty()) {
        (true, _) => name.to_vec(),
        (_, true) => path.to_vec(),
        _ => [path, b"/", name].concat(),
    }
}

fn last(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(path, |slash| &path[slash + 1..])
}

fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(b"", |slash| &path[..slash])
}
