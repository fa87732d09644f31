//! A container's directories: `containers/<id>` below the data root, and the same below the exec root.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;

use ::volume::{image, quota};
use shim_api::names;

use super::logging;
use crate::id::ContainerId;
use crate::{Engine, Error, Result};

/// Holds the overlay's two directories.
pub(super) const WRITABLE: &str = "overlay";

/// The file system on it, when the writable layer has a largest size.
const WRITABLE_IMAGE: &str = "overlay.ext4";

/// Files that are mounted over those in `/etc`.
pub(super) const RESOLV_CONF: &str = "resolv.conf";
pub(super) const RESOLV_CONF_HASH: &str = "resolv.conf.hash";
pub(super) const HOSTS: &str = "hosts";
pub(super) const HOSTNAME: &str = "hostname";

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |error| Error::system(format!("prepare {}", path.display()), error)
}

/// Makes the durable directory with everything that a start needs in it; `size` limits the writable layer.
pub(super) fn make(engine: &Engine, id: &ContainerId, size: Option<u64>) -> Result<()> {
    let directory = engine.container_dir(id);
    let make = |path: &Path, mode: u32| DirBuilder::new().mode(mode).create(path).map_err(failed(path));
    make(&directory, 0o710)?;
    let overlay = directory.join(WRITABLE);
    make(&overlay, 0o700)?;
    let failed_to_limit = |error| Error::system("make the writable layer", error);
    if let Some(size) = size
        && quota::is_enforced(&overlay)
    {
        quota::limit(&[&overlay], size).map_err(failed_to_limit)?;
    } else if let Some(size) = size {
        image::create(&directory.join(WRITABLE_IMAGE), size).map_err(failed_to_limit)?;
        ensure_writable(engine, id)?;
    }
    make(&overlay.join("upper"), 0o755)?;
    make(&overlay.join("work"), 0o700)?;
    for name in [RESOLV_CONF, HOSTS, HOSTNAME] {
        write(&directory, name, "")?;
    }
    Ok(())
}

/// Mounts the writable layer's own file system, if it has one: it stays as long as the container does, or the machine runs.
pub(super) fn ensure_writable(engine: &Engine, id: &ContainerId) -> Result<()> {
    let directory = engine.container_dir(id);
    let (file, target) = (directory.join(WRITABLE_IMAGE), directory.join(WRITABLE));
    if !file.exists() {
        return Ok(());
    }
    // Two who find nothing mounted would mount it twice.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = super::lock(&ONE_AT_A_TIME);
    let mounted =
        image::is_mounted(&target).and_then(|is| if is { Ok(()) } else { image::mount(&file, None, &target) });
    mounted.map_err(|error| Error::system("mount the writable layer", error))
}

/// How the size of the writable layer is held, for a container that has one.
pub(super) fn limited_by(engine: &Engine, id: &ContainerId) -> Option<String> {
    let directory = engine.container_dir(id);
    match directory.join(WRITABLE_IMAGE).exists() {
        true => Some("ext4 image".to_owned()),
        false => quota::of(&directory.join(WRITABLE)).map(|quota| format!("project quota {}", quota.project)),
    }
}

/// A size that was asked for still holds.
pub(super) fn check_limit(engine: &Engine, id: &ContainerId, size: u64) -> Result<()> {
    let directory = engine.container_dir(id);
    match directory.join(WRITABLE_IMAGE).exists() {
        true => Ok(()),
        false => quota::ensure(&directory.join(WRITABLE), size)
            .map_err(|error| Error::system("limit the writable layer", error)),
    }
}

fn release_writable(engine: &Engine, id: &ContainerId) -> io::Result<()> {
    let directory = engine.container_dir(id);
    match directory.join(WRITABLE_IMAGE).exists() {
        true => image::unmount(&directory.join(WRITABLE)).map_err(io::Error::other),
        false => {
            quota::release(&directory.join(WRITABLE));
            Ok(())
        }
    }
}

/// Writes one of the files in place: it may be mounted in a container, which sees the inode.
pub(super) fn write(directory: &Path, name: &str, text: &str) -> Result<()> {
    let path = directory.join(name);
    let write = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
        options.open(&path)?.write_all(text.as_bytes())
    };
    write().map_err(failed(&path))
}

/// Makes the exec directory for a run, empty.
pub(super) fn make_exec(engine: &Engine, id: &ContainerId) -> Result<OwnedFd> {
    let path = engine.exec_dir(id);
    match DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            remove_exec(engine, id);
            DirBuilder::new().mode(0o700).create(&path).map_err(failed(&path))?;
        }
        other => other.map_err(failed(&path))?,
    }
    open(&path)
}

/// Removes what a run left in its exec directory.
pub(super) fn remove_exec(engine: &Engine, id: &ContainerId) {
    let path = engine.exec_dir(id);
    for name in [names::STATE, names::EXIT, names::SOCKET] {
        let _ = fs::remove_file(path.join(name));
    }
    if let Err(error) = fs::remove_dir(&path)
        && error.kind() != io::ErrorKind::NotFound
        && let Err(error) = fs::remove_dir_all(&path)
    {
        tracing::warn!(container = id.short(), %error, "the exec directory was not removed");
    }
}

/// A directory as a descriptor.
pub(super) fn open(path: &Path) -> Result<OwnedFd> {
    let flags = (rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::NOFOLLOW).bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed(path))?;
    Ok(file.into())
}

/// Takes the durable directory away at once (renamed out of sight), and removes it after the answer.
pub(super) fn remove(engine: &Engine, id: &ContainerId) -> io::Result<()> {
    release_writable(engine, id)?;
    let directory = engine.container_dir(id);
    let trash = engine.trash_dir().join(format!("container-{id}"));
    match fs::rename(&directory, &trash) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let workers = engine.workers.clone();
    logging::when_done(engine, id, move || {
        workers.submit(move |_| {
            if let Err(error) = fs::remove_dir_all(&trash) {
                tracing::warn!(%error, path = %trash.display(), "a removed container's files are still there");
            }
        });
    })
}

/// Keeps the files of a container that nobody knows, in `lost/` below the data root.
pub(super) fn set_aside(engine: &Engine, id: &ContainerId) -> io::Result<()> {
    let lost = engine.lost_dir();
    fs::create_dir_all(&lost)?;
    release_writable(engine, id)?;
    let kept = lost.join(format!("container-{id}"));
    fs::rename(engine.container_dir(id), &kept)?;
    tracing::warn!(container = id.short(), path = %kept.display(), "nothing is known of a container but its files");
    Ok(())
}

/// Reads a document of the shim.
pub(super) fn read_exec<T: serde::de::DeserializeOwned>(engine: &Engine, id: &ContainerId, name: &str) -> Option<T> {
    let file = File::open(engine.exec_dir(id).join(name)).ok()?;
    let bytes = sys::memfd::read_all(&file, shim_api::MAX_MESSAGE as u64).ok()?;
    serde_json::from_slice(&bytes).ok()
}
