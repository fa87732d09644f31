//! Directories of a limited size: an ext4 file system in a sparse file, mounted by way of a loop device.
//!
//! The file takes the room of what is in it, and gives back what is deleted (`discard`). A power cut costs what the journal
//! of a file system costs; a crash of ours costs nothing.

mod ext4;

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use sys::mount::Filesystem;

use crate::{Error, Result};

/// The sizes that can be had, in bytes.
pub const SIZES: std::ops::RangeInclusive<u64> = ext4::SMALLEST..=ext4::LARGEST;

/// Makes the file at `path`, for files of `size` bytes together (in [`SIZES`]). It is there whole or not at all.
pub fn create(path: &Path, size: u64) -> Result<()> {
    if !SIZES.contains(&size) {
        return Err(Error::Size { size });
    }
    let making = path.with_extension("part");
    let make = || -> io::Result<()> {
        let mut random = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut random)?;
        let (mut uuid, mut hash_seed, mut label) = ([0; 16], [0; 16], [0; 16]);
        uuid.copy_from_slice(&random[..16]);
        hash_seed.copy_from_slice(&random[16..]);
        // RFC 9562: random, version 4.
        uuid[6] = uuid[6] & 0x0f | 0x40;
        uuid[8] = uuid[8] & 0x3f | 0x80;
        let text = size.to_string();
        label[..text.len()].copy_from_slice(text.as_bytes());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
        let file =
            fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&making)?;
        ext4::make(&file, &ext4::Layout::for_size(size), &ext4::Identity { uuid, hash_seed, now, label })?;
        file.sync_all()?;
        fs::rename(&making, path)?;
        path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    };
    make().map_err(|error| {
        let _ = fs::remove_file(&making);
        Error::io("make", path)(error)
    })
}

/// Mounts the file system at `image`, or its directory `part`, which is made when it is missing, on the directory `target`.
pub fn mount(image: &Path, part: Option<&str>, target: &Path) -> Result<()> {
    let mount = || -> io::Result<()> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
        let file = fs::OpenOptions::new().read(true).write(true).custom_flags(flags).open(image)?;
        let device = sys::loopdev::attach_shared(file.as_fd(), false)?;
        let filesystem = Filesystem::open("ext4")?;
        filesystem.string("source", device.path())?;
        filesystem.flag("discard")?;
        let whole = filesystem.mount(0)?;
        let place: OwnedFd = rustix::fs::open(
            target,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let tree = match part {
            None => whole,
            Some(part) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                match rustix::fs::mkdirat(&whole, part, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
                let directory = rustix::fs::openat(&whole, part, flags, Mode::empty())?;
                match sys::mount::clone_descriptor(&directory, false) {
                    // Before Linux 6.15 only what is attached can be copied: for that moment it is, where nobody looks yet.
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                        sys::mount::attach(&whole, &place)?;
                        let copy = sys::mount::clone_descriptor(&directory, false);
                        sys::mount::detach_path(target)?;
                        let copy = copy?;
                        sys::mount::set_attributes(&copy, false, 0, 0, sys::mount::propagation::PRIVATE)?;
                        copy
                    }
                    other => other?,
                }
            }
        };
        sys::mount::attach(&tree, &place)
    };
    mount().map_err(|source| match source.raw_os_error() {
        Some(code) if code == rustix::io::Errno::NODEV.raw_os_error() => {
            Error::NoFilesystem { kind: "ext4".to_owned() }
        }
        _ => Error::Mount {
            device: image.display().to_string(),
            target: target.display().to_string(),
            options: "loop".to_owned(),
            source,
        },
    })
}

/// Takes it away again; whoever has files of it open keeps them.
pub fn unmount(target: &Path) -> Result<()> {
    crate::mount::unmount(target)
}

/// Whether something is mounted on a directory.
pub fn is_mounted(target: &Path) -> Result<bool> {
    crate::mount::is_mounted(target)
}

/// What an image was made for, and how much is in it: bytes. While it is mounted the second is from some time ago.
pub fn sizes(image: &Path) -> io::Result<(u64, u64)> {
    let mut superblock = [0; 1024];
    File::open(image)?.read_exact_at(&mut superblock, 1024)?;
    let label: Vec<u8> = superblock[120..136].iter().copied().take_while(u8::is_ascii_digit).collect();
    let size = String::from_utf8_lossy(&label).parse::<u64>().ok().filter(|size| SIZES.contains(size));
    let size = size.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an image of ours"))?;
    let free = u32::from_le_bytes([superblock[12], superblock[13], superblock[14], superblock[15]]);
    let layout = ext4::Layout::for_size(size);
    Ok((size, layout.free_blocks().saturating_sub(u64::from(free)) * layout.block()))
}
