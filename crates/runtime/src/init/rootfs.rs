//! The container's root file system: an overlay of layer mounts assembled by descriptor, or a directory.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use oci::runtime::IdMapping;
use rustix::fs::{Mode, OFlags};
use sys::mount::Filesystem;
use sys::process::{SingleThreaded, namespace};

use super::error::Error;
use super::user_namespace::UserNamespace;

/// A directory of the host as a detached mount; what is mounted below it comes along. What is mounted in it later does
/// not show on the host.
pub fn directory(path: &str) -> Result<OwnedFd, Error> {
    let failed = |source| Error::Source { path: path.to_owned(), source };
    let mount = sys::mount::clone_path(path, true).map_err(failed)?;
    sys::mount::set_attributes(&mount, true, 0, 0, sys::mount::propagation::PRIVATE).map_err(failed)?;
    Ok(mount)
}

/// Layers whose files belong to a user namespace, with the writable directory, as [`overlay`] takes them.
#[derive(Debug)]
pub struct Mapped {
    layers: Vec<OwnedFd>,
    writable: OwnedFd,
}

impl Mapped {
    /// The overlay of them; nothing else needs them then.
    pub fn overlay(self, ephemeral: bool) -> Result<OwnedFd, Error> {
        let layers: Vec<BorrowedFd<'_>> = self.layers.iter().map(AsFd::as_fd).collect();
        let made = overlay(&layers, self.writable.as_fd(), ephemeral)?;
        // Inside a user namespace it could not be taken away any more.
        sys::mount::detach_over_root().map_err(Error::step("detach the layers"))?;
        Ok(made)
    }
}

/// Copies the mounts of the layers and of the writable directory, and maps the owners of their files: on the disk are the
/// ids that the container sees.
///
/// Overlayfs wants the upper directory, and before Linux 6.15 the layers too, attached in the mount namespace of whoever
/// mounts it: this process goes to one of its own, on the way to the container's.
pub fn map_layers(
    proof: SingleThreaded,
    layers: &[BorrowedFd<'_>],
    writable: BorrowedFd<'_>,
    user: &UserNamespace,
) -> Result<Mapped, Error> {
    let failed = Error::step("id-map the layers");
    let layers: Vec<OwnedFd> = layers
        .iter()
        .map(|layer| {
            let clone = sys::mount::clone_descriptor(layer, false)?;
            sys::mount::set_idmap(&clone, false, &user.descriptor)?;
            Ok(clone)
        })
        .collect::<io::Result<_>>()
        .map_err(&failed)?;
    let writable = sys::mount::clone_descriptor(writable, false).map_err(&failed)?;
    let own = writable_ids(user);
    let own = UserNamespace::make(proof, &own.0, &own.1)?;
    sys::mount::set_idmap(&writable, false, &own.descriptor).map_err(&failed)?;
    sys::process::unshare(proof, namespace::MOUNT).map_err(&failed)?;
    sys::mount::make_all_private().map_err(&failed)?;
    let base = Filesystem::open("tmpfs").and_then(|tmpfs| tmpfs.mount(0)).map_err(&failed)?;
    sys::mount::attach_over_root(&base).map_err(&failed)?;
    for (index, mount) in layers.iter().chain([&writable]).enumerate() {
        let name = index.to_string();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::mkdirat(&base, name.as_str(), Mode::RWXU).map_err(|errno| failed(errno.into()))?;
        let target = rustix::fs::openat(&base, name.as_str(), flags, Mode::empty());
        sys::mount::attach(mount, target.map_err(|errno| failed(errno.into()))?).map_err(&failed)?;
    }
    Ok(Mapped { layers, writable })
}

/// The id on the disk of what overlayfs makes for itself in its work directory, as the host's root: no program has it.
const OVERLAY_ID: u32 = u32::MAX - 1;

/// The namespace's ids, and the host's root, whom overlayfs is.
fn writable_ids(user: &UserNamespace) -> (Vec<IdMapping>, Vec<IdMapping>) {
    let with_root = |ids: &[IdMapping]| {
        let mut ids = ids.to_vec();
        if !ids.iter().any(|range| range.host_id == 0) {
            ids.push(IdMapping { container_id: OVERLAY_ID, host_id: 0, size: 1 });
        }
        ids
    };
    (with_root(&user.uids), with_root(&user.gids))
}

/// A detached overlay of layers' mounts, the topmost first, and of a directory with `upper` and `work`.
///
/// Without layers it is the upper directory alone.
pub fn overlay(layers: &[BorrowedFd<'_>], writable: BorrowedFd<'_>, ephemeral: bool) -> Result<OwnedFd, Error> {
    let directory = |name| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(writable, name, flags, Mode::empty())
            .map_err(|errno| Error::Step { what: "open the writable layer", source: errno.into() })
    };
    let upper = directory("upper")?;
    if layers.is_empty() {
        return sys::mount::clone_descriptor(&upper, false).map_err(Error::step("clone the writable layer"));
    }
    let work = directory("work")?;
    let parts = Parts { layers, upper: upper.as_fd(), work: work.as_fd(), ephemeral };
    match parts.mount(false) {
        // Kernels before 6.8 take all layers in one string.
        Err(error) if error.is_invalid() => parts.mount(true).map_err(|_| error.into()),
        other => other.map_err(Error::from),
    }
}

/// What an overlay is made of.
struct Parts<'fd> {
    layers: &'fd [BorrowedFd<'fd>],
    upper: BorrowedFd<'fd>,
    work: BorrowedFd<'fd>,
    ephemeral: bool,
}

/// Why overlayfs refused.
struct Refused {
    complaint: Option<String>,
    source: io::Error,
}

impl Refused {
    fn is_invalid(&self) -> bool {
        self.source.kind() == io::ErrorKind::InvalidInput
    }
}

impl From<Refused> for Error {
    fn from(Refused { complaint, source }: Refused) -> Error {
        Error::Mount { kind: "overlay".to_owned(), target: "/".to_owned(), complaint, source }
    }
}

impl Parts<'_> {
    /// `together`: all layers as one option, by short names, since an option has at most 255 bytes.
    fn mount(&self, together: bool) -> Result<OwnedFd, Refused> {
        let filesystem = Filesystem::open("overlay").map_err(|source| Refused { complaint: None, source })?;
        let made = (|| {
            filesystem.string("source", "hoist")?;
            if together {
                rustix::process::chdir("/proc/self/fd")?;
                let names: Vec<String> = self.layers.iter().map(|layer| layer.as_raw_fd().to_string()).collect();
                filesystem.string("lowerdir", names.join(":"))?;
            } else {
                for layer in self.layers {
                    filesystem.directory("lowerdir+", layer)?;
                }
            }
            filesystem.directory("upperdir", self.upper)?;
            filesystem.directory("workdir", self.work)?;
            if self.ephemeral {
                // Nothing of this layer is ever read again, so nothing of it has to reach the disk.
                filesystem.flag("volatile")?;
            }
            filesystem.mount(0)
        })();
        if together {
            let _ = rustix::process::chdir("/");
        }
        made.map_err(|source| Refused { complaint: filesystem.complaint(), source })
    }
}

/// Opens the root directory of a mount for lookups below it.
pub fn directory_of(mount: &OwnedFd) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(mount.as_fd(), ".", flags, Mode::empty())
        .map_err(|errno| Error::Step { what: "open the root directory", source: errno.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_in_one_option_are_the_same_overlay() {
        if !rustix::process::geteuid().is_root() || !sys::mount::overlay_takes_detached() {
            eprintln!("skipped: needs root and Linux 6.15");
            return;
        }
        let base = std::env::temp_dir().join(format!("hoist-together-{}", std::process::id()));
        for name in ["a", "b", "upper", "work"] {
            std::fs::create_dir_all(base.join(name)).unwrap();
        }
        std::fs::write(base.join("a/one"), "above").unwrap();
        std::fs::write(base.join("b/one"), "below").unwrap();
        std::fs::write(base.join("b/two"), "below").unwrap();
        let layers = ["a", "b"].map(|name| sys::mount::clone_path(base.join(name), false).unwrap());
        let layers: Vec<BorrowedFd<'_>> = layers.iter().map(AsFd::as_fd).collect();
        let [upper, work] = ["upper", "work"].map(|name| OwnedFd::from(std::fs::File::open(base.join(name)).unwrap()));
        let before = std::env::current_dir().unwrap();
        let parts = Parts { layers: &layers, upper: upper.as_fd(), work: work.as_fd(), ephemeral: true };
        let mount = parts.mount(true).ok().unwrap();
        std::env::set_current_dir(before).unwrap();
        let text = |name: &str| {
            let file = rustix::fs::openat(&mount, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
            io::read_to_string(std::fs::File::from(file)).unwrap()
        };
        assert_eq!((text("one").as_str(), text("two").as_str()), ("above", "below"));
        drop(mount);
        std::fs::remove_dir_all(&base).unwrap();
    }
}
