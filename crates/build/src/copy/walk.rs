//! A tree's entries with their metadata, parents before children, sorted by name: the same order on every machine.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use archive::tar::{Kind, Metadata, Time};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use crate::error::{Error, Result};
use crate::tree::Tree;

/// The most entries of one copy.
const MAX_ENTRIES: usize = 5_000_000;

/// The deepest directory.
const MAX_DEPTH: usize = 2_000;

/// One file, directory or other thing.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Path in the source tree, without links.
    pub source: Vec<u8>,
    /// `path` is relative to what was walked; empty for that itself. `link` of a hard link is relative too.
    pub metadata: Metadata,
    /// Where the data of a file is.
    pub content: Content,
}

/// Where the data of a file is.
#[derive(Debug, Clone)]
pub enum Content {
    /// It has none.
    Nothing,
    /// Here: a here-document.
    Bytes(Arc<[u8]>),
    /// In a file that has no name: a download.
    File(Arc<std::fs::File>),
    /// In a tree, at [`Entry::source`].
    Tree(Arc<Tree>),
}

/// Walks what is at `path` (a path without links). `skip` is asked about everything below it, by its path relative to
/// `path` and whether it is a directory, which is then skipped with all that is in it.
pub fn walk(tree: &Arc<Tree>, path: &[u8], skip: &dyn Fn(&[u8], bool) -> bool) -> Result<Vec<Entry>> {
    let mut walker = Walker { tree, skip, start: path, entries: Vec::new(), seen: HashMap::new() };
    let failed = |error: io::Error| Error::system(format!("read {}", String::from_utf8_lossy(path)), error);
    let opened = tree.open(path, OFlags::PATH).map_err(failed)?;
    let stat = rustix::fs::fstat(&opened).map_err(|errno| failed(errno.into()))?;
    walker.add(Vec::new(), &stat, opened.as_fd(), b"").map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        let directory = tree.open(path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
        walker.directory(directory, &[], 0)?;
    }
    Ok(walker.entries)
}

struct Walker<'a> {
    tree: &'a Arc<Tree>,
    skip: &'a dyn Fn(&[u8], bool) -> bool,
    start: &'a [u8],
    entries: Vec<Entry>,
    /// First path of a file with several names.
    seen: HashMap<(u64, u64), Vec<u8>>,
}

impl Walker<'_> {
    fn directory(&mut self, directory: OwnedFd, path: &[u8], depth: usize) -> Result<()> {
        let failed =
            |error: io::Error| Error::system(format!("read the directory {}", String::from_utf8_lossy(path)), error);
        if depth > MAX_DEPTH {
            return Err(Error::Invalid(format!("{} is too deep", String::from_utf8_lossy(path))));
        }
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory).map_err(|errno| failed(errno.into()))? {
            let name = entry.map_err(|errno| failed(errno.into()))?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        names.sort();
        for name in names {
            let below = if path.is_empty() { name.clone() } else { [path, b"/", &name].concat() };
            let stat = rustix::fs::statat(&directory, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| failed(errno.into()))?;
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if (self.skip)(&below, is_directory) {
                continue;
            }
            self.add(below.clone(), &stat, directory.as_fd(), &name).map_err(failed)?;
            if is_directory {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner = rustix::fs::openat(&directory, name.as_slice(), flags, Mode::empty())
                    .map_err(|errno| failed(errno.into()))?;
                self.directory(inner, &below, depth + 1)?;
            }
        }
        Ok(())
    }

    /// `name` in `directory`, or `directory` itself for an empty name.
    fn add(
        &mut self,
        path: Vec<u8>,
        stat: &Stat,
        directory: std::os::fd::BorrowedFd<'_>,
        name: &[u8],
    ) -> io::Result<()> {
        if self.entries.len() >= MAX_ENTRIES {
            return Err(io::Error::other("too many files"));
        }
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            FileType::CharacterDevice => Kind::CharDevice,
            FileType::BlockDevice => Kind::BlockDevice,
            FileType::Fifo => Kind::Fifo,
            // A socket has a meaning only where its process is.
            _ => return Ok(()),
        };
        let source = match (self.start.is_empty(), path.is_empty()) {
            (true, _) => path.clone(),
            (false, true) => self.start.to_vec(),
            (false, false) => [self.start, b"/", &path].concat(),
        };
        let mut metadata = Metadata::new(path, kind);
        metadata.mode = stat.st_mode & 0o7777;
        metadata.uid = stat.st_uid;
        metadata.gid = stat.st_gid;
        metadata.mtime = Time { seconds: stat.st_mtime, nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) };
        match kind {
            Kind::File => {
                metadata.size = u64::try_from(stat.st_size).unwrap_or(0);
                if stat.st_nlink > 1 {
                    let key = (stat.st_dev, stat.st_ino);
                    match self.seen.get(&key) {
                        Some(first) => {
                            metadata.kind = Kind::Hardlink;
                            metadata.link.clone_from(first);
                            metadata.size = 0;
                        }
                        None => {
                            self.seen.insert(key, metadata.path.clone());
                        }
                    }
                }
            }
            Kind::Symlink => metadata.link = rustix::fs::readlinkat(directory, name, Vec::new())?.into_bytes(),
            Kind::CharDevice | Kind::BlockDevice => {
                metadata.device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))
            }
            _ => {}
        }
        let content = if metadata.kind == Kind::File { Content::Tree(Arc::clone(self.tree)) } else { Content::Nothing };
        self.entries.push(Entry { source, metadata, content });
        Ok(())
    }
}

impl Entry {
    /// A file with content of its own.
    #[must_use]
    pub fn of_content(path: impl Into<Vec<u8>>, mode: u32, content: impl Into<Arc<[u8]>>) -> Entry {
        let content = content.into();
        let mut metadata = Metadata::new(path, Kind::File);
        metadata.mode = mode;
        metadata.size = content.len() as u64;
        Entry { source: Vec::new(), metadata, content: Content::Bytes(content) }
    }

    /// A directory that root owns.
    #[must_use]
    pub fn directory(path: impl Into<Vec<u8>>) -> Entry {
        Entry { source: Vec::new(), metadata: Metadata::new(path, Kind::Directory), content: Content::Nothing }
    }

    /// The data; nothing for what is no file.
    pub fn open(&self) -> io::Result<Box<dyn io::Read + Send>> {
        Ok(match &self.content {
            Content::Nothing => Box::new(io::empty()),
            Content::Bytes(content) => Box::new(io::Cursor::new(Arc::clone(content))),
            Content::File(file) => Box::new(At { file: Arc::clone(file), offset: 0 }),
            Content::Tree(tree) => {
                Box::new(std::fs::File::from(tree.open(&self.source, OFlags::RDONLY | OFlags::NONBLOCK)?))
            }
        })
    }
}

/// A file from its beginning, whoever else reads it.
struct At {
    file: Arc<std::fs::File>,
    offset: u64,
}

impl io::Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = std::os::unix::fs::FileExt::read_at(&*self.file, buffer, self.offset)?;
        self.offset += length as u64;
        Ok(length)
    }
}
