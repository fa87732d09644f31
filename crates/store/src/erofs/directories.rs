//! Places and writes all directories, when everything else has its place.

use super::directory::{Dirent, Extent, encode, measure};
use super::error::LayerError;
use super::format::{self, BLOCK, FileType, INODE, Inode, Layout, MAX_SIZE, SLOT};
use super::space::Space;
use super::tree::{Child, DirectoryId, ROOT, Tree};
use super::xattr;

/// Where each directory's inode and data go: first all inodes, each with its last partial block, then the full blocks.
pub(super) struct Directories {
    /// Where the inodes begin, and where the blocks do.
    inodes_at: u64,
    blocks_at: u64,
    /// Parents first; the root is the first one, its inode stands in block 0.
    plans: Vec<Plan>,
    /// Offsets of the inodes, by number of the directory.
    offsets: Vec<u64>,
    serial: u32,
}

struct Plan {
    id: DirectoryId,
    xattrs: Vec<u8>,
    extent: Extent,
    layout: Layout,
    /// First full block.
    block: u64,
    subdirectories: u32,
}

impl Directories {
    pub fn plan(tree: &Tree, order: &[DirectoryId], end: u64, serial: u32) -> Result<Directories, LayerError> {
        let mut offsets = vec![0; tree.directories.len()];
        let mut plans = Vec::with_capacity(order.len());
        let mut cursor = end;
        for id in order {
            let directory = &tree.directories[*id as usize];
            let room = if *id == ROOT { BLOCK - format::ROOT } else { usize::MAX };
            let xattrs = xattr::encode(b"", &directory.xattrs, directory.opaque, room.saturating_sub(INODE))?;
            let names = merged(directory.children.keys().map(|name| (&**name, ())), [(); 2]);
            let extent = measure(names.map(|(name, ())| name.len()));
            let fixed = INODE + xattrs.len();
            let inline = fixed + extent.tail <= room.min(BLOCK);
            let size = if inline { fixed + extent.tail } else { fixed };
            offsets[*id as usize] = if *id == ROOT {
                format::ROOT as u64
            } else {
                cursor = cursor.next_multiple_of(SLOT as u64);
                let used = (cursor % BLOCK as u64) as usize;
                if used > 0 && used + size > BLOCK {
                    cursor = cursor.next_multiple_of(BLOCK as u64);
                }
                cursor += size as u64;
                cursor - size as u64
            };
            let subdirectories =
                directory.children.values().filter(|child| matches!(child, Child::Directory(_))).count() as u32;
            let layout = if inline { Layout::Inline } else { Layout::Plain };
            plans.push(Plan { id: *id, xattrs, extent, layout, block: 0, subdirectories });
        }
        let blocks_at = cursor.next_multiple_of(BLOCK as u64);
        let mut block = blocks_at / BLOCK as u64;
        for plan in &mut plans {
            plan.block = block;
            block += plan.blocks();
        }
        if block > u64::from(u32::MAX) {
            return Err(LayerError::TooLarge { limit: MAX_SIZE });
        }
        Ok(Directories { inodes_at: end, blocks_at, plans, offsets, serial })
    }

    /// Writes them all; gives back the root's inode, with what stands behind it.
    pub fn write(&self, tree: &Tree, whiteout: u64, space: &mut Space) -> Result<Vec<u8>, LayerError> {
        let mut root = Vec::new();
        let mut position = self.inodes_at;
        for (index, plan) in self.plans.iter().enumerate() {
            let mut bytes = plan.inode(tree, self.serial + index as u32).encode().to_vec();
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
            let offset = self.offsets[plan.id as usize];
            zeros(space, offset - position)?;
            space.append(&bytes).map_err(LayerError::Write)?;
            position = offset + bytes.len() as u64;
        }
        zeros(space, self.blocks_at - position)?;
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

fn zeros(space: &mut Space, mut count: u64) -> Result<(), LayerError> {
    while count > 0 {
        let step = count.min(BLOCK as u64);
        space.append(&[0; BLOCK][..step as usize]).map_err(LayerError::Write)?;
        count -= step;
    }
    Ok(())
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
