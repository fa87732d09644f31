//! A container's root as one descriptor.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, open, openat};
use shim_api::{State as ShimState, names};
use sys::mount::{self, Filesystem, attribute};
use sys::root::Root;

use crate::container::directory::{self, HOSTNAME, HOSTS, RESOLV_CONF, WRITABLE};
use crate::container::mounts::Kind as MountKind;
use crate::container::{Container, Record, not_running, sources, targets};
use crate::{Engine, Error, Result};

/// Calls `work` with the root of a container: what its processes see, or while there are none what they would see. A
/// container at rest is not started meanwhile.
pub(super) fn with_root<T>(
    engine: &Engine,
    container: &Container,
    work: impl FnOnce(&OwnedFd, &Record) -> Result<T>,
) -> Result<T> {
    let record = container.snapshot();
    if record.state.phase.is_alive()
        && let Ok(root) = running(engine, &record)
    {
        return work(&root, &record);
    }
    let _operation = container.operate();
    let record = container.snapshot();
    if record.state.phase.is_alive() {
        return work(&running(engine, &record)?, &record);
    }
    let volumes = record.mounts.iter().filter(|mount| mount.kind == MountKind::Volume);
    let held = volumes.map(|mount| crate::volume::hold(engine, &mount.volume)).collect::<Result<Vec<_>>>()?;
    let root = at_rest(engine, &record)?;
    let outcome = work(&root, &record);
    drop((root, held));
    outcome
}

/// The root of the container's first process.
fn running(engine: &Engine, record: &Record) -> Result<OwnedFd> {
    let state = directory::read_exec::<ShimState>(engine, &record.id, names::STATE);
    let state = state.ok_or_else(|| not_running(&record.id))?;
    let failed = |errno: rustix::io::Errno| Error::system("open the container's root", io::Error::from(errno));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let process = open(format!("/proc/{}", state.pid), flags, Mode::empty()).map_err(failed)?;
    let root = openat(&process, "root", flags, Mode::empty()).map_err(failed)?;
    // Another process may have its number by now.
    match sys::process::start_time(state.pid) {
        Ok(time) if time == state.pid_start_time => Ok(root),
        _ => Err(not_running(&record.id)),
    }
}

/// An overlay of the container's own files over its image's, with its mounts, that is attached nowhere.
fn at_rest(engine: &Engine, record: &Record) -> Result<OwnedFd> {
    let failed = |error: io::Error| Error::system("assemble the container's files", error);
    let overlay = writable(engine, record)?;
    let own = engine.container_dir(&record.id);
    let mut given: BTreeMap<String, OwnedFd> = sources::open(engine, record)?.into_iter().collect();
    // A mount namespace is needed to put mounts together; it ends with this thread, the tree does not.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("container-files".to_owned())
            .spawn_scoped(scope, || assemble(&overlay, record, &own, &mut given));
        match thread.map_err(failed)?.join() {
            Ok(tree) => tree.map_err(failed),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// `given`: sources that no path leads to, by destination.
fn assemble(
    overlay: &OwnedFd,
    record: &Record,
    own: &Path,
    given: &mut BTreeMap<String, OwnedFd>,
) -> io::Result<OwnedFd> {
    mount::unshare()?;
    mount::make_all_private()?;
    let place = open(own, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
    mount::attach(overlay, &place)?;
    let root = Root::new(overlay.as_fd());
    let mut binds: Vec<(String, OwnedFd)> = Vec::new();
    for name in [RESOLV_CONF, HOSTS, HOSTNAME] {
        let destination = format!("/etc/{name}");
        if !record.mounts.iter().any(|mount| mount.destination == destination) {
            let file = openat(&place, name, OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
            binds.push((destination, mount::clone_descriptor(&file, false)?));
        }
    }
    for wanted in record.mounts.iter().filter(|mount| mount.kind != MountKind::Tmpfs) {
        let tree = match given.remove(&wanted.destination) {
            Some(tree) => tree,
            None => match open(wanted.source.as_str(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
                Ok(source) => mount::clone_descriptor(&source, wanted.recursive)?,
                // Made at the start.
                Err(rustix::io::Errno::NOENT) => continue,
                Err(errno) => return Err(errno.into()),
            },
        };
        if wanted.read_only {
            mount::set_attributes(&tree, !wanted.shallow_read_only, attribute::RDONLY, 0, 0)?;
        }
        binds.push((wanted.destination.clone(), tree));
    }
    binds.sort_by_key(|(destination, _)| destination.split('/').filter(|part| !part.is_empty()).count());
    for (destination, tree) in binds {
        let is_directory = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&tree)?.st_mode).is_dir();
        let target =
            if is_directory { root.ensure_directory(&destination, 0o755)? } else { root.ensure_file(&destination)? };
        mount::attach(&tree, &target)?;
    }
    if record.host_config.readonly_rootfs {
        mount::set_attributes(overlay, false, attribute::RDONLY, 0, 0)?;
    }
    let tree = mount::clone_descriptor(overlay, true);
    mount::detach_path(own)?;
    tree
}

/// The overlay that a start would mount.
fn writable(engine: &Engine, record: &Record) -> Result<OwnedFd> {
    let mut layers = layers(engine, record)?;
    layers.extend(targets::layer(engine, record, &layers));
    directory::ensure_writable(engine, &record.id)?;
    let writable = directory::open(&engine.container_dir(&record.id).join(WRITABLE))?;
    let own = || -> io::Result<(OwnedFd, OwnedFd)> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let upper = openat(&writable, "upper", flags, Mode::empty())?;
        Ok((upper, openat(&writable, "work", flags, Mode::empty())?))
    };
    own()
        .and_then(|own| overlay(&layers, Some(&own), attribute::NODEV | attribute::NOSUID))
        .map_err(|error| Error::system("assemble the container's files", error))
}

/// An overlay of layers, the topmost first, and of an upper and a work directory.
fn overlay(layers: &[OwnedFd], own: Option<&(OwnedFd, OwnedFd)>, attributes: u64) -> io::Result<OwnedFd> {
    match overlay_of(layers, own, attributes, false) {
        // Kernels before 6.8 take all layers in one string. It has short names, since an option has at most 255 bytes.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => std::thread::scope(|scope| {
            let one = || {
                mount::unshare_directory()?;
                rustix::process::chdir("/proc/self/fd")?;
                overlay_of(layers, own, attributes, true)
            };
            let thread = std::thread::Builder::new().name("container-files".to_owned()).spawn_scoped(scope, one)?;
            // What the kernel said first is the better reason.
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(|_| error)
        }),
        other => other,
    }
}

/// `together`: all layers as one option; the working directory is `/proc/self/fd`.
fn overlay_of(
    layers: &[OwnedFd],
    own: Option<&(OwnedFd, OwnedFd)>,
    attributes: u64,
    together: bool,
) -> io::Result<OwnedFd> {
    let overlay = Filesystem::open("overlay")?;
    overlay.string("source", "hoist")?;
    if together {
        let names: Vec<String> = layers.iter().map(|layer| layer.as_raw_fd().to_string()).collect();
        overlay.string("lowerdir", names.join(":"))?;
    } else {
        for layer in layers {
            overlay.directory("lowerdir+", layer)?;
        }
    }
    if let Some((upper, work)) = own {
        overlay.directory("upperdir", upper)?;
        overlay.directory("workdir", work)?;
    }
    overlay.mount(attributes)
}

/// A read-only view of the image's layers alone; with `upper` the container's own files as the topmost. Attached
/// nowhere, without the container's mounts.
pub(super) fn lower(engine: &Engine, record: &Record, upper: bool) -> Result<OwnedFd> {
    let mut layers = layers(engine, record)?;
    if upper {
        layers.extend(targets::layer(engine, record, &layers));
        layers.insert(0, self::upper(engine, record)?);
    }
    if layers.len() == 1 {
        return layers.pop().ok_or_else(|| Error::not_found("the image has no layers"));
    }
    overlay(&layers, None, attribute::RDONLY | attribute::NODEV | attribute::NOSUID)
        .map_err(|error| Error::system("assemble the container's files", error))
}

/// The container's own files: the overlay's upper directory.
pub(in crate::container) fn upper(engine: &Engine, record: &Record) -> Result<OwnedFd> {
    directory::ensure_writable(engine, &record.id)?;
    directory::open(&engine.container_dir(&record.id).join(WRITABLE).join("upper"))
}

/// The mounts of the image's layers, the topmost first, and of the one below.
pub(in crate::container) fn layers(engine: &Engine, record: &Record) -> Result<Vec<OwnedFd>> {
    let layers = engine.store.layers();
    let mount = |layer| layers.mount(layer).map_err(|error| Error::system("mount the image's layers", error));
    record.layers.iter().rev().chain([engine.store.mount_points()]).map(mount).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_in_one_option_are_the_same_overlay() {
        if !rustix::process::geteuid().is_root() || !mount::overlay_takes_detached() {
            eprintln!("skipped: needs root and Linux 6.15");
            return;
        }
        let base = std::env::temp_dir().join(format!("hoist-view-{}", std::process::id()));
        for name in ["a", "b"] {
            std::fs::create_dir_all(base.join(name)).unwrap();
        }
        std::fs::write(base.join("a/one"), "above").unwrap();
        std::fs::write(base.join("b/one"), "below").unwrap();
        std::fs::write(base.join("b/two"), "below").unwrap();
        let layers = ["a", "b"].map(|name| mount::clone_path(base.join(name), false).unwrap());
        let view = std::thread::scope(|scope| {
            let one = || {
                mount::unshare_directory().unwrap();
                rustix::process::chdir("/proc/self/fd").unwrap();
                overlay_of(&layers, None, attribute::RDONLY, true).unwrap()
            };
            scope.spawn(one).join().unwrap()
        });
        let text = |name: &str| {
            let file = openat(&view, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
            io::read_to_string(std::fs::File::from(file)).unwrap()
        };
        assert_eq!((text("one").as_str(), text("two").as_str()), ("above", "below"));
        drop(view);
        std::fs::remove_dir_all(&base).unwrap();
    }
}
