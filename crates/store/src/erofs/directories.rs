//! Places and writes all directories, when everything else has its place.

use super::directory::{Dirent, Extent, encode, measure};
use super::error::LayerError;
use archive::tar::Time;

use super::format::{self, BLOCK, FileType, Inode, Layout, MAX_SIZE, SLOT, inode_size};
use super::space::Space;
use super::tree::{Child, DirectoryId, ROOT, Tree};

/// Entries with which a directory may have more subdirectories than a compact inode counts.
const MAX_COMPACT: usize = u16::MAX as usize - 2;

/// Where each directory's inode and data go: the inodes, each with its last partial block, among those of files, then
/// the full blocks.
pub(super) struct Directories {
    /// Parents first; the root is the first one, its inode stands in block 0.
    plans: Vec<Plan>,
    /// Offsets of the inodes, by number of the directory.
    offsets: Vec<u64>,
    serial: u32,
}

struct Plan {
    id: DirectoryId,
    compact: bool,
    xattrs: Vec<u8>,
    extent: Extent,
    layout: Layout,
    /// First full block.
    block: u64,
    subdirectories: u32,
}

impl Directories {
    /// `xattrs` are encoded, in the order of `order`; `epoch` is the superblock's time.
    pub fn plan(
        tree: &Tree,
        order: &[DirectoryId],
        xattrs: Vec<Vec<u8>>,
        space: &mut Space,
        serial: u32,
        epoch: Time,
    ) -> Result<Directories, LayerError> {
        let mut offsets = vec![0; tree.directories.len()];
        let mut plans = Vec::with_capacity(order.len());
        for (id, xattrs) in order.iter().zip(xattrs) {
            let directory = &tree.directories[*id as usize];
            let room = if *id == ROOT { BLOCK - format::ROOT } else { usize::MAX };
            let names = merged(directory.children.keys().map(|name| (&**name, ())), [(); 2]);
            let extent = measure(names.map(|(name, ())| name.len()));
            let compact = directory.attributes.fit(extent.size(), epoch) && directory.children.len() < MAX_COMPACT;
            let fixed = inode_size(compact) + xattrs.len();
            let inline = fixed + extent.tail <= room.min(BLOCK);
            let size = if inline { fixed + extent.tail } else { fixed };
            offsets[*id as usize] = if *id == ROOT {
                format::ROOT as u64
            } else if size <= BLOCK {
                space.place([&[0; BLOCK][..size], &[], &[]]).map_err(LayerError::Write)?
            } else {
                space.place([&vec![0; size], &[], &[]]).map_err(LayerError::Write)?
            };
            let subdirectories =
                directory.children.values().filter(|child| matches!(child, Child::Directory(_))).count() as u32;
            let layout = if inline { Layout::Inline } else { Layout::Plain };
            plans.push(Plan { id: *id, compact, xattrs, extent, layout, block: 0, subdirectories });
        }
        let mut block = space.end() / BLOCK as u64;
        for plan in &mut plans {
            plan.block = block;
            block += plan.blocks();
        }
        if block > u64::from(u32::MAX) {
            return Err(LayerError::TooLarge { limit: MAX_SIZE });
        }
        Ok(Directories { plans, offsets, serial })
    }

    /// Writes them all; gives back the root's inode, with what stands behind it.
    pub fn write(&self, tree: &Tree, whiteout: u64, space: &mut Space) -> Result<Vec<u8>, LayerError> {
        let mut root = Vec::new();
        for (index, plan) in self.plans.iter().enumerate() {
            let mut bytes = plan.inode(tree, self.serial + index as u32).encode();
            bytes.extend_from_slice(&plan.xattrs);
            if plan.layout == Layout::Inline {
                let mut number = 0;
                self.blocks(tree, plan, whiteout, |block| {
                    if number == plan.extent.full_blocks {
                        bytes.extend_from_slice(block);
                    }
                    number += 1;
                    Ok(())
                })?;
            }
            if plan.id == ROOT {
                root = bytes;
                continue;
            }
            space.patch(self.offsets[plan.id as usize], &bytes).map_err(LayerError::Write)?;
        }
        for plan in &self.plans {
            let mut left = plan.blocks();
            if left == 0 {
                continue;
            }
            self.blocks(tree, plan, whiteout, |block| {
                if left > 0 {
                    left -= 1;
                    space.append(block).map_err(LayerError::Write)?;
                    space.pad();
                }
                Ok(())
            })?;
        }
        Ok(root)
    }

    /// Calls `each` with the blocks of a directory's data.
    fn blocks(
        &self,
        tree: &Tree,
        plan: &Plan,
        whiteout: u64,
        each: impl FnMut(&[u8]) -> Result<(), LayerError>,
    ) -> Result<(), LayerError> {
        let directory = &tree.directories[plan.id as usize];
        let number = |offset: u64| offset / SLOT as u64;
        let of = |id: DirectoryId| (number(self.offsets[id as usize]), FileType::Directory);
        let children = directory.children.iter().map(|(name, child)| {
            let target = match child {
                Child::Directory(id) => of(*id),
                Child::Inode(offset, file_type) => (number(*offset), *file_type),
                Child::Whiteout => (number(whiteout), FileType::CharDevice),
            };
            (&**name, target)
        });
        let entries = merged(children, [of(plan.id), of(directory.parent)]);
        encode(entries.map(|(name, (inode, file_type))| Dirent { name, inode, file_type }), each)
    }
}

impl Plan {
    /// Blocks of data that do not stand behind the inode.
    fn blocks(&self) -> u64 {
        self.extent.full_blocks + u64::from(self.layout == Layout::Plain)
    }

    fn inode(&self, tree: &Tree, serial: u32) -> Inode {
        Inode {
            compact: self.compact,
            layout: self.layout,
            file_type: FileType::Directory,
            attributes: tree.directories[self.id as usize].attributes,
            size: self.extent.size(),
            union: if self.blocks() > 0 { self.block as u32 } else { 0 },
            serial: serial + 1,
            links: 2 + self.subdirectories,
            xattrs: self.xattrs.len(),
        }
    }
}

/// The names of a directory with `.` and `..` among them, in order.
fn merged<'a, T: Copy>(
    names: impl Iterator<Item = (&'a [u8], T)>,
    dots: [T; 2],
) -> impl Iterator<Item = (&'a [u8], T)> {
    let mut names = names.peekable();
    let mut dots = [(&b"."[..], dots[0]), (&b".."[..], dots[1])].into_iter().peekable();
    std::iter::from_fn(move || match (names.peek(), dots.peek()) {
        (Some((name, _)), Some((dot, _))) if name < dot => names.next(),
        (_, Some(_)) => dots.next(),
        (_, None) => names.next(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_in_order() {
        let names = ["!", "-", "...", ".a", "a"];
        let sorted: Vec<_> = merged(names.iter().map(|name| (name.as_bytes(), ())), [(); 2]).map(|(n, ())| n).collect();
        let mut expect = sorted.clone();
        expect.sort();
        assert_eq!(sorted, expect);
        assert_eq!(sorted.len(), 7);
    }
}
