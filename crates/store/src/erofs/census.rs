//! Counts what the tree ended up with.

use std::collections::HashMap;

use super::tree::{Child, DirectoryId, Tree};

/// Numbers that are known only when all names are.
pub(super) struct Census {
    /// Names for each inode that has, or had, several.
    pub links: HashMap<u64, u32>,
    pub whiteouts: u32,
    pub inodes: u64,
    pub entries: u64,
}

impl Census {
    pub fn take(tree: &Tree, order: &[DirectoryId]) -> Census {
        let mut census = Census { links: HashMap::new(), whiteouts: 0, inodes: order.len() as u64, entries: 0 };
        for id in order {
            for child in tree.directories[*id as usize].children.values() {
                census.entries += 1;
                match child {
                    Child::Directory(_) => {}
                    Child::Whiteout => census.whiteouts += 1,
                    Child::Inode(offset, _) if tree.linked.contains(offset) => {
                        *census.links.entry(*offset).or_default() += 1;
                    }
                    Child::Inode(..) => census.inodes += 1,
                }
            }
        }
        census.inodes += census.links.len() as u64;
        census
    }
}
