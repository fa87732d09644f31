//! The names of a layer, kept in memory until the directories are written.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use archive::tar::{Xattr, limits};

use super::error::{LayerError, shown};
use super::format::{Attributes, FileType};

/// Number of a directory in [`Tree::directories`].
pub(super) type DirectoryId = u32;

pub(super) const ROOT: DirectoryId = 0;

/// Deepest nesting: what a path can express.
const MAX_DEPTH: u16 = (limits::PATH / 2) as u16 + 1;
/// Most memory for names, link targets and attributes of directories, as estimated: some ten million usual members.
const MAX_MEMORY: u64 = 2 << 30;
/// What a name costs beside its bytes, and a directory beside its name.
const NAME_MEMORY: usize = 96;
const DIRECTORY_MEMORY: usize = 512;
/// Symbolic links on the way to one member, as the kernel counts them.
const MAX_LINKS: u32 = 40;

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Child {
    Directory(DirectoryId),
    /// Something whose inode is written already, at this offset of the file.
    Inode(u64, FileType),
    /// Hides the name in the layers below.
    Whiteout,
}

pub(super) struct Directory {
    pub parent: DirectoryId,
    pub depth: u16,
    pub attributes: Attributes,
    pub xattrs: Vec<Xattr>,
    /// Hides what the layers below have in it.
    pub opaque: bool,
    pub children: BTreeMap<Box<[u8]>, Child>,
}

/// Attributes of a directory that has members but is none itself.
const IMPLIED: Attributes =
    Attributes { mode: 0o755, uid: 0, gid: 0, mtime: archive::tar::Time { seconds: 0, nanos: 0 } };

pub(super) struct Tree {
    pub directories: Vec<Directory>,
    /// Targets of symbolic links, by the offset of their inodes.
    symlinks: HashMap<u64, Box<[u8]>>,
    /// Inodes that have had more than one name.
    pub linked: HashSet<u64>,
    memory: u64,
    /// The last parent path and its directory; empty after anything was replaced.
    last: (Vec<u8>, DirectoryId),
}

impl Tree {
    pub fn new() -> Tree {
        let root = Directory {
            parent: ROOT,
            depth: 0,
            attributes: IMPLIED,
            xattrs: Vec::new(),
            opaque: false,
            children: BTreeMap::new(),
        };
        Tree {
            directories: vec![root],
            symlinks: HashMap::new(),
            linked: HashSet::new(),
            memory: 0,
            last: (Vec::new(), ROOT),
        }
    }

    pub fn directory(&mut self, id: DirectoryId) -> &mut Directory {
        &mut self.directories[id as usize]
    }

    /// The directory that `path` lies in, made if it is missing, and the last component. `path` is not empty.
    ///
    /// Symbolic links on the way are followed inside of the tree, as an extraction inside of a chroot would.
    pub fn parent<'a>(&mut self, path: &'a [u8]) -> Result<(DirectoryId, &'a [u8]), LayerError> {
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => return Ok((ROOT, path)),
        };
        if self.last.0 == parent {
            return Ok((self.last.1, name));
        }
        let id = self.walk(parent, path)?;
        self.last.0.clear();
        self.last.0.extend_from_slice(parent);
        self.last.1 = id;
        Ok((id, name))
    }

    fn walk(&mut self, way: &[u8], path: &[u8]) -> Result<DirectoryId, LayerError> {
        let mut current = ROOT;
        let mut links = 0;
        let mut way = Cow::Borrowed(way);
        let mut at = 0;
        while at < way.len() {
            let end = way[at..].iter().position(|byte| *byte == b'/').map_or(way.len(), |slash| at + slash);
            let component = &way[at..end];
            at = end + 1;
            match component {
                b"" | b"." => continue,
                b".." => {
                    current = self.directory(current).parent;
                    continue;
                }
                _ => {}
            }
            match self.directory(current).children.get(component).copied() {
                Some(Child::Directory(id)) => current = id,
                None => current = self.add_directory(current, component, path)?,
                Some(Child::Whiteout) => {
                    current = self.add_directory(current, component, path)?;
                    self.directory(current).opaque = true;
                }
                Some(Child::Inode(offset, FileType::Symlink)) => {
                    links += 1;
                    let target = self.symlinks.get(&offset).expect("every symbolic link of the tree has its target");
                    let rest = way.get(at..).unwrap_or_default();
                    if links > MAX_LINKS || target.len() + rest.len() > 4 * limits::PATH {
                        return Err(LayerError::LinkLoop { path: shown(path) });
                    }
                    if target.first() == Some(&b'/') {
                        current = ROOT;
                    }
                    way = Cow::Owned([target, &b"/"[..], rest].concat());
                    at = 0;
                }
                Some(Child::Inode(..)) => {
                    return Err(LayerError::NotDirectory { path: shown(path), component: shown(component) });
                }
            }
        }
        Ok(current)
    }

    /// A new directory `name` in `parent`, in the place of anything but a directory.
    fn add_directory(&mut self, parent: DirectoryId, name: &[u8], path: &[u8]) -> Result<DirectoryId, LayerError> {
        if name.len() > limits::NAME {
            return Err(LayerError::Tar(archive::tar::Error::PathTooLong { path: shown(name) }));
        }
        let depth = self.directory(parent).depth + 1;
        if depth > MAX_DEPTH {
            return Err(LayerError::TooDeep { path: shown(path), limit: MAX_DEPTH });
        }
        self.charge(DIRECTORY_MEMORY)?;
        let id = self.directories.len() as DirectoryId;
        self.directories.push(Directory {
            parent,
            depth,
            attributes: IMPLIED,
            xattrs: Vec::new(),
            opaque: false,
            children: BTreeMap::new(),
        });
        self.insert(parent, name, Child::Directory(id))?;
        Ok(id)
    }

    fn insert(&mut self, parent: DirectoryId, name: &[u8], child: Child) -> Result<(), LayerError> {
        self.charge(NAME_MEMORY + name.len())?;
        if self.directory(parent).children.insert(name.into(), child).is_some() {
            self.last = (Vec::new(), ROOT);
        }
        Ok(())
    }

    /// A directory of the archive: a new one, or new attributes for one that is there. `path` is empty for the root.
    pub fn put_directory(&mut self, path: &[u8], attributes: Attributes, xattrs: Vec<Xattr>) -> Result<(), LayerError> {
        let id = if path.is_empty() {
            ROOT
        } else {
            let (parent, name) = self.parent(path)?;
            match self.directory(parent).children.get(name).copied() {
                Some(Child::Directory(id)) => id,
                earlier => {
                    let id = self.add_directory(parent, name, path)?;
                    // The whiteout was meant for what is below, which must not shine through the new directory.
                    self.directory(id).opaque = matches!(earlier, Some(Child::Whiteout));
                    id
                }
            }
        };
        self.charge(xattrs.iter().map(|(name, value)| NAME_MEMORY + name.len() + value.len()).sum())?;
        let directory = self.directory(id);
        directory.attributes = attributes;
        directory.xattrs = xattrs;
        Ok(())
    }

    /// Anything with an inode of its own, in the place of what had the name before.
    pub fn put_inode(&mut self, path: &[u8], offset: u64, file_type: FileType) -> Result<(), LayerError> {
        let (parent, name) = self.parent(path)?;
        self.insert(parent, name, Child::Inode(offset, file_type))
    }

    /// A symbolic link; its target counts when it is on the way to a later member.
    pub fn put_symlink(&mut self, path: &[u8], offset: u64, target: &[u8]) -> Result<(), LayerError> {
        self.charge(NAME_MEMORY + target.len())?;
        self.put_inode(path, offset, FileType::Symlink)?;
        self.symlinks.insert(offset, target.into());
        Ok(())
    }

    /// Another name for a member that came before.
    pub fn put_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), LayerError> {
        let missing = || LayerError::LinkTarget { path: shown(path), target: shown(target) };
        let (holder, name) = self.lookup_parent(target).ok_or_else(missing)?;
        match self.directory(holder).children.get(name).copied() {
            Some(child @ Child::Inode(offset, _)) => {
                let (parent, name) = self.parent(path)?;
                self.linked.insert(offset);
                self.insert(parent, name, child)
            }
            Some(Child::Directory(_)) => Err(LayerError::LinkToDirectory { path: shown(path), target: shown(target) }),
            Some(Child::Whiteout) | None => Err(missing()),
        }
    }

    /// Like [`Tree::parent`], but makes nothing.
    fn lookup_parent<'a>(&mut self, path: &'a [u8]) -> Option<(DirectoryId, &'a [u8])> {
        let before = self.directories.len();
        let found = self.parent(path).ok()?;
        // Where a directory had to be made, nothing was: the archive is refused, and the directory with it.
        (self.directories.len() == before).then_some(found)
    }

    fn charge(&mut self, memory: usize) -> Result<(), LayerError> {
        self.memory += memory as u64;
        if self.memory > MAX_MEMORY {
            return Err(LayerError::TooManyNames { limit: MAX_MEMORY });
        }
        Ok(())
    }

    /// Hides `name` of the layers below. A member of this layer with that name stays; it hides them itself.
    pub fn put_whiteout(&mut self, parent: DirectoryId, name: &[u8]) -> Result<(), LayerError> {
        match self.directory(parent).children.get(name).copied() {
            Some(Child::Directory(id)) => self.directory(id).opaque = true,
            Some(Child::Inode(..) | Child::Whiteout) => {}
            None => self.insert(parent, name, Child::Whiteout)?,
        }
        Ok(())
    }

    /// Directories that can be reached from the root, parents first. Those that were replaced are not.
    pub fn reachable(&self) -> Vec<DirectoryId> {
        let mut ids = vec![ROOT];
        let mut next = 0;
        while let Some(id) = ids.get(next).copied() {
            next += 1;
            ids.extend(self.directories[id as usize].children.values().filter_map(|child| match child {
                Child::Directory(id) => Some(*id),
                _ => None,
            }));
        }
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbolic_links_stay_inside() {
        let mut tree = Tree::new();
        tree.put_symlink(b"out", 100, b"../../etc").unwrap();
        tree.put_symlink(b"abs", 101, b"/usr/lib").unwrap();
        tree.put_symlink(b"loop", 102, b"loop").unwrap();
        tree.put_inode(b"file", 103, FileType::Regular).unwrap();
        assert_eq!(tree.parent(b"out/x").unwrap(), (tree.parent(b"etc/x").unwrap().0, &b"x"[..]));
        assert_eq!(tree.parent(b"abs/x").unwrap(), (tree.parent(b"usr/lib/x").unwrap().0, &b"x"[..]));
        assert!(matches!(tree.parent(b"loop/x"), Err(LayerError::LinkLoop { .. })));
        assert!(matches!(tree.parent(b"file/x"), Err(LayerError::NotDirectory { .. })));
    }

    #[test]
    fn replaced_directories_are_gone() {
        let mut tree = Tree::new();
        tree.put_inode(b"a/b/c", 1, FileType::Regular).unwrap();
        assert_eq!(tree.reachable().len(), 3);
        tree.put_inode(b"a", 2, FileType::Regular).unwrap();
        assert_eq!(tree.reachable().len(), 1);
        assert!(matches!(tree.put_inode(b"a/b/d", 3, FileType::Regular), Err(LayerError::NotDirectory { .. })));
    }

    #[test]
    fn whiteouts_hide_only_what_is_below() {
        let mut tree = Tree::new();
        tree.put_whiteout(ROOT, b"d").unwrap();
        tree.put_inode(b"d/x", 1, FileType::Regular).unwrap();
        let (id, _) = tree.parent(b"d/x").unwrap();
        assert!(tree.directory(id).opaque);
        tree.put_inode(b"f", 2, FileType::Regular).unwrap();
        tree.put_whiteout(ROOT, b"f").unwrap();
        assert!(matches!(tree.directory(ROOT).children[&b"f"[..]], Child::Inode(2, _)));
    }

    #[test]
    fn hard_links() {
        let mut tree = Tree::new();
        tree.put_inode(b"d/a", 1, FileType::Regular).unwrap();
        tree.put_link(b"b", b"d/a").unwrap();
        assert!(tree.linked.contains(&1));
        assert!(matches!(tree.put_link(b"c", b"d"), Err(LayerError::LinkToDirectory { .. })));
        assert!(matches!(tree.put_link(b"c", b"c"), Err(LayerError::LinkTarget { .. })));
        assert!(matches!(tree.put_link(b"c", b"no/where"), Err(LayerError::LinkTarget { .. })));
    }
}
