//! Mounts that no path of the host leads to safely: a directory inside of a volume, whose owner is a container, and the
//! files of an image. They are opened here, without leaving volume or image, and go to the runtime as descriptors.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::OFlags;
use sys::mount;
use sys::root::Root;

use super::Record;
use super::mounts::{Kind, Mount};
use crate::{Engine, Error, Result, volume};

/// The detached trees of a container, with their destinations.
pub(super) fn open(engine: &Engine, record: &Record) -> Result<Vec<(String, OwnedFd)>> {
    let mut all = Vec::new();
    for mount in &record.mounts {
        if let Some(tree) = tree(engine, mount)? {
            all.push((mount.destination.clone(), tree));
        }
    }
    Ok(all)
}

/// The detached tree of one mount; `None` when its source is a path.
pub(super) fn tree(engine: &Engine, mount: &Mount) -> Result<Option<OwnedFd>> {
    match mount.kind {
        Kind::Volume if !mount.subpath.is_empty() => {
            let data = engine.volumes.open_data(&mount.volume);
            let data = data.map_err(|error| Error::system("open the volume", error))?;
            let inside = beneath(&data, &mount.subpath).map_err(|error| missing(mount, &error))?;
            detached(&inside, mount.recursive).map(Some)
        }
        Kind::Image => {
            let image = volume::merged(engine, &mount.layers)?;
            if mount.subpath.is_empty() && mount.layers.len() > 1 {
                return Ok(Some(image));
            }
            let inside = beneath(&image, if mount.subpath.is_empty() { "." } else { &mount.subpath });
            let inside = inside.map_err(|error| missing(mount, &error))?;
            let copy = detached(&inside, false)?;
            mount::set_attributes(&copy, false, mount::attribute::RDONLY, 0, 0)
                .map_err(|error| Error::system("make the image's files read-only", error))?;
            Ok(Some(copy))
        }
        _ => Ok(None),
    }
}

fn beneath(root: &OwnedFd, path: &str) -> io::Result<OwnedFd> {
    Root::new(root.as_fd()).open(path, OFlags::PATH)
}

fn detached(inside: &OwnedFd, recursive: bool) -> Result<OwnedFd> {
    mount::clone_descriptor(inside, recursive).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => {
            let text = "a part of an image can be mounted since Linux 6.15";
            Error::new(crate::Kind::NotImplemented, text)
        }
        _ => Error::system("open the mount's source", error),
    })
}

fn missing(mount: &Mount, error: &io::Error) -> Error {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        _ => error.to_string(),
    };
    Error::invalid(format!("cannot access path {}/{}: {reason}", mount.source, mount.subpath))
}
