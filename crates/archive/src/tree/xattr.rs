//! Extended attributes of what a descriptor or a directory's entry names.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr, lgetxattr, llistxattr, lsetxattr};
use rustix::io::Errno;

use crate::tar::Xattr;

/// Largest list of names, and largest value, that Linux has.
const MAX: usize = 64 * 1024;

/// What the overlay keeps for itself.
fn is_overlays(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// Reads attributes into the same two buffers again and again.
pub(super) struct Reader {
    names: Vec<u8>,
    value: Vec<u8>,
}

/// What is read: an open file, or an entry of an open directory that is not followed.
pub(super) enum Of<'a> {
    File(rustix::fd::BorrowedFd<'a>),
    Entry(rustix::fd::BorrowedFd<'a>, &'a [u8]),
}

/// The entry's path through its directory's descriptor.
fn through(directory: impl AsFd, name: &[u8]) -> CString {
    let path = [format!("/proc/self/fd/{}/", directory.as_fd().as_raw_fd()).as_bytes(), name].concat();
    CString::new(path).unwrap_or_default()
}

impl Reader {
    pub fn new() -> Reader {
        Reader { names: vec![0; MAX], value: vec![0; MAX] }
    }

    /// All but the overlay's own. A file system without any has none.
    pub fn all(&mut self, of: &Of<'_>) -> Result<Vec<Xattr>, Errno> {
        let listed = match of {
            Of::File(file) => flistxattr(file, &mut self.names),
            Of::Entry(directory, name) => llistxattr(through(directory, name).as_c_str(), &mut self.names),
        };
        let length = match listed {
            Ok(length) => length,
            Err(Errno::OPNOTSUPP | Errno::NOENT | Errno::PERM | Errno::ACCESS) => return Ok(Vec::new()),
            Err(errno) => return Err(errno),
        };
        let mut found = Vec::new();
        for name in self.names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            if is_overlays(name) {
                continue;
            }
            let got = match of {
                Of::File(file) => fgetxattr(file, name, &mut self.value),
                Of::Entry(directory, entry) => lgetxattr(through(directory, entry).as_c_str(), name, &mut self.value),
            };
            match got {
                Ok(length) => found.push((name.to_vec(), self.value[..length].to_vec())),
                Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOENT | Errno::PERM | Errno::ACCESS) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(found)
    }
}

/// Whether an open directory has one of the overlay's marks, and that begins with this byte (0: any value).
pub(super) fn overlay_mark(directory: impl AsFd, mark: &str, value: u8) -> bool {
    let mut buffer = [0; 256];
    ["trusted.overlay.", "user.overlay."].iter().any(|prefix| {
        match fgetxattr(directory.as_fd(), format!("{prefix}{mark}"), &mut buffer) {
            Ok(length) => value == 0 || (length > 0 && buffer[0] == value),
            Err(Errno::RANGE) => value == 0,
            Err(_) => false,
        }
    })
}

/// Sets attributes of an open file. What the file system, or the caller's privilege, cannot hold is left out.
pub(super) fn set(file: impl AsFd, xattrs: &[Xattr]) -> Result<(), Errno> {
    for (name, value) in xattrs.iter().filter(|(name, _)| !is_overlays(name)) {
        tolerate(fsetxattr(file.as_fd(), name.as_slice(), value, XattrFlags::empty()))?;
    }
    Ok(())
}

/// [`set`] of an entry that is not followed.
pub(super) fn set_entry(directory: impl AsFd, name: &[u8], xattrs: &[Xattr]) -> Result<(), Errno> {
    if xattrs.is_empty() {
        return Ok(());
    }
    let path = through(directory, name);
    for (name, value) in xattrs.iter().filter(|(name, _)| !is_overlays(name)) {
        tolerate(lsetxattr(path.as_c_str(), name.as_slice(), value, XattrFlags::empty()))?;
    }
    Ok(())
}

fn tolerate(outcome: Result<(), Errno>) -> Result<(), Errno> {
    match outcome {
        Err(Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS) => Ok(()),
        other => other,
    }
}
