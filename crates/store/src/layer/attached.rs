//! Where overlayfs takes only attached layers (kernels before 6.15): mounts beside the layers' files.
//!
//! ```text
//! layers/<hex>.erofs     the layer
//!        <hex>.mnt/      its mount, in the host's mount table; a later daemon finds it there
//! ```

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use oci::Digest;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::mount::UnmountFlags;

use super::Layers;
use crate::disk;
use crate::error::{Error, Result};

const EXTENSION: &str = "mnt";

/// `STATX_ATTR_MOUNT_ROOT` of `<linux/stat.h>`.
const MOUNT_ROOT: u64 = 0x2000;

impl Layers {
    fn mount_point(&self, diff_id: &Digest) -> PathBuf {
        self.0.directory.join(format!("{}.{EXTENSION}", diff_id.hex()))
    }

    /// The layer's mount at its place; made when it is not there.
    pub(super) fn attached(&self, diff_id: &Digest) -> Result<OwnedFd> {
        let path = self.mount_point(diff_id);
        disk::ensure_directory(&path)?;
        let failed = |step| move |source| Error::Mount { diff_id: *diff_id, step, source };
        let open = || {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(&path, flags, Mode::empty()).map_err(|errno| failed("open the mount")(errno.into()))
        };
        let status = rustix::fs::statx(CWD, &path, AtFlags::NO_AUTOMOUNT, StatxFlags::BASIC_STATS)
            .map_err(|errno| failed("look at the mount point")(errno.into()))?;
        if status.stx_attributes.bits() & MOUNT_ROOT == 0 {
            let mount = self.new_mount(diff_id)?;
            sys::mount::attach(&mount, open()?).map_err(failed("attach the mount"))?;
        }
        open()
    }

    /// Takes the layer's mount away; what still uses it keeps it alive.
    pub(super) fn detach(&self, diff_id: &Digest) {
        let path = self.mount_point(diff_id);
        if !path.exists() {
            return;
        }
        let _ = rustix::mount::unmount(&path, UnmountFlags::DETACH);
        if let Err(error) = std::fs::remove_dir(&path) {
            tracing::warn!(%diff_id, %error, "a layer's mount point cannot be removed");
        }
    }

    /// Takes mounts away whose layers are gone.
    pub(crate) fn detach_stale(&self) {
        let Ok(entries) = std::fs::read_dir(&self.0.directory) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let hex = name.to_str().and_then(|name| name.strip_suffix(EXTENSION)?.strip_suffix('.'));
            if let Some(diff_id) = hex.and_then(|hex| Digest::from_hex(hex).ok())
                && !self.path(&diff_id).exists()
            {
                self.detach(&diff_id);
            }
        }
    }
}
