//! Mounts a layer once; everybody shares the mount. What is mounted is its EROFS image, or its directory where the
//! kernel has no EROFS.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

use oci::Digest;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

use super::Layers;
use super::directory::{self, Form};
use crate::error::{Error, Result};

impl Layers {
    /// A descriptor of the layer's read-only mount, detached where the kernel can use it so, to be used as a lower layer of overlayfs.
    ///
    /// The mount is made once: this process remembers it, and the keeper holds it beyond this process.
    ///
    /// # Errors
    /// [`Error::NoLayer`]; [`Error::Mount`] when the kernel refuses, or without the privilege to mount.
    pub fn mount(&self, diff_id: &Digest) -> Result<OwnedFd> {
        if self.0.no_erofs.load(Ordering::Relaxed) {
            self.unpack(diff_id)?;
        }
        let mut mounts = self.mounts();
        if let Some(mount) = mounts.get(diff_id) {
            return duplicate(diff_id, mount);
        }
        let mount = match self.takes_detached() {
            false => self.attached(diff_id)?,
            true => match self.ask_keeper(diff_id) {
                Some(mount) => mount,
                None => self.shared_mount(diff_id)?,
            },
        };
        let copy = duplicate(diff_id, &mount)?;
        mounts.insert(*diff_id, mount);
        Ok(copy)
    }

    /// How layers are mounted: `erofs` or `directory`. With [`Form::Auto`] the first mount finds out.
    pub fn form(&self) -> &'static str {
        if self.0.no_erofs.load(Ordering::Relaxed) { "directory" } else { "erofs" }
    }

    /// Whether a layer can be a mount that is attached nowhere; asked of the kernel once.
    pub fn takes_detached(&self) -> bool {
        *self.0.detached.get_or_init(sys::mount::overlay_takes_detached)
    }

    /// Lets go of a layer's mount, here, in the keeper and in the host's mount table.
    pub(super) fn release(&self, diff_id: &Digest) {
        self.mounts().remove(diff_id);
        self.detach(diff_id);
        if let Some(keeper) = &self.0.keeper
            && let Err(error) = keeper.release(&keeper_name(diff_id))
        {
            tracing::warn!(%diff_id, %error, "the keeper did not release a layer");
        }
    }

    /// Lets go of mounts in the keeper whose layers are gone.
    pub(crate) fn release_stale(&self) {
        self.detach_stale();
        let Some(keeper) = &self.0.keeper else { return };
        let names = match keeper.list() {
            Ok(names) => names,
            Err(error) => {
                tracing::warn!(%error, "cannot ask the keeper what it holds");
                return;
            }
        };
        for name in names {
            let diff_id = name.strip_prefix(PREFIX).and_then(|hex| Digest::from_hex(hex).ok());
            if let Some(diff_id) = diff_id
                && !self.path(&diff_id).exists()
            {
                self.release(&diff_id);
            }
        }
    }

    fn mounts(&self) -> MutexGuard<'_, std::collections::HashMap<Digest, OwnedFd>> {
        self.0.mounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask_keeper(&self, diff_id: &Digest) -> Option<OwnedFd> {
        match self.0.keeper.as_ref()?.get(&keeper_name(diff_id)) {
            Ok(mount) => mount,
            Err(error) => {
                tracing::warn!(%diff_id, %error, "the keeper cannot be asked for a layer");
                None
            }
        }
    }

    /// Mounts, and gives the mount to the keeper. When the keeper cannot take it, it lives as long as this process.
    fn shared_mount(&self, diff_id: &Digest) -> Result<OwnedFd> {
        let mount = self.new_mount(diff_id)?;
        let Some(keeper) = &self.0.keeper else { return Ok(mount) };
        match keeper.hold(&keeper_name(diff_id), &mount) {
            Ok(()) => Ok(mount),
            Err(keeper::Error::Taken { .. }) => Ok(self.ask_keeper(diff_id).unwrap_or(mount)),
            Err(error) => {
                tracing::warn!(%diff_id, %error, "the keeper cannot hold a layer");
                Ok(mount)
            }
        }
    }

    pub(super) fn new_mount(&self, diff_id: &Digest) -> Result<OwnedFd> {
        if !self.has(diff_id) {
            return Err(Error::NoLayer { diff_id: *diff_id });
        }
        if !self.0.no_erofs.load(Ordering::Relaxed) {
            match self.erofs(diff_id)? {
                Ok(mount) => return Ok(mount),
                Err((step, errno)) if self.0.form == Form::Auto && lacking(errno) => {
                    tracing::warn!(step, error = %errno, "no EROFS on this host: layers are unpacked to directories");
                    self.0.no_erofs.store(true, Ordering::Relaxed);
                }
                Err((step, errno)) => return Err(Error::Mount { diff_id: *diff_id, step, source: errno.into() }),
            }
        }
        let root = self.unpack(diff_id)?;
        let step = "mount the directory";
        directory::mount(&root).map_err(|source| Error::Mount { diff_id: *diff_id, step, source })
    }

    fn erofs(&self, diff_id: &Digest) -> Result<Step<OwnedFd>> {
        let path = self.path(diff_id);
        // The kernel takes a source of at most 255 bytes.
        let short = match path.as_os_str().len() {
            ..256 => None,
            _ => Some(File::open(&path).map_err(Error::io("open", &path))?),
        };
        let path = short.as_ref().map_or(path, |file| PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())));
        Ok(match from_file(&path) {
            // A file system that cannot serve as a backing file, or a kernel before 6.12.
            Err((_, Errno::NOTBLK)) => from_loop(&path),
            result => result,
        })
    }
}

/// Does the kernel say with this that it has no EROFS, or no loop device to mount it through?
fn lacking(errno: Errno) -> bool {
    matches!(errno, Errno::NODEV | Errno::NXIO | Errno::NOENT | Errno::NOTBLK)
}

const PREFIX: &str = "layer:";

fn keeper_name(diff_id: &Digest) -> String {
    format!("{PREFIX}{}", diff_id.hex())
}

fn duplicate(diff_id: &Digest, mount: &OwnedFd) -> Result<OwnedFd> {
    mount.try_clone().map_err(|source| Error::Mount { diff_id: *diff_id, step: "duplicate the descriptor", source })
}

type Step<T> = std::result::Result<T, (&'static str, Errno)>;

/// Mounts EROFS from `source`, a file or a block device, without attaching it anywhere.
///
/// Reads go through the page cache of the file, not past it (`directio`): what a pull just wrote is then read from
/// memory, and small files cold are three times faster. The price is that data can be cached twice; the file's own
/// pages are clean and go first.
fn from_file(source: &Path) -> Step<OwnedFd> {
    let context =
        fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| ("open the file system erofs", errno))?;
    let context = context.as_fd();
    fsconfig_set_string(context, "source", source).map_err(|errno| ("set the source", errno))?;
    fsconfig_set_flag(context, "ro").map_err(|errno| ("set read-only", errno))?;
    fsconfig_create(context).map_err(|errno| ("create the superblock", errno))?;
    fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)
        .map_err(|errno| ("make the mount", errno))
}

/// Mounts through a loop device, which goes away with the mount.
fn from_loop(path: &Path) -> Step<OwnedFd> {
    let errno = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let file = File::open(path).map_err(|error| ("open the layer", errno(error)))?;
    let device =
        sys::loopdev::attach_read_only(file.as_fd()).map_err(|error| ("attach a loop device", errno(error)))?;
    from_file(device.path())
}
