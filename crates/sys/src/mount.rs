//! Filesystems and mounts by descriptor: fsopen(2), fsmount(2), open_tree(2), move_mount(2), mount_setattr(2).
//!
//! A mount is made detached, changed, and only then attached; nothing here takes the path of a target.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};

/// `MOUNT_ATTR_*` of `<linux/mount.h>`.
pub mod attribute {
    pub const RDONLY: u64 = 0x1;
    pub const NOSUID: u64 = 0x2;
    pub const NODEV: u64 = 0x4;
    pub const NOEXEC: u64 = 0x8;
    /// The mask of the access-time settings below; relatime is 0.
    pub const ATIME: u64 = 0x70;
    pub const NOATIME: u64 = 0x10;
    pub const STRICTATIME: u64 = 0x20;
    pub const NODIRATIME: u64 = 0x80;
    pub const IDMAP: u64 = 0x10_0000;
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// `MS_*` propagation types for [`set_attributes`].
pub mod propagation {
    pub const UNBINDABLE: u64 = libc::MS_UNBINDABLE;
    pub const PRIVATE: u64 = libc::MS_PRIVATE;
    pub const SLAVE: u64 = libc::MS_SLAVE;
    pub const SHARED: u64 = libc::MS_SHARED;
}

/// A filesystem being configured.
#[derive(Debug)]
pub struct Filesystem(OwnedFd);

impl Filesystem {
    /// fsopen(2).
    pub fn open(kind: &str) -> io::Result<Filesystem> {
        Ok(Filesystem(rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?))
    }

    /// An option with a value.
    pub fn string(&self, key: &str, value: impl rustix::path::Arg) -> io::Result<()> {
        Ok(rustix::mount::fsconfig_set_string(&self.0, key, value)?)
    }

    /// An option without a value.
    pub fn flag(&self, key: &str) -> io::Result<()> {
        Ok(rustix::mount::fsconfig_set_flag(&self.0, key)?)
    }

    /// An option whose value is a descriptor.
    pub fn descriptor(&self, key: &str, value: impl AsFd) -> io::Result<()> {
        Ok(rustix::mount::fsconfig_set_fd(&self.0, key, value)?)
    }

    /// A directory as an option: by descriptor, or by the descriptor's name in `/proc` for kernels whose filesystem
    /// takes only paths here (overlayfs before 6.13).
    pub fn directory(&self, key: &str, value: impl AsFd) -> io::Result<()> {
        match self.descriptor(key, value.as_fd()) {
            Err(_) => self.string(key, format!("/proc/self/fd/{}", value.as_fd().as_raw_fd())),
            done => done,
        }
    }

    /// Makes the superblock and a detached mount of it with [`attribute`] bits.
    pub fn mount(&self, attributes: u64) -> io::Result<OwnedFd> {
        rustix::mount::fsconfig_create(&self.0)?;
        let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
        Ok(rustix::mount::fsmount(&self.0, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
    }

    /// What the kernel's filesystem had to say about the last failure, if anything.
    pub fn complaint(&self) -> Option<String> {
        let mut text = [0; 512];
        let length = rustix::io::read(&self.0, &mut text).ok()?;
        Some(String::from_utf8_lossy(&text[..length]).trim_start_matches("e ").trim().to_owned())
    }
}

/// Whether overlayfs takes layers whose mounts are attached nowhere: since Linux 6.15.
///
/// Before, they have to be attached in the mount namespace of whoever makes the overlay, as its upper directory has to
/// be with every kernel.
pub fn overlay_takes_detached() -> bool {
    let attempt = || {
        let overlay = Filesystem::open("overlay")?;
        // Open until the overlay is made: a detached mount ends with its last descriptor.
        let layers = [Filesystem::open("tmpfs")?.mount(0)?, Filesystem::open("tmpfs")?.mount(0)?];
        for layer in &layers {
            overlay.directory("lowerdir+", layer)?;
        }
        overlay.mount(attribute::RDONLY)
    };
    attempt().is_ok()
}

/// A detached copy of the mount tree (or of the one mount) at a path; the path is followed as the caller's own.
pub fn clone_path(path: impl rustix::path::Arg, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(rustix::mount::open_tree(rustix::fs::CWD, path, flags)?)
}

/// A detached copy of what a descriptor names.
pub fn clone_descriptor(descriptor: impl AsFd, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(rustix::mount::open_tree(descriptor, "", flags)?)
}

/// Attaches a detached mount on what `target` names.
pub fn attach(mount: impl AsFd, target: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", target, "", flags)?)
}

/// Attaches a detached mount over the root directory of this mount namespace, to be entered with [`pivot`].
pub fn attach_over_root(mount: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", rustix::fs::CWD, "/", flags)?)
}

/// Takes away what [`attach_over_root`] attached last, while this process's root is still below it.
pub fn detach_over_root() -> io::Result<()> {
    Ok(rustix::mount::unmount("/", UnmountFlags::DETACH)?)
}

/// `struct mount_attr` of `<linux/mount.h>`.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Changes [`attribute`]s and [`propagation`] (0: as it is) of a mount, or of the whole tree below it.
pub fn set_attributes(mount: impl AsFd, recursive: bool, set: u64, clear: u64, propagation: u64) -> io::Result<()> {
    change(mount, recursive, &MountAttr { set, clear, propagation, userns_fd: 0 })
}

/// Shows the owners of files as the user namespace maps them: an id "inside" is what the filesystem stores, the id
/// "outside" is what is seen through the mount. Detached mounts only, once, since Linux 5.12.
pub fn set_idmap(mount: impl AsFd, recursive: bool, user_namespace: impl AsFd) -> io::Result<()> {
    let userns_fd = user_namespace.as_fd().as_raw_fd() as u64;
    change(mount, recursive, &MountAttr { set: attribute::IDMAP, clear: 0, propagation: 0, userns_fd })
}

/// Changes options of the filesystem that is mounted at what `target` names (fspick(2)): `key`, or `key=value`.
pub fn reconfigure(target: impl AsFd, options: &[(String, Option<String>)]) -> io::Result<()> {
    let flags = rustix::mount::FsPickFlags::FSPICK_CLOEXEC | rustix::mount::FsPickFlags::FSPICK_EMPTY_PATH;
    let filesystem = Filesystem(rustix::mount::fspick(target, "", flags)?);
    for (key, value) in options {
        match value {
            Some(value) => filesystem.string(key, value.as_str())?,
            None => filesystem.flag(key)?,
        }
    }
    Ok(rustix::mount::fsconfig_reconfigure(&filesystem.0)?)
}

fn change(mount: impl AsFd, recursive: bool, attributes: &MountAttr) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string; `attributes` is a mount_attr of the given size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// unshare(2) with `CLONE_NEWNS`: the calling thread gets a mount namespace, root and working directory of its own. A
/// thread that has called this is for one purpose; let it end.
pub fn unshare() -> io::Result<()> {
    // SAFETY: CLONE_NEWNS (and the CLONE_FS it implies) alone; the table of descriptors stays shared.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// unshare(2) with `CLONE_FS`: the calling thread gets a root and working directory of its own, in the same mount
/// namespace. A thread that has called this is for one purpose; let it end.
pub fn unshare_directory() -> io::Result<()> {
    // SAFETY: CLONE_FS alone; memory and the table of descriptors stay shared.
    let result = unsafe { libc::unshare(libc::CLONE_FS) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// setns(2): the calling thread goes to another mount namespace, and to its root. A thread that has called this is for
/// one purpose; let it end.
pub fn join(namespace: impl AsFd) -> io::Result<()> {
    unshare_directory()?;
    // SAFETY: the mount namespace is a property of the thread, which shares its root with no other any more.
    let result = unsafe { libc::setns(namespace.as_fd().as_raw_fd(), libc::CLONE_NEWNS) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes what is mounted at a path, with everything below, out of this mount namespace.
pub fn detach_path(path: impl rustix::path::Arg) -> io::Result<()> {
    Ok(rustix::mount::unmount(path, UnmountFlags::DETACH)?)
}

/// Cuts this mount namespace off: nothing that is mounted here shows anywhere else, nor the other way round.
pub fn make_all_private() -> io::Result<()> {
    Ok(rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?)
}

/// Makes `root`, an attached mount, the root of this mount namespace and of this process, and lets go of the old one.
pub fn pivot(root: impl AsFd) -> io::Result<()> {
    rustix::process::fchdir(&root)?;
    // pivot_root(2), "pivot_root(".", ".")": the old root ends up on top of the new one and is detached from there.
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    Ok(())
}

/// Changes into a mount that was attached over the root, without taking the old root away: for a root that is a ramdisk,
/// which pivot_root(2) refuses. The old root stays below, so that `CAP_SYS_CHROOT` inside is a way back to it.
pub fn enter_by_chroot(root: impl AsFd) -> io::Result<()> {
    rustix::process::fchdir(&root)?;
    rustix::process::chroot(".")?;
    rustix::process::chdir("/")?;
    Ok(())
}
