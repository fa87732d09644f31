//! A directory tree, written as an archive.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, fstatfs, openat, readlinkat, statat};
use rustix::io::Errno;

use super::error::{Error, Result};
use super::xattr::{self, Of};
use crate::tar::{Kind, Metadata, Time, Writer, limits};

/// Directories inside of each other; one descriptor is open for each.
const MAX_DEPTH: usize = 2048;

/// Bytes of a file that are read at once.
const BUFFER: usize = 256 * 1024;

/// Says whether an entry, named by its path in the archive, is packed, with everything below it.
pub type Filter<'a> = Box<dyn FnMut(&Metadata) -> bool + 'a>;

/// What is packed, and how.
#[derive(Default)]
pub struct PackOptions<'a> {
    /// The tree is the upper directory of an overlay: its whiteouts and opaque directories become `.wh.` entries
    /// (OCI image-spec, `layer.md`, "Whiteouts").
    pub overlay: bool,
    /// What is mounted below is an empty directory.
    pub one_file_system: bool,
    /// Extended attributes are left out.
    pub no_xattrs: bool,
    /// Owners from `.0` on, `.1` of them, are counted from 0: the ids of a user namespace as it knows them.
    pub ids: Option<(u32, u32)>,
    /// Says who the owner is that is stored at a place with these ids: the other way round.
    pub shown: Option<super::Stored<'a>>,
    pub filter: Option<Filter<'a>>,
}

/// Writes trees into one archive. Files with several names are written once.
pub struct Packer<'a, W> {
    writer: Writer<W>,
    options: PackOptions<'a>,
    /// Device and inode of files with names that were not seen yet: the first name, and how many are to come.
    links: HashMap<(u64, u64), (Vec<u8>, u64)>,
    xattrs: xattr::Reader,
    buffer: Vec<u8>,
}

struct Level {
    dir: Dir,
    /// Length of the directory's path.
    length: usize,
    device: u64,
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// File systems that are windows into the kernel: packed as empty directories. The magic numbers of
/// `<linux/magic.h>`: proc, sysfs, cgroup 1 and 2, devpts, mqueue, securityfs, debugfs, tracefs, bpf, pstore.
const WINDOWS: [u64; 11] = [
    0x9fa0,
    0x6265_6572,
    0x27_e0eb,
    0x6367_7270,
    0x1cd1,
    0x1980_0202,
    0x7363_6673,
    0x6462_6720,
    0x7472_6163,
    0xcafe_4a11,
    0x6165_676c,
];

/// Whether a descriptor is in one of the kernel's windows (`/proc`, `/sys` and the like), whose files are no files.
pub(super) fn is_window(descriptor: impl AsFd) -> bool {
    fstatfs(descriptor).is_ok_and(|stat| WINDOWS.contains(&(stat.f_type as u64)))
}

impl<'a, W: Write> Packer<'a, W> {
    pub fn new(sink: W, options: PackOptions<'a>) -> Packer<'a, W> {
        let writer = Writer::new(sink);
        Packer { writer, options, links: HashMap::new(), xattrs: xattr::Reader::new(), buffer: vec![0; BUFFER] }
    }

    /// Packs one entry of a directory under `path`, and everything below it.
    pub fn entry(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<()> {
        let mut path = path.to_vec();
        match self.one(parent, name, &mut path)? {
            Some(directory) => self.below(directory, path),
            None => Ok(()),
        }
    }

    /// Packs an open directory under `path` (empty: the archive's root), and everything below it.
    pub fn directory(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        let directory = openat(directory, ".", DIRECTORY, Mode::empty()).map_err(Error::io("open", path))?;
        if self.head(&directory, path)? { self.below(directory, path.to_vec()) } else { Ok(()) }
    }

    /// Packs what is in an open directory, below `path`, without an entry for the directory itself.
    pub fn contents(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        let directory = openat(directory, ".", DIRECTORY, Mode::empty()).map_err(Error::io("open", path))?;
        self.below(directory, path.to_vec())
    }

    /// Writes the end of the archive, and gives the sink back.
    pub fn finish(self) -> Result<W> {
        self.writer.finish().map_err(Error::Sink)
    }

    fn below(&mut self, directory: OwnedFd, mut path: Vec<u8>) -> Result<()> {
        let level = |directory: OwnedFd, path: &[u8]| -> Result<Level> {
            let device = fstat(&directory).map_err(Error::io("stat", path))?.st_dev;
            Ok(Level { dir: Dir::new(directory).map_err(Error::io("read", path))?, length: path.len(), device })
        };
        let mut levels = vec![level(directory, &path)?];
        while let Some(current) = levels.last_mut() {
            path.truncate(current.length);
            let entry = match current.dir.read() {
                None => {
                    levels.pop();
                    continue;
                }
                Some(entry) => entry.map_err(Error::io("read", &path))?,
            };
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            if !path.is_empty() && !path.ends_with(b"/") {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            let here = current.dir.fd().map_err(Error::io("read", &path))?;
            let Some(directory) = self.one(here, name, &mut path)? else { continue };
            let below = level(directory, &path)?;
            let mounted = below.device != current.device;
            if mounted && (self.options.one_file_system || is_window(below.dir.fd().map_err(Error::io("read", &path))?))
            {
                continue;
            }
            if levels.len() >= MAX_DEPTH {
                return Err(Error::TooLong { path: crate::tar::shown(&path) });
            }
            levels.push(below);
        }
        Ok(())
    }

    /// One entry by itself; a directory that has to be gone into is given back. An entry that vanishes is left out.
    fn one(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: &mut Vec<u8>) -> Result<Option<OwnedFd>> {
        if path.len() > limits::PATH {
            return Err(Error::TooLong { path: crate::tar::shown(path) });
        }
        let stat = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(Error::io("stat", path)(errno)),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if self.options.overlay && kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            let at = path.len() - name.len();
            path.splice(at..at, *b".wh.");
            return self.plain(&Metadata { mode: 0, ..Metadata::new(path.clone(), Kind::File) }).map(|()| None);
        }
        if kind == FileType::Directory {
            let directory = match openat(parent, name, DIRECTORY, Mode::empty()) {
                Ok(directory) => directory,
                // It was there a moment ago.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                Err(errno) => return Err(Error::io("open", path)(errno)),
            };
            return Ok(self.head(&directory, path)?.then_some(directory));
        }
        if stat.st_nlink > 1 && kind != FileType::Socket {
            let key = (stat.st_dev, stat.st_ino);
            let found = self.links.contains_key(&key).then(|| self.owned(parent, metadata_of(&stat, path)));
            if let Some(((first, more), found)) = self.links.get_mut(&key).zip(found) {
                let metadata = Metadata { link: first.clone(), kind: Kind::Hardlink, size: 0, ..found };
                *more -= 1;
                if *more == 0 {
                    self.links.remove(&key);
                }
                return self.plain(&metadata).map(|()| None);
            }
        }
        let outcome = match kind {
            FileType::RegularFile => self.file(parent, name, path),
            FileType::Symlink => match readlinkat(parent, name, Vec::new()) {
                Ok(link) => {
                    let mut metadata = self.owned(parent, metadata_of(&stat, path));
                    metadata.link = link.into_bytes();
                    self.special(parent, name, metadata)
                }
                Err(Errno::NOENT | Errno::INVAL) => Ok(()),
                Err(errno) => Err(Error::io("read", path)(errno)),
            },
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo => {
                self.special(parent, name, self.owned(parent, metadata_of(&stat, path)))
            }
            // A socket means nothing without its process; archives have no word for it.
            _ => return Ok(None),
        };
        if outcome.is_ok() && stat.st_nlink > 1 {
            self.links.insert((stat.st_dev, stat.st_ino), (path.clone(), stat.st_nlink as u64 - 1));
        }
        outcome.map(|()| None)
    }

    /// A directory's own entry; false when it is left out.
    fn head(&mut self, directory: &OwnedFd, path: &[u8]) -> Result<bool> {
        let stat = fstat(directory).map_err(Error::io("stat", path))?;
        let mut metadata = self.owned(directory.as_fd(), metadata_of(&stat, path));
        if self.refused(&metadata) {
            return Ok(false);
        }
        metadata.xattrs = self.attributes(&Of::File(directory.as_fd()), path)?;
        self.write(&metadata)?;
        if self.options.overlay {
            if xattr::overlay_mark(directory, "redirect", 0) {
                return Err(Error::Redirected { path: crate::tar::shown(path) });
            }
            if xattr::overlay_mark(directory, "opaque", b'y') {
                let separator: &[u8] = if path.is_empty() { b"" } else { b"/" };
                let name = [path, separator, b".wh..wh..opq"].concat();
                self.write(&Metadata { mode: 0, ..Metadata::new(name, Kind::File) })?;
            }
        }
        Ok(true)
    }

    /// A regular file: found without opening it, then opened as the very thing that was found.
    fn file(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<()> {
        let found = match openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(Error::io("open", path)(errno)),
        };
        let stat = fstat(&found).map_err(Error::io("stat", path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        let mut metadata = self.owned(found.as_fd(), metadata_of(&stat, path));
        if self.refused(&metadata) {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = openat(rustix::fs::CWD, format!("/proc/self/fd/{}", found.as_raw_fd()), flags, Mode::empty())
            .map_err(Error::io("open", path))?;
        drop(found);
        if self.options.overlay && xattr::overlay_mark(&file, "metacopy", 0) {
            return Err(Error::Redirected { path: crate::tar::shown(path) });
        }
        metadata.xattrs = self.attributes(&Of::File(file.as_fd()), path)?;
        self.writer.begin(&metadata).map_err(Error::Sink)?;
        let mut file = File::from(file);
        let mut left = metadata.size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let count = match file.read(&mut self.buffer[..most]) {
                // It became shorter: the size is announced, so the rest is zeros.
                Ok(0) => {
                    self.buffer[..most].fill(0);
                    most
                }
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::std("read", path)(error)),
            };
            self.writer.data(&self.buffer[..count]).map_err(Error::Sink)?;
            left -= count as u64;
        }
        self.writer.end(metadata.size).map_err(Error::Sink)
    }

    /// With the owner that is to be shown. `at`: the file or its directory.
    fn owned(&self, at: BorrowedFd<'_>, metadata: Metadata) -> Metadata {
        let mut metadata = shifted(metadata, self.options.ids);
        if let Some(shown) = &self.options.shown {
            (metadata.uid, metadata.gid) = shown(at, metadata.uid, metadata.gid);
        }
        metadata
    }

    fn special(&mut self, parent: BorrowedFd<'_>, name: &[u8], mut metadata: Metadata) -> Result<()> {
        metadata.xattrs = self.attributes(&Of::Entry(parent, name), &metadata.path)?;
        self.plain(&metadata)
    }

    fn plain(&mut self, metadata: &Metadata) -> Result<()> {
        if self.refused(metadata) { Ok(()) } else { self.write(metadata) }
    }

    fn write(&mut self, metadata: &Metadata) -> Result<()> {
        self.writer.append(metadata, std::io::empty()).map_err(Error::Sink)
    }

    fn refused(&mut self, metadata: &Metadata) -> bool {
        self.options.filter.as_mut().is_some_and(|filter| !filter(metadata))
    }

    fn attributes(&mut self, of: &Of<'_>, path: &[u8]) -> Result<Vec<crate::tar::Xattr>> {
        if self.options.no_xattrs {
            return Ok(Vec::new());
        }
        self.xattrs.all(of).map_err(Error::io("read the attributes of", path))
    }
}

/// Owners as a user namespace has them; what is outside of it stays.
fn shifted(mut metadata: Metadata, ids: Option<(u32, u32)>) -> Metadata {
    if let Some((first, count)) = ids {
        for id in [&mut metadata.uid, &mut metadata.gid] {
            *id = id.checked_sub(first).filter(|inside| *inside < count).unwrap_or(*id);
        }
    }
    metadata
}

/// What stat(2) says, as a member's metadata; link target and attributes are left empty.
pub fn metadata_of(stat: &Stat, path: &[u8]) -> Metadata {
    let (kind, device) = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => (Kind::Directory, 0),
        FileType::Symlink => (Kind::Symlink, 0),
        FileType::CharacterDevice => (Kind::CharDevice, stat.st_rdev),
        FileType::BlockDevice => (Kind::BlockDevice, stat.st_rdev),
        FileType::Fifo => (Kind::Fifo, 0),
        _ => (Kind::File, 0),
    };
    Metadata {
        path: path.to_vec(),
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: Time { seconds: stat.st_mtime, nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) },
        size: if kind == Kind::File { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 },
        link: Vec::new(),
        device: (rustix::fs::major(device), rustix::fs::minor(device)),
        xattrs: Vec::new(),
    }
}
