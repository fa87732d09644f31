//! A tree that files are copied from: a build context, the result of a stage, an image. It never changes.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use oci::Digest;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// Links that are followed on one way; the kernel's own number.
const MAX_LINKS: usize = 40;

/// The largest target of a symbolic link that is followed, in components.
const MAX_COMPONENTS: usize = 4096;

/// A directory tree behind a descriptor; nothing in it leads out of it.
pub struct Tree {
    root: OwnedFd,
    /// What the root is made of.
    _layers: Vec<OwnedFd>,
    /// What the root is in.
    _above: Option<Arc<Tree>>,
    digests: Option<Arc<Digests>>,
    /// Which of all trees of this daemon, if it is known to be the same as an earlier one.
    identity: Option<u64>,
}

/// The digest of a file's content, where it is known without reading.
type Digests = dyn Fn(&[u8]) -> Option<Digest> + Send + Sync;

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree").field("root", &self.root).finish_non_exhaustive()
    }
}

/// Where a path leads, after all links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Without links; relative to the root, empty for the root itself.
    pub path: Vec<u8>,
    /// What is there; `None` if nothing is (then the missing components are part of the path as they were given).
    pub kind: Option<FileType>,
}

impl Tree {
    /// The layers of an image or a stage, base first, as one tree.
    pub fn of_layers(layers: &store::Layers, diff_ids: &[Digest]) -> Result<Tree> {
        let mount = |diff_id: &Digest| layers.mount(diff_id).map_err(|error| Error::system("mount a layer", error));
        let mounts = engine::image::built::stack(diff_ids).into_iter().map(mount).collect::<Result<Vec<_>>>()?;
        let root = match mounts.as_slice() {
            [] => empty(),
            [only] => only.try_clone(),
            several => overlay(several),
        };
        Ok(Tree {
            root: root.map_err(|error| Error::system("look into an image's files", error))?,
            _layers: mounts,
            _above: None,
            digests: None,
            identity: None,
        })
    }

    /// A directory that nobody changes.
    #[must_use]
    pub fn of_directory(root: OwnedFd) -> Tree {
        Tree { root, _layers: Vec::new(), _above: None, digests: None, identity: None }
    }

    /// The same, where the digests of files are known already. Trees with the same `identity` are equal in everything.
    #[must_use]
    pub fn of_known_directory(root: OwnedFd, identity: Option<u64>, digests: Arc<Digests>) -> Tree {
        Tree { root, _layers: Vec::new(), _above: None, digests: Some(digests), identity }
    }

    /// A directory in it as a tree of its own.
    pub fn below(above: &Arc<Tree>, path: &str) -> Result<Tree> {
        let failed = |error: io::Error| Error::system(format!("look for {path:?}"), error);
        let found = above.resolve(&clean(path.as_bytes())).map_err(failed)?;
        if found.kind != Some(FileType::Directory) {
            return Err(Error::NotFound { path: format!("/{}", path.trim_matches('/')) });
        }
        let root = above.open(&found.path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
        Ok(Tree { root, _layers: Vec::new(), _above: Some(Arc::clone(above)), digests: None, identity: None })
    }

    /// What this tree shares with those that are equal to it, where that is known.
    #[must_use]
    pub fn identity(&self) -> Option<u64> {
        self.identity
    }

    /// The digest of a file's content, if it is known without reading. `path` is one without links.
    #[must_use]
    pub fn digest(&self, path: &[u8]) -> Option<Digest> {
        self.digests.as_ref().and_then(|digests| digests(path))
    }

    /// The root directory.
    #[must_use]
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Follows a path, links included, as a process whose root is the tree's would.
    pub fn resolve(&self, path: &[u8]) -> io::Result<Resolved> {
        self.follow(path, true)
    }

    /// [`Tree::resolve`], but a link at the very end is not followed.
    pub fn resolve_parent(&self, path: &[u8]) -> io::Result<Resolved> {
        self.follow(path, false)
    }

    fn follow(&self, path: &[u8], follow_last: bool) -> io::Result<Resolved> {
        let mut waiting: VecDeque<Vec<u8>> = components(path).map(<[u8]>::to_vec).collect();
        let mut done: Vec<Vec<u8>> = Vec::new();
        let mut kind = Some(FileType::Directory);
        let mut links = 0;
        while let Some(name) = waiting.pop_front() {
            if name == b".." {
                done.pop();
                kind = self.kind(&done)?;
                continue;
            }
            if kind != Some(FileType::Directory) {
                if kind.is_some() {
                    return Err(Errno::NOTDIR.into());
                }
                done.push(name);
                continue;
            }
            done.push(name);
            kind = self.kind(&done)?;
            if kind != Some(FileType::Symlink) || (waiting.is_empty() && !follow_last) {
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP.into());
            }
            let target = rustix::fs::readlinkat(&self.root, done.join(&b'/'), Vec::new())?.into_bytes();
            done.pop();
            if target.starts_with(b"/") {
                done.clear();
            }
            for component in components(&target).collect::<Vec<_>>().into_iter().rev() {
                waiting.push_front(component.to_vec());
            }
            if waiting.len() > MAX_COMPONENTS {
                return Err(Errno::NAMETOOLONG.into());
            }
            kind = Some(FileType::Directory);
        }
        Ok(Resolved { path: done.join(&b'/'), kind })
    }

    /// What is at a path whose components above the last are directories.
    fn kind(&self, path: &[Vec<u8>]) -> io::Result<Option<FileType>> {
        if path.is_empty() {
            return Ok(Some(FileType::Directory));
        }
        match rustix::fs::statat(&self.root, path.join(&b'/'), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens a path without following any link: it comes from [`Tree::resolve`] or from a walk.
    pub fn open(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let path = if path.is_empty() { b"." } else { path };
        Ok(rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty(), resolve)?)
    }

    /// Reads a small file, links followed; `None` if it is not there.
    pub fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        match sys::root::Root::new(self.root.as_fd()).read(path, limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The parts of a path; empty ones and `.` left out.
pub(crate) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

/// The parts of a path with `..` taken away lexically, as Go's `filepath.Clean("/" + path)` does.
pub(crate) fn clean(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in components(path) {
        if part == b".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join(&b'/')
}

fn empty() -> io::Result<OwnedFd> {
    sys::mount::Filesystem::open("tmpfs")?.mount(sys::mount::attribute::RDONLY)
}

/// `layers` with the topmost first.
fn overlay(layers: &[OwnedFd]) -> io::Result<OwnedFd> {
    let overlay = sys::mount::Filesystem::open("overlay")?;
    for layer in layers {
        overlay.directory("lowerdir+", layer)?;
    }
    overlay.mount(sys::mount::attribute::RDONLY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_followed_inside() {
        let folder = std::env::temp_dir().join(format!("hoist-build-tree-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("a/b")).unwrap();
        std::fs::write(folder.join("a/b/file"), "x").unwrap();
        for (link, target) in
            [("abs", "/a/b"), ("up", "../../../a"), ("loop", "loop"), ("a/rel", "b/file"), ("out", "/etc/passwd")]
        {
            let _ = std::os::unix::fs::symlink(target, folder.join(link));
        }
        let tree = Tree::of_directory(std::fs::File::open(&folder).unwrap().into());
        let at = |path: &str| {
            tree.resolve(path.as_bytes())
                .map(|found| (String::from_utf8(found.path).unwrap(), found.kind.is_some()))
                .map_err(|error| error.raw_os_error())
        };
        assert_eq!(at("abs/file"), Ok(("a/b/file".into(), true)));
        assert_eq!(at("up/rel"), Ok(("a/b/file".into(), true)));
        assert_eq!(at("/../../up/../abs/none/x"), Ok(("a/b/none/x".into(), false)));
        assert_eq!(at("out"), Ok(("etc/passwd".into(), false)));
        assert_eq!(at("loop"), Err(Some(40)));
        assert_eq!(at("a/b/file/x"), Err(Some(20)));
        assert_eq!(tree.resolve_parent(b"abs").unwrap().kind, Some(FileType::Symlink));
        assert!(tree.open(b"abs/file", OFlags::RDONLY).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
