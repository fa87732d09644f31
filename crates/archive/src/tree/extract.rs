//! An archive, extracted below a directory.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, chmodat, chownat, fchmod, fchown, futimens,
    linkat, makedev, mkdirat, mknodat, openat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::error::{Error, Result};
use super::lookup::{open_beneath, open_in_root};
use super::remove::remove_entry;
use super::xattr;
use crate::tar::{Entry, Kind, Metadata, Reader, shown};

/// To whom extracted files belong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owner {
    /// As the archive says.
    #[default]
    Archive,
    /// User and group.
    Fixed(u32, u32),
    /// Whoever extracts; nothing is changed.
    Caller,
}

/// Changes a member; false leaves it out.
pub type Change<'a> = Box<dyn FnMut(&mut Metadata) -> bool + 'a>;

/// User and group as they are stored where a file is; that is the file itself, or its directory.
pub type Stored<'a> = Rc<dyn Fn(BorrowedFd<'_>, u32, u32) -> (u32, u32) + 'a>;

/// How it is extracted.
#[derive(Default)]
pub struct ExtractOptions<'a> {
    /// Links in the way of a member are followed, inside of the root. Without it they are an error.
    pub follow_links: bool,
    /// A directory is not replaced by something else, nor something else by a directory.
    pub keep_kind: bool,
    pub owner: Owner,
    /// Devices are left out (whoever extracts may not make them).
    pub no_devices: bool,
    /// Changes a member before it is extracted, or leaves it out.
    pub map: Option<Change<'a>>,
    /// Says with which ids an owner is stored at a place; without it they are the owner's.
    pub stored: Option<Stored<'a>>,
}

/// Extracts all members below `base`, a path below `root` that is a directory. Members that were extracted before an
/// error stay.
pub fn extract<R: Read>(
    reader: &mut Reader<R>,
    root: BorrowedFd<'_>,
    base: &[u8],
    options: ExtractOptions<'_>,
) -> Result<()> {
    let mut extract = Extract { root, base, options, parent: None, times: Vec::new() };
    while let Some(entry) = reader.next_entry()? {
        extract.member(entry)?;
    }
    extract.finish()
}

struct Extract<'a> {
    root: BorrowedFd<'a>,
    base: &'a [u8],
    options: ExtractOptions<'a>,
    /// The directory of the last member.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// Directories get mode and time when everything is in them.
    times: Vec<(Vec<u8>, u32, Timespec)>,
}

impl<'a> Extract<'a> {
    fn full(&self, path: &[u8]) -> Vec<u8> {
        if self.base.is_empty() || path.is_empty() {
            return [self.base, path].concat();
        }
        [self.base, b"/", path].concat()
    }

    fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let full = self.full(path);
        if self.options.follow_links {
            open_in_root(self.root, &full, flags)
        } else {
            open_beneath(self.root, &full, flags)
        }
    }

    /// The directory that a member goes into; missing ones are made.
    fn parent(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>> {
        if self.parent.as_ref().is_none_or(|(known, _)| known != path) {
            let opened = match self.open(path, OFlags::PATH | OFlags::DIRECTORY) {
                Err(Errno::NOENT) => self.make_parents(path)?,
                opened => opened.map_err(Error::io("open", path))?,
            };
            self.parent = Some((path.to_vec(), opened));
        }
        let (_, parent) = self.parent.as_ref().expect("it was just put there");
        Ok(parent.as_fd())
    }

    fn make_parents(&self, path: &[u8]) -> Result<OwnedFd> {
        let mut made: Vec<u8> = Vec::new();
        let mut directory = self.open(b"", OFlags::PATH | OFlags::DIRECTORY).map_err(Error::io("open", b""))?;
        for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            if !made.is_empty() {
                made.push(b'/');
            }
            made.extend_from_slice(part);
            match mkdirat(&directory, part, Mode::from_raw_mode(0o755)) {
                Ok(()) => {
                    let fixed = match self.options.owner {
                        Owner::Fixed(uid, gid) => Some((uid, gid)),
                        // Whoever extracts, in the words of the place.
                        _ => self.options.stored.is_some().then_some((0, 0)),
                    };
                    if let Some((uid, gid)) = fixed {
                        let (uid, gid) = self.owners().stored(directory.as_fd(), uid, gid);
                        chownat(&directory, part, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                            .map_err(Error::io("change the owner of", &made))?;
                    }
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(Error::io("make", &made)(errno)),
            }
            directory = self.open(&made, OFlags::PATH | OFlags::DIRECTORY).map_err(Error::io("open", &made))?;
        }
        Ok(directory)
    }

    fn member<R: Read>(&mut self, mut entry: Entry<'_, R>) -> Result<()> {
        if let Some(map) = &mut self.options.map
            && !map(&mut entry.metadata)
        {
            return Ok(());
        }
        let metadata = entry.metadata.clone();
        if self.options.no_devices && matches!(metadata.kind, Kind::CharDevice | Kind::BlockDevice) {
            return Ok(());
        }
        if metadata.path.is_empty() {
            return self.root_itself(&metadata);
        }
        let split = metadata.path.iter().rposition(|byte| *byte == b'/');
        let (above, name) = match split {
            Some(at) => (&metadata.path[..at], &metadata.path[at + 1..]),
            None => (&b""[..], &metadata.path[..]),
        };
        let link = match metadata.kind {
            Kind::Hardlink => Some(self.link_target(&metadata)?),
            _ => None,
        };
        self.parent(above)?;
        match self.make(above, name, &metadata, &mut entry, link.as_ref()) {
            Err(Error::Io { source, .. }) if source.raw_os_error() == Some(Errno::EXIST.raw_os_error()) => {
                if self.clear(above, name, &metadata)? {
                    return self.remember(&metadata);
                }
                self.make(above, name, &metadata, &mut entry, link.as_ref())
            }
            other => other,
        }
    }

    /// The archive's root: its mode, owner and time are the destination's.
    fn root_itself(&mut self, metadata: &Metadata) -> Result<()> {
        if metadata.kind != Kind::Directory {
            return Ok(());
        }
        let directory = self.open(b"", OFlags::RDONLY | OFlags::DIRECTORY).map_err(Error::io("open", b""))?;
        self.owners().own(&directory, metadata)?;
        self.remember(metadata)
    }

    fn link_target(&self, metadata: &Metadata) -> Result<OwnedFd> {
        let target =
            self.open(&metadata.link, OFlags::PATH | OFlags::NOFOLLOW).map_err(Error::io("link to", &metadata.link))?;
        let stat = rustix::fs::fstat(&target).map_err(Error::io("stat", &metadata.link))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Err(Error::io("link to", &metadata.link)(Errno::ISDIR));
        }
        Ok(target)
    }

    /// Something is there already. True: a directory that stays.
    fn clear(&mut self, above: &[u8], name: &[u8], metadata: &Metadata) -> Result<bool> {
        let path = &metadata.path;
        let base = format!("/{}", shown(self.base));
        let keep_kind = self.options.keep_kind;
        let owners = self.owners();
        let parent = self.parent(above)?;
        let stat = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(Error::io("stat", path)(errno)),
        };
        let was = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let is = metadata.kind == Kind::Directory;
        let shown_path = format!("{}/{}", base.trim_end_matches('/'), shown(path));
        match (was, is) {
            (true, true) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let directory = openat(parent, name, flags, Mode::empty()).map_err(Error::io("open", path))?;
                owners.own(&directory, metadata)?;
                return Ok(true);
            }
            (true, false) if keep_kind => return Err(Error::DirectoryInTheWay { path: shown_path, with: base }),
            (false, true) if keep_kind => return Err(Error::NonDirectoryInTheWay { path: shown_path, with: base }),
            _ => {}
        }
        remove_entry(parent, name).map_err(Error::io("replace", path))?;
        if was {
            // The directory of the last member may be below it.
            self.parent = None;
        }
        Ok(false)
    }

    fn make<R: Read>(
        &mut self,
        above: &[u8],
        name: &[u8],
        metadata: &Metadata,
        entry: &mut Entry<'_, R>,
        link: Option<&OwnedFd>,
    ) -> Result<()> {
        let path = &metadata.path;
        let owners = self.owners();
        let parent = self.parent(above)?;
        match metadata.kind {
            Kind::Directory => {
                mkdirat(parent, name, Mode::RWXU).map_err(Error::io("make", path))?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let directory = openat(parent, name, flags, Mode::empty()).map_err(Error::io("open", path))?;
                owners.own(&directory, metadata)?;
                return self.remember(metadata);
            }
            Kind::File => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = openat(parent, name, flags, Mode::RUSR | Mode::WUSR).map_err(Error::io("make", path))?;
                let mut file = File::from(file);
                copy(entry, &mut file, path)?;
                let file = OwnedFd::from(file);
                owners.own(&file, metadata)?;
                fchmod(&file, Mode::from_raw_mode(metadata.mode)).map_err(Error::io("change the mode of", path))?;
                return futimens(&file, &times(metadata)).map_err(Error::io("set the times of", path));
            }
            Kind::Symlink => {
                symlinkat(metadata.link.as_slice(), parent, name).map_err(Error::io("make", path))?;
            }
            Kind::Hardlink => {
                let target = link.expect("hard links come with their target");
                let linked = linkat(target, "", parent, name, AtFlags::EMPTY_PATH);
                // Without CAP_DAC_READ_SEARCH only the descriptor's name in /proc does it.
                let linked = match linked {
                    Err(Errno::NOENT | Errno::PERM) => {
                        use std::os::fd::AsRawFd;
                        let through = format!("/proc/self/fd/{}", target.as_raw_fd());
                        linkat(rustix::fs::CWD, through, parent, name, AtFlags::SYMLINK_FOLLOW)
                    }
                    other => other,
                };
                return linked.map_err(Error::io("link", path));
            }
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {
                let kind = match metadata.kind {
                    Kind::CharDevice => FileType::CharacterDevice,
                    Kind::BlockDevice => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                let device = makedev(metadata.device.0, metadata.device.1);
                mknodat(parent, name, kind, Mode::RUSR | Mode::WUSR, device).map_err(Error::io("make", path))?;
            }
        }
        if let Some((uid, gid)) = owners.ids(parent, metadata) {
            chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(Error::io("change the owner of", path))?;
        }
        xattr::set_entry(parent, name, &metadata.xattrs).map_err(Error::io("set the attributes of", path))?;
        if metadata.kind != Kind::Symlink {
            // fchmodat(2) follows links: of what was just made nobody but the container could have made one, and then it
            // changes a mode below the same root or fails.
            chmod_entry(parent, name, metadata.mode).map_err(Error::io("change the mode of", path))?;
        }
        utimensat(parent, name, &times(metadata), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(Error::io("set the times of", path))
    }

    fn owners(&self) -> Owners<'a> {
        Owners { owner: self.options.owner, stored: self.options.stored.clone() }
    }

    fn remember(&mut self, metadata: &Metadata) -> Result<()> {
        self.times.push((metadata.path.clone(), metadata.mode, time(metadata)));
        Ok(())
    }

    /// Modes and times of directories, the deepest first.
    fn finish(mut self) -> Result<()> {
        let times = std::mem::take(&mut self.times);
        for (path, mode, time) in times.into_iter().rev() {
            let directory = match self.open(&path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW) {
                Ok(directory) => directory,
                // Somebody else has changed it meanwhile.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(errno) => return Err(Error::io("open", &path)(errno)),
            };
            fchmod(&directory, Mode::from_raw_mode(mode)).map_err(Error::io("change the mode of", &path))?;
            let both = Timestamps { last_access: time, last_modification: time };
            futimens(&directory, &both).map_err(Error::io("set the times of", &path))?;
        }
        Ok(())
    }
}

/// Through a descriptor that was opened without following: the mode of a device or FIFO.
fn chmod_entry(parent: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    let node = openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let through = format!("/proc/self/fd/{}", node.as_raw_fd());
    chmodat(rustix::fs::CWD, through, Mode::from_raw_mode(mode), AtFlags::empty())
}

/// To whom files are given.
struct Owners<'a> {
    owner: Owner,
    stored: Option<Stored<'a>>,
}

impl Owners<'_> {
    fn stored(&self, at: BorrowedFd<'_>, uid: u32, gid: u32) -> (Option<Uid>, Option<Gid>) {
        let (uid, gid) = self.stored.as_ref().map_or((uid, gid), |stored| stored(at, uid, gid));
        (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
    }

    /// `at`: the file or its directory.
    fn ids(&self, at: BorrowedFd<'_>, metadata: &Metadata) -> Option<(Option<Uid>, Option<Gid>)> {
        match self.owner {
            Owner::Archive => Some(self.stored(at, metadata.uid, metadata.gid)),
            Owner::Fixed(uid, gid) => Some(self.stored(at, uid, gid)),
            Owner::Caller => None,
        }
    }

    /// Owner first, since it clears bits of the mode and capabilities.
    fn own(&self, file: &OwnedFd, metadata: &Metadata) -> Result<()> {
        if let Some((uid, gid)) = self.ids(file.as_fd(), metadata) {
            fchown(file, uid, gid).map_err(Error::io("change the owner of", &metadata.path))?;
        }
        xattr::set(file, &metadata.xattrs).map_err(Error::io("set the attributes of", &metadata.path))
    }
}

fn copy<R: Read>(entry: &mut Entry<'_, R>, file: &mut File, path: &[u8]) -> Result<()> {
    loop {
        let bytes = match entry.fill_buf() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::Archive(crate::tar::Error::Read(error))),
        };
        if bytes.is_empty() {
            return Ok(());
        }
        let count = bytes.len();
        file.write_all(bytes).map_err(Error::std("write", path))?;
        entry.consume(count);
    }
}

fn time(metadata: &Metadata) -> Timespec {
    Timespec { tv_sec: metadata.mtime.seconds, tv_nsec: i64::from(metadata.mtime.nanos) }
}

fn times(metadata: &Metadata) -> Timestamps {
    Timestamps { last_access: time(metadata), last_modification: time(metadata) }
}
