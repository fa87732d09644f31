//! Makes an ext4 file system in a file: what `mke2fs` does, without it. Kernel documentation, "ext4 Data Structures and
//! Algorithms".
//!
//! ```text
//!  group 0   [boot] superblock, descriptors, bitmaps, inode table, journal, "/", "/lost+found", free …
//!  group n   [superblock, descriptors: copies in some] bitmaps, inode table, free …
//! ```
//! Nothing but these is written; the rest of the file is a hole. Groups that nobody has used have no bitmaps on the disk
//! (`uninit_bg`), so that a terabyte is made as fast as a megabyte.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const INODE_SIZE: u64 = 256;
const DESCRIPTOR: u64 = 32;
const ROOT: u64 = 2;
const JOURNAL: u64 = 8;
const LOST_FOUND: u64 = 11;

/// Below it blocks have 1 KiB, so that the smallest are not all journal.
const SMALL: u64 = 64 << 20;

/// The largest: block numbers have 32 bits, and some are our own.
pub(crate) const LARGEST: u64 = 15 << 40;

/// The smallest that is worth its journal.
pub(crate) const SMALLEST: u64 = 1 << 20;

/// `s_flags`: names are hashed as signed characters.
const SIGNED_HASH: u32 = 1;
const HAS_JOURNAL_XATTR_INDEX: u32 = 0x4 | 0x8 | 0x20;
const FILETYPE_EXTENTS: u32 = 0x2 | 0x40;
/// `sparse_super`, `large_file`, `huge_file`, `uninit_bg`, `dir_nlink`, `extra_isize`.
const READ_ONLY_FEATURES: u32 = 0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x40;

const INODES_UNUSED: u16 = 1;
const BLOCKS_UNUSED: u16 = 2;
const TABLE_ZEROED: u16 = 4;

/// Where everything is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    block: u64,
    blocks: u64,
    groups: u64,
    descriptor_blocks: u64,
    inodes_per_group: u64,
    journal: u64,
}

impl Layout {
    /// The smallest whose files can have `size` bytes together.
    pub(crate) fn for_size(size: u64) -> Layout {
        let block: u64 = if size < SMALL { 1024 } else { 4096 };
        let journal = match size {
            0..0x4000_0000 => 1024,
            0x4000_0000..0x4_0000_0000 => 4096,
            _ => 16384,
        };
        let wanted = size.div_ceil(block);
        let mut blocks = wanted + journal + 1024;
        loop {
            let layout = Layout::of(block, blocks, journal);
            let usable = layout.free_blocks().saturating_sub(layout.reserved());
            if usable >= wanted {
                return layout;
            }
            blocks += wanted - usable;
        }
    }

    fn of(block: u64, blocks: u64, journal: u64) -> Layout {
        let first = u64::from(block == 1024);
        let mut layout = Layout {
            block,
            blocks,
            groups: (blocks - first).div_ceil(block * 8),
            descriptor_blocks: 0,
            inodes_per_group: if block == 1024 { 2048 } else { 8192 },
            journal,
        };
        layout.descriptor_blocks = (layout.groups * DESCRIPTOR).div_ceil(block);
        // A last group that is nearly all overhead is made whole enough.
        let last = layout.groups - 1;
        let least = layout.overhead(last) + 64;
        layout.blocks = layout.blocks.max(layout.start(last) + least);
        layout
    }

    fn first(&self) -> u64 {
        u64::from(self.block == 1024)
    }

    fn per_group(&self) -> u64 {
        self.block * 8
    }

    fn start(&self, group: u64) -> u64 {
        self.first() + group * self.per_group()
    }

    fn length(&self, group: u64) -> u64 {
        (self.blocks - self.start(group)).min(self.per_group())
    }

    fn table(&self) -> u64 {
        self.inodes_per_group * INODE_SIZE / self.block
    }

    /// Blocks of the superblock's copy and of the descriptors'.
    fn copies(&self, group: u64) -> u64 {
        let power_of = |base: u64| {
            let mut power = base;
            while power < group {
                power *= base;
            }
            power == group
        };
        let has = group <= 1 || power_of(3) || power_of(5) || power_of(7);
        if has { 1 + self.descriptor_blocks } else { 0 }
    }

    /// Blocks at the beginning of a group that are no file's.
    fn overhead(&self, group: u64) -> u64 {
        self.copies(group) + 2 + self.table()
    }

    /// What is in use in a group of a new file system.
    fn used(&self, group: u64) -> u64 {
        self.overhead(group) + if group == 0 { self.journal + 2 } else { 0 }
    }

    /// Of a new file system.
    pub(crate) fn free_blocks(&self) -> u64 {
        (0..self.groups).map(|group| self.length(group) - self.used(group)).sum()
    }

    /// What the kernel keeps back for itself.
    fn reserved(&self) -> u64 {
        (self.blocks / 50).min(4096)
    }

    /// Of the whole file.
    pub(crate) fn bytes(&self) -> u64 {
        self.blocks * self.block
    }

    pub(crate) fn block(&self) -> u64 {
        self.block
    }
}

/// Bytes that are filled in by position, little-endian.
struct Bytes(Vec<u8>);

impl Bytes {
    fn new(length: u64) -> Bytes {
        Bytes(vec![0; length as usize])
    }

    fn put(&mut self, at: usize, bytes: &[u8]) -> &mut Bytes {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn u16(&mut self, at: usize, value: u64) -> &mut Bytes {
        self.put(at, &(value as u16).to_le_bytes())
    }

    fn u32(&mut self, at: usize, value: u64) -> &mut Bytes {
        self.put(at, &(value as u32).to_le_bytes())
    }
}

/// Who it is: random, but for tests.
pub(crate) struct Identity {
    pub(crate) uuid: [u8; 16],
    pub(crate) hash_seed: [u8; 16],
    /// Seconds since the epoch.
    pub(crate) now: u64,
    /// The volume's label.
    pub(crate) label: [u8; 16],
}

/// Makes the file system in an empty file.
pub(crate) fn make(file: &File, layout: &Layout, identity: &Identity) -> io::Result<()> {
    file.set_len(layout.bytes())?;
    let descriptors = descriptors(layout, identity);
    for group in (0..layout.groups).filter(|group| layout.copies(*group) > 0) {
        let superblock = superblock(layout, identity, group);
        // The first one is 1,024 bytes into the device, whatever a block is.
        let at = if group == 0 { 1024 } else { layout.start(group) * layout.block };
        file.write_all_at(&superblock.0, at)?;
        file.write_all_at(&descriptors.0, (layout.start(group) + 1) * layout.block)?;
    }
    let block_bitmap = |group: u64| bitmap(layout.block, layout.used(group), layout.length(group));
    let at = |group: u64| (layout.start(group) + layout.copies(group)) * layout.block;
    file.write_all_at(&block_bitmap(0), at(0))?;
    let last = layout.groups - 1;
    if last > 0 {
        file.write_all_at(&block_bitmap(last), at(last))?;
    }
    let inodes = bitmap(layout.block, LOST_FOUND, layout.inodes_per_group);
    file.write_all_at(&inodes, at(0) + layout.block)?;

    let journal = layout.start(0) + layout.overhead(0);
    let root = journal + layout.journal;
    let table = at(0) + 2 * layout.block;
    let write_inode = |number: u64, inode: Bytes| file.write_all_at(&inode.0, table + (number - 1) * INODE_SIZE);
    write_inode(ROOT, inode(layout, identity, 0o40755, 3, root, 1))?;
    write_inode(JOURNAL, inode(layout, identity, 0o100_600, 1, journal, layout.journal))?;
    write_inode(LOST_FOUND, inode(layout, identity, 0o40700, 2, root + 1, 1))?;
    file.write_all_at(&journal_superblock(layout, identity).0, journal * layout.block)?;
    file.write_all_at(
        &directory(layout, &[(ROOT, "."), (ROOT, ".."), (LOST_FOUND, "lost+found")]).0,
        root * layout.block,
    )?;
    file.write_all_at(&directory(layout, &[(LOST_FOUND, "."), (ROOT, "..")]).0, (root + 1) * layout.block)
}

fn superblock(layout: &Layout, identity: &Identity, group: u64) -> Bytes {
    let mut bytes = Bytes::new(1024);
    let inodes = layout.inodes_per_group * layout.groups;
    let log_block = u64::from(layout.block.trailing_zeros()) - 10;
    bytes.u32(0, inodes).u32(4, layout.blocks).u32(12, layout.free_blocks()).u32(16, inodes - LOST_FOUND);
    bytes.u32(20, layout.first()).u32(24, log_block).u32(28, log_block);
    bytes.u32(32, layout.per_group()).u32(36, layout.per_group()).u32(40, layout.inodes_per_group);
    // Never checked for its age; clean; read-only after an error.
    bytes.u32(48, identity.now).u16(54, 0xffff).u16(56, 0xef53).u16(58, 1).u16(60, 2);
    bytes.u32(64, identity.now).u32(76, 1).u32(84, LOST_FOUND).u16(88, INODE_SIZE).u16(90, group);
    bytes.u32(92, HAS_JOURNAL_XATTR_INDEX.into()).u32(96, FILETYPE_EXTENTS.into()).u32(100, READ_ONLY_FEATURES.into());
    bytes.put(104, &identity.uuid).put(120, &identity.label).u32(224, JOURNAL).put(236, &identity.hash_seed);
    // Half MD4; user attributes and access control lists.
    bytes.put(252, &[1]).u32(256, 0xc).u32(264, identity.now).u16(348, 32).u16(350, 32).u32(352, SIGNED_HASH.into());
    bytes
}

fn descriptors(layout: &Layout, identity: &Identity) -> Bytes {
    let mut all = Bytes::new(layout.descriptor_blocks * layout.block);
    for group in 0..layout.groups {
        let mut bytes = Bytes::new(DESCRIPTOR);
        let at = layout.start(group) + layout.copies(group);
        bytes.u32(0, at).u32(4, at + 1).u32(8, at + 2).u16(12, layout.length(group) - layout.used(group));
        let (inodes, directories) = if group == 0 { (LOST_FOUND, 2) } else { (0, 0) };
        let unused = layout.inodes_per_group - inodes;
        let mut flags = TABLE_ZEROED;
        if group > 0 {
            flags |= INODES_UNUSED;
            // The last may be shorter than the others: its bitmap is written.
            flags |= if group + 1 < layout.groups { BLOCKS_UNUSED } else { 0 };
        }
        bytes.u16(14, unused).u16(16, directories).u16(18, flags.into()).u16(28, unused);
        let crc = crc16(crc16(0xffff, &identity.uuid), &(group as u32).to_le_bytes());
        let crc = crc16(crc, &bytes.0[..30]);
        bytes.u16(30, crc.into());
        all.put((group * DESCRIPTOR) as usize, &bytes.0);
    }
    all
}

/// One block: the first `used` bits are set, and all from `end` on, which are of nothing.
fn bitmap(block: u64, used: u64, end: u64) -> Vec<u8> {
    let mut bytes = vec![0u8; block as usize];
    for bit in (0..used).chain(end..block * 8) {
        bytes[(bit / 8) as usize] |= 1 << (bit % 8);
    }
    bytes
}

/// An inode whose file is one extent.
fn inode(layout: &Layout, identity: &Identity, mode: u64, links: u64, start: u64, blocks: u64) -> Bytes {
    let mut bytes = Bytes::new(INODE_SIZE);
    let size = blocks * layout.block;
    bytes.u16(0, mode).u32(4, size).u16(26, links).u32(28, size / 512).u32(32, 0x8_0000);
    for at in [8, 12, 16, 144] {
        bytes.u32(at, identity.now);
    }
    // Extent header: magic, entries, most, depth; extent: logical block, length, physical block.
    bytes.u16(40, 0xf30a).u16(42, 1).u16(44, 4).u32(52, 0).u16(56, blocks).u32(60, start).u16(128, 32);
    bytes
}

fn directory(layout: &Layout, entries: &[(u64, &str)]) -> Bytes {
    let mut bytes = Bytes::new(layout.block);
    let mut at = 0;
    for (index, (inode, name)) in entries.iter().enumerate() {
        let is_last = index + 1 == entries.len();
        let length = if is_last { layout.block as usize - at } else { 8 + name.len().next_multiple_of(4) };
        bytes
            .u32(at, *inode)
            .u16(at + 4, length as u64)
            .put(at + 6, &[name.len() as u8, 2])
            .put(at + 8, name.as_bytes());
        at += length;
    }
    bytes
}

/// An empty journal. Big-endian, as all of it.
fn journal_superblock(layout: &Layout, identity: &Identity) -> Bytes {
    let mut bytes = Bytes::new(1024);
    // Magic, version 2; block size, length, first block of the log, first sequence; one user.
    for (at, value) in [(0, 0xc03b_3998), (4, 4), (12, layout.block), (16, layout.journal), (20, 1), (24, 1), (64, 1)] {
        bytes.put(at, &(value as u32).to_be_bytes());
    }
    bytes.put(48, &identity.uuid);
    bytes
}

/// CRC-16 with the polynomial 0x8005, reflected, as the group descriptors have it.
fn crc16(mut crc: u16, bytes: &[u8]) -> u16 {
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xa001 } else { crc >> 1 };
        }
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum() {
        // The check value of CRC-16/MODBUS.
        assert_eq!(crc16(0xffff, b"123456789"), 0x4b37);
    }

    #[test]
    fn room_for_what_was_asked() {
        for size in [SMALLEST, SMALLEST + 1, 10 << 20, SMALL - 1, SMALL, 1 << 30, 100 << 30, 1 << 40, LARGEST] {
            let layout = Layout::for_size(size);
            let usable = (layout.free_blocks() - layout.reserved()) * layout.block;
            assert!(usable >= size, "{size}: {usable} of {layout:?}");
            assert!(usable - size <= (64 + layout.overhead(1)) * layout.block, "{size}: {usable} of {layout:?}");
            assert!(layout.used(0) < layout.length(0) && layout.blocks < 1 << 32, "{layout:?}");
        }
    }
}
