//! Where the kernel has no EROFS: layers as directories.
//!
//! ```text
//! layers/<hex>.erofs        the layer; all else is read from it, here as everywhere
//!        <hex>.tree/root/   what it contains, made when it is first needed; can be made again at any time
//!                  /disk    bytes that takes
//! ```
//!
//! A tree gets its name when all of it is durable, so a crash leaves nothing but a temporary name. Nobody else sees it
//! before, which is why names in it can be used.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use archive::tar::Xattr;
use oci::Digest;
use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, RawMode, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod, fchown, fsetxattr,
    futimens, linkat, lsetxattr, makedev, mkdirat, mknodat, openat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::Layers;
use crate::disk;
use crate::erofs::{FileType, Node, Reader};
use crate::error::{Error, Result};

const EXTENSION: &str = "tree";
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Data is looked through for holes from this size on.
const SPARSE: u64 = 1 << 16;

/// How layers are given to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// EROFS, and directories where the kernel cannot mount that.
    #[default]
    Auto,
    Erofs,
    /// A second copy of each layer that is used, on any kernel with overlayfs.
    Directory,
}

impl Layers {
    pub(super) fn tree(&self, diff_id: &Digest) -> PathBuf {
        self.0.directory.join(format!("{}.{EXTENSION}", diff_id.hex()))
    }

    /// Bytes that the layer takes as a directory; none when it isn't one.
    pub(super) fn tree_use(&self, diff_id: &Digest) -> u64 {
        let path = self.tree(diff_id).join("disk");
        fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    /// Makes the layer's directory unless it is there.
    pub(super) fn unpack(&self, diff_id: &Digest) -> Result<PathBuf> {
        let target = self.tree(diff_id);
        let root = target.join("root");
        // One at a time: two containers may want the same layer.
        let _one = self.0.unpacking.lock().unwrap_or_else(PoisonError::into_inner);
        if root.exists() {
            return Ok(root);
        }
        let image = self.open(diff_id)?;
        let temporary = self.0.disk.create_directory(&self.0.directory)?;
        let path = temporary.path().to_owned();
        let failed = |source| Error::Io { op: "unpack a layer to", path: target.clone(), source };
        let directory = File::open(&path).map_err(failed)?;
        unpack(image, directory.as_fd()).map_err(failed)?;
        fs::write(path.join("disk"), format!("{:<20}\n", 0)).map_err(failed)?;
        let size = disk::tree_size(&path);
        fs::write(path.join("disk"), format!("{size:<20}\n")).map_err(failed)?;
        rustix::fs::syncfs(&directory).map_err(|errno| failed(errno.into()))?;
        temporary.rename(&directory, &target)?;
        Ok(root)
    }

    /// Removes directories whose layers are gone.
    pub(crate) fn remove_stale_trees(&self) -> Result<()> {
        let directory = &self.0.directory;
        for entry in fs::read_dir(directory).map_err(Error::io("list", directory))? {
            let name = entry.map_err(Error::io("list", directory))?.file_name();
            let hex = name.to_str().and_then(|name| name.strip_suffix(EXTENSION)?.strip_suffix('.'));
            if let Some(diff_id) = hex.and_then(|hex| Digest::from_hex(hex).ok())
                && !self.path(&diff_id).exists()
            {
                self.0.disk.discard(&self.tree(&diff_id))?;
            }
        }
        Ok(())
    }
}

/// A read-only mount of a layer's directory, attached nowhere.
pub(super) fn mount(root: &Path) -> io::Result<OwnedFd> {
    let mount = sys::mount::clone_path(root, false)?;
    sys::mount::set_attributes(&mount, false, sys::mount::attribute::RDONLY, 0, 0)?;
    Ok(mount)
}

/// A directory that is being filled: what it will be when it is full, and what is still to come.
struct Level {
    node: Node,
    entries: std::vec::IntoIter<(Vec<u8>, u64)>,
}

/// Fills `root` in `parent`, an empty directory, with all of an image. At most four descriptors are open, however deep
/// the tree is.
fn unpack(image: File, parent: BorrowedFd<'_>) -> io::Result<()> {
    let reader = Reader::open(image)?;
    // Files with several names get their first one here.
    mkdirat(parent, "names", Mode::RWXU)?;
    let names = openat(parent, "names", DIRECTORY, Mode::empty())?;
    mkdirat(parent, "root", Mode::RWXU)?;
    let mut here = openat(parent, "root", DIRECTORY, Mode::empty())?;
    let node = reader.root()?;
    let mut levels = vec![Level { entries: reader.entries(&node)?.into_iter(), node }];
    while let Some(level) = levels.last_mut() {
        let Some((name, number)) = level.entries.next() else {
            finish(here.as_fd(), &level.node)?;
            levels.pop();
            here = openat(&here, "..", DIRECTORY, Mode::empty())?;
            continue;
        };
        let node = reader.node(number)?;
        if node.file_type() == FileType::Directory {
            // A directory in itself would be a loop; the writer makes none.
            if levels.iter().any(|level| level.node.number == number) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a directory lies in itself"));
            }
            mkdirat(&here, name.as_slice(), Mode::RWXU)?;
            here = openat(&here, name.as_slice(), DIRECTORY, Mode::empty())?;
            levels.push(Level { entries: reader.entries(&node)?.into_iter(), node });
        } else if node.inode.links > 1 && !node.is_whiteout() {
            let first = number.to_string();
            match linkat(&names, first.as_str(), &here, name.as_slice(), AtFlags::empty()) {
                Err(Errno::NOENT) => {
                    make(&reader, &node, names.as_fd(), first.as_bytes())?;
                    linkat(&names, first.as_str(), &here, name.as_slice(), AtFlags::empty())?;
                }
                linked => linked?,
            }
        } else {
            make(&reader, &node, here.as_fd(), &name)?;
        }
    }
    archive::tree::remove_entry(parent, b"names")?;
    Ok(())
}

/// Anything but a directory.
fn make(reader: &Reader, node: &Node, parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let attributes = node.attributes();
    let kind = match node.file_type() {
        FileType::Regular => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = File::from(openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?);
            copy(reader, node, &file)?;
            return finish(file.as_fd(), node);
        }
        FileType::Symlink => {
            symlinkat(reader.link(node)?, parent, name)?;
            own(parent, name, node)?;
            set_xattrs(parent, name, &node.xattrs)?;
            return Ok(utimensat(parent, name, &times(node), AtFlags::SYMLINK_NOFOLLOW)?);
        }
        FileType::CharDevice => rustix::fs::FileType::CharacterDevice,
        FileType::BlockDevice => rustix::fs::FileType::BlockDevice,
        FileType::Fifo => rustix::fs::FileType::Fifo,
        FileType::Directory => return Err(io::ErrorKind::IsADirectory.into()),
    };
    let (major, minor) = node.device();
    mknodat(parent, name, kind, Mode::RUSR | Mode::WUSR, makedev(major, minor))?;
    own(parent, name, node)?;
    rustix::fs::chmodat(parent, name, mode(attributes.mode), AtFlags::empty())?;
    set_xattrs(parent, name, &node.xattrs)?;
    Ok(utimensat(parent, name, &times(node), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// What a file is beside its data. Of a directory it comes when the directory is full: its time would change, and a
/// default access list would go to what is made in it.
fn finish(file: BorrowedFd<'_>, node: &Node) -> io::Result<()> {
    let attributes = node.attributes();
    let (uid, gid) = owner(node);
    fchown(file, uid, gid)?;
    fchmod(file, mode(attributes.mode))?;
    for (name, value) in &node.xattrs {
        fsetxattr(file, name.as_slice(), value, XattrFlags::empty())?;
    }
    Ok(futimens(file, &times(node))?)
}

fn own(parent: BorrowedFd<'_>, name: &[u8], node: &Node) -> io::Result<()> {
    let (uid, gid) = owner(node);
    Ok(chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// The largest number stands for nobody; such a file stays root's.
fn owner(node: &Node) -> (Option<Uid>, Option<Gid>) {
    let known = |id: u32| Some(id).filter(|id| *id != u32::MAX);
    (known(node.attributes().uid).map(Uid::from_raw), known(node.attributes().gid).map(Gid::from_raw))
}

fn set_xattrs(parent: BorrowedFd<'_>, name: &[u8], xattrs: &[Xattr]) -> io::Result<()> {
    if xattrs.is_empty() {
        return Ok(());
    }
    let path = [format!("/proc/self/fd/{}/", parent.as_raw_fd()).as_bytes(), name].concat();
    for (name, value) in xattrs {
        lsetxattr(path.as_slice(), name.as_slice(), value, XattrFlags::empty())?;
    }
    Ok(())
}

fn mode(mode: u16) -> Mode {
    Mode::from_raw_mode(RawMode::from(mode))
}

fn times(node: &Node) -> Timestamps {
    let time = node.attributes().mtime;
    let time = Timespec { tv_sec: time.seconds, tv_nsec: time.nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

fn copy(reader: &Reader, node: &Node, to: &File) -> io::Result<()> {
    let mut at = 0;
    for (offset, length) in reader.data(node) {
        copy_range(reader.file(), offset, to, at, length)?;
        at += length;
    }
    // Behind the last data there may be a hole.
    to.set_len(node.inode.size)
}

/// Copies data; where the image has a hole, the file gets one.
fn copy_range(from: &File, offset: u64, to: &File, at: u64, length: u64) -> io::Result<()> {
    use rustix::fs::{SeekFrom, copy_file_range, seek};
    let end = offset + length;
    let mut source = offset;
    while source < end {
        let mut until = end;
        if length >= SPARSE {
            match seek(from, SeekFrom::Data(source)) {
                Ok(data) => source = data.min(end),
                Err(Errno::NXIO) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
            until = seek(from, SeekFrom::Hole(source)).map_or(end, |hole| hole.min(end));
        }
        while source < until {
            let mut target = at + (source - offset);
            let count = usize::try_from(until - source).unwrap_or(usize::MAX).min(1 << 30);
            match copy_file_range(from, Some(&mut source), to, Some(&mut target), count) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => {
                    let mut buffer = vec![0; count.min(1 << 20)];
                    from.read_exact_at(&mut buffer, source)?;
                    to.write_all_at(&buffer, at + (source - offset))?;
                    source += buffer.len() as u64;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(())
}
