//! Project quotas (quotactl(2), ioctl_fsgetxattr(2)): a limit on what a tree of directories takes, whoever writes.
//!
//! A project is a number. Directories hand it down to what is made in them; the file system counts by it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// quotactl_fd(2), Linux 5.14; the same number on every architecture.
const SYS_QUOTACTL_FD: libc::c_long = 443;

const PRJQUOTA: u32 = 2;
const Q_GETQUOTA: u32 = 0x80_0007;
const Q_SETQUOTA: u32 = 0x80_0008;
/// `XQM_CMD(8)` of linux/dqblk_xfs.h; ext4 answers it as well.
const Q_XGETQSTATV: u32 = 0x5808;

const QIF_BLIMITS: u32 = 1;
/// `QIF_DQBLKSIZE`: limits are counted in these, on every file system.
const LIMIT_UNIT: u64 = 1024;

const FS_QSTATV_VERSION1: i8 = 1;
/// `FS_QUOTA_PDQ_ENFD`: limits of projects are enforced.
const PROJECTS_ENFORCED: u16 = 1 << 5;

/// `_IOR('X', 31, struct fsxattr)`.
const FS_IOC_FSGETXATTR: libc::c_ulong = 0x801c_581f;
/// `_IOW('X', 32, struct fsxattr)`.
const FS_IOC_FSSETXATTR: libc::c_ulong = 0x401c_5820;
const FS_XFLAG_PROJINHERIT: u32 = 0x200;

/// `struct if_dqblk` of linux/quota.h.
#[repr(C)]
#[derive(Default)]
struct Block {
    hard_limit: u64,
    soft_limit: u64,
    space: u64,
    inode_hard_limit: u64,
    inode_soft_limit: u64,
    inodes: u64,
    time: u64,
    inode_time: u64,
    valid: u32,
}

/// `struct fs_quota_statv` of linux/dqblk_xfs.h.
#[repr(C)]
#[derive(Default)]
struct State {
    version: i8,
    pad1: u8,
    flags: u16,
    in_core: u32,
    files: [[u64; 3]; 3],
    times: [i32; 3],
    warnings: [u16; 4],
    pad4: u32,
    pad2: [u64; 7],
}

/// `struct fsxattr` of linux/fs.h.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    pad: [u8; 8],
}

/// What a project may take, and what it has taken: bytes. A limit of 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub limit: u64,
    pub used: u64,
}

fn control<T>(file: BorrowedFd<'_>, command: u32, project: u32, argument: &mut T) -> io::Result<()> {
    let command = libc::c_long::from(command << 8 | PRJQUOTA);
    // SAFETY: the descriptor is open for the whole call; the argument is the struct that the command is defined with, of
    // the kernel's layout, and exclusively borrowed.
    let result = unsafe {
        libc::syscall(
            SYS_QUOTACTL_FD,
            libc::c_long::from(file.as_raw_fd()),
            command,
            libc::c_long::from(project),
            std::ptr::from_mut(argument),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the file system that has this file enforces limits of projects: a kernel with quotas, a file system that keeps
/// them (ext4 made with `-O quota,project`, xfs), mounted with `prjquota`.
pub fn is_enforced(file: BorrowedFd<'_>) -> bool {
    let mut state = State { version: FS_QSTATV_VERSION1, ..State::default() };
    control(file, Q_XGETQSTATV, 0, &mut state).is_ok() && state.flags & PROJECTS_ENFORCED != 0
}

/// What is known of a project on the file system that has this file.
pub fn usage(file: BorrowedFd<'_>, project: u32) -> io::Result<Usage> {
    let mut block = Block::default();
    match control(file, Q_GETQUOTA, project, &mut block) {
        Ok(()) => Ok(Usage { limit: block.hard_limit.saturating_mul(LIMIT_UNIT), used: block.space }),
        // xfs, of one that it has never heard of.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(Usage::default()),
        Err(error) => Err(error),
    }
}

/// Sets how many bytes a project may take, in steps of 1 KiB upwards; 0 takes the limit away.
pub fn set_limit(file: BorrowedFd<'_>, project: u32, bytes: u64) -> io::Result<()> {
    let limit = bytes.div_ceil(LIMIT_UNIT);
    let mut block = Block { hard_limit: limit, valid: QIF_BLIMITS, ..Block::default() };
    control(file, Q_SETQUOTA, project, &mut block)
}

fn attributes(directory: BorrowedFd<'_>) -> io::Result<Attributes> {
    let mut attributes = Attributes::default();
    // SAFETY: the descriptor is open for the whole call, and the argument is the struct that the request writes, exclusively
    // borrowed.
    let result = unsafe { libc::ioctl(directory.as_raw_fd(), FS_IOC_FSGETXATTR, &raw mut attributes) };
    if result == 0 { Ok(attributes) } else { Err(io::Error::last_os_error()) }
}

/// The project that a directory hands down; `None` when it hands down none, or its file system knows none. The directory
/// is open for reading.
pub fn project(directory: BorrowedFd<'_>) -> Option<u32> {
    let found = attributes(directory).ok()?;
    (found.flags & FS_XFLAG_PROJINHERIT != 0 && found.project != 0).then_some(found.project)
}

/// Puts a directory, which is open for reading, and whatever is made in it from now on into a project.
pub fn set_project(directory: BorrowedFd<'_>, project: u32) -> io::Result<()> {
    let mut wanted = attributes(directory)?;
    wanted.project = project;
    wanted.flags |= FS_XFLAG_PROJINHERIT;
    // SAFETY: the descriptor is open for the whole call, and the argument is the struct that the request only reads.
    let result = unsafe { libc::ioctl(directory.as_raw_fd(), FS_IOC_FSSETXATTR, &raw const wanted) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn layouts_are_the_kernels() {
        assert_eq!(std::mem::size_of::<Block>(), 72);
        assert_eq!(std::mem::size_of::<State>(), 8 + 72 + 12 + 8 + 4 + 56);
        assert_eq!(std::mem::size_of::<Attributes>(), 28);
    }

    #[test]
    fn a_file_system_without_quotas_says_so() {
        let proc = std::fs::File::open("/proc").unwrap();
        assert!(!is_enforced(proc.as_fd()));
        assert_eq!(project(proc.as_fd()), None);
        assert!(set_project(proc.as_fd(), 7).is_err() && set_limit(proc.as_fd(), 7, 1 << 20).is_err());
    }
}
