//! The bytes of the format: superblock, inode, directory entry, checksum. All numbers are little endian.

use archive::tar::Time;

pub(super) const BLOCK: usize = 4096;
const BLOCK_BITS: u8 = 12;
const MAGIC: u32 = 0xE0F5_E1E2;
pub(super) const SUPERBLOCK: usize = 1024;
/// The root directory's inode follows the superblock (128 bytes); its number must fit into 16 bits.
pub(super) const ROOT: usize = 1152;
/// The two forms of an inode: the short one has 16 bits for owners and no time of its own.
pub(super) const COMPACT: usize = 32;
pub(super) const EXTENDED: usize = 64;
/// Inodes stand on multiples of this, and are numbered by it.
pub(super) const SLOT: usize = 32;
pub(super) const DIRENT: usize = 12;

const COMPAT_CHECKSUM: u32 = 1;
const COMPAT_MTIME: u32 = 2;

/// Largest image: what 32-bit block numbers reach.
pub(super) const MAX_SIZE: u64 = (u32::MAX as u64) * BLOCK as u64;

/// Where an inode's data lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// In whole blocks, the last one filled up with zeros.
    Plain,
    /// In whole blocks, and the rest right behind the inode.
    Inline,
}

/// File types, with the numbers of directory entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileType {
    Regular = 1,
    Directory = 2,
    CharDevice = 3,
    BlockDevice = 4,
    Fifo = 5,
    Symlink = 7,
}

impl FileType {
    fn of_mode(mode: u16) -> Option<FileType> {
        Some(match mode & 0o170_000 {
            0o100_000 => FileType::Regular,
            0o040_000 => FileType::Directory,
            0o020_000 => FileType::CharDevice,
            0o060_000 => FileType::BlockDevice,
            0o010_000 => FileType::Fifo,
            0o120_000 => FileType::Symlink,
            _ => return None,
        })
    }

    /// The type bits of `st_mode`.
    fn mode(self) -> u16 {
        match self {
            FileType::Regular => 0o100_000,
            FileType::Directory => 0o040_000,
            FileType::CharDevice => 0o020_000,
            FileType::BlockDevice => 0o060_000,
            FileType::Fifo => 0o010_000,
            FileType::Symlink => 0o120_000,
        }
    }
}

/// Owner, permission bits and modification time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attributes {
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
}

/// `struct erofs_inode_compact` or `struct erofs_inode_extended`.
pub(crate) struct Inode {
    /// See [`Attributes::fit`].
    pub compact: bool,
    pub layout: Layout,
    pub file_type: FileType,
    pub attributes: Attributes,
    pub size: u64,
    /// First data block, or the device number.
    pub union: u32,
    /// What `stat` shows where inode numbers have 32 bits.
    pub serial: u32,
    pub links: u32,
    /// Bytes of extended attributes behind the inode.
    pub xattrs: usize,
}

impl Attributes {
    /// Does a compact inode say all of it? Its time is that of the superblock, `epoch`.
    pub fn fit(&self, size: u64, epoch: Time) -> bool {
        let short = |id: u32| id <= u32::from(u16::MAX);
        self.mtime == epoch && short(self.uid) && short(self.gid) && size <= u64::from(u32::MAX)
    }
}

/// Bytes of an inode without what stands behind it.
pub(super) fn inode_size(compact: bool) -> usize {
    if compact { COMPACT } else { EXTENDED }
}

/// Most names of a compact inode.
const MAX_COMPACT_LINKS: u32 = u16::MAX as u32;

/// The number of names, as `i_nlink` has it, and where in the inode it stands.
pub(super) fn links(compact: bool, links: u32) -> (u64, Vec<u8>) {
    match compact {
        // More names than it can say are no reason to refuse a layer: nothing counts on the number.
        true => (6, (links.min(MAX_COMPACT_LINKS) as u16).to_le_bytes().to_vec()),
        false => (44, links.to_le_bytes().to_vec()),
    }
}

impl Inode {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; inode_size(self.compact)];
        let layout: u16 = match self.layout {
            Layout::Plain => 0,
            Layout::Inline => 2,
        };
        put16(&mut bytes, 0, u16::from(!self.compact) | layout << 1);
        put16(&mut bytes, 2, super::xattr::count(self.xattrs));
        put16(&mut bytes, 4, self.file_type.mode() | self.attributes.mode);
        let Attributes { uid, gid, mtime, .. } = self.attributes;
        if self.compact {
            put32(&mut bytes, 8, self.size as u32);
            put32(&mut bytes, 16, self.union);
            put32(&mut bytes, 20, self.serial);
            put16(&mut bytes, 24, uid as u16);
            put16(&mut bytes, 26, gid as u16);
        } else {
            put64(&mut bytes, 8, self.size);
            put32(&mut bytes, 16, self.union);
            put32(&mut bytes, 20, self.serial);
            put32(&mut bytes, 24, uid);
            put32(&mut bytes, 28, gid);
            put64(&mut bytes, 32, mtime.seconds as u64);
            put32(&mut bytes, 40, mtime.nanos);
        }
        let (at, number) = links(self.compact, self.links);
        bytes[at as usize..at as usize + number.len()].copy_from_slice(&number);
        bytes
    }
}

impl Inode {
    /// Reads one back; `epoch` is the time of compact ones.
    pub fn decode(bytes: &[u8; EXTENDED], epoch: Time) -> Option<Inode> {
        let format = get16(bytes, 0);
        let layout = match format >> 1 {
            0 => Layout::Plain,
            2 => Layout::Inline,
            _ => return None,
        };
        let compact = format & 1 == 0;
        let mode = get16(bytes, 4);
        let (size, uid, gid, mtime, links) = match compact {
            true => {
                let (uid, gid) = (get16(bytes, 24).into(), get16(bytes, 26).into());
                (get32(bytes, 8).into(), uid, gid, epoch, get16(bytes, 6).into())
            }
            false => {
                let mtime = Time { seconds: get64(bytes, 32) as i64, nanos: get32(bytes, 40) };
                (get64(bytes, 8), get32(bytes, 24), get32(bytes, 28), mtime, get32(bytes, 44))
            }
        };
        if size > MAX_SIZE {
            return None;
        }
        Some(Inode {
            compact,
            layout,
            file_type: FileType::of_mode(mode)?,
            attributes: Attributes { mode: mode & 0o7777, uid, gid, mtime },
            size,
            union: get32(bytes, 16),
            serial: get32(bytes, 20),
            links,
            xattrs: super::xattr::length(get16(bytes, 2)),
        })
    }
}

/// The time of compact inodes, from a superblock of ours.
pub(super) fn epoch(superblock: &[u8; 128]) -> Option<Time> {
    let ours = get32(superblock, 0) == MAGIC && superblock[12] == BLOCK_BITS;
    ours.then(|| Time { seconds: get64(superblock, 24) as i64, nanos: get32(superblock, 32) })
}

/// Device number as the kernel stores it (`new_encode_dev`): 12 bits of major, 20 bits of minor.
pub(super) fn device(major: u32, minor: u32) -> Option<u32> {
    (major < 1 << 12 && minor < 1 << 20).then_some((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
}

/// Fills in the superblock of `block` (block 0, everything else in place), checksum last.
pub(super) fn seal(block: &mut [u8; BLOCK], inodes: u64, blocks: u32, epoch: Time, uuid: [u8; 16]) {
    let at = |offset: usize| SUPERBLOCK + offset;
    put32(block, at(0), MAGIC);
    put32(block, at(4), 0);
    put32(block, at(8), COMPAT_CHECKSUM | COMPAT_MTIME);
    block[at(12)] = BLOCK_BITS;
    put16(block, at(14), (ROOT / SLOT) as u16);
    put64(block, at(16), inodes);
    put64(block, at(24), epoch.seconds as u64);
    put32(block, at(32), epoch.nanos);
    put32(block, at(36), blocks);
    block[at(48)..at(64)].copy_from_slice(&uuid);
    let checksum = crc32c(&block[SUPERBLOCK..]);
    put32(block, at(4), checksum);
}

/// CRC-32C (Castagnoli), reflected, starting from all ones, without the final complement: the kernel's `crc32c(~0, …)`.
fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}

pub(super) fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

pub(super) fn put32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

pub(super) fn put64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

pub(super) fn get16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn get32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(super) fn get64(bytes: &[u8], at: usize) -> u64 {
    u64::from(get32(bytes, at)) | u64::from(get32(bytes, at + 4)) << 32
}

/// What hoist notes at the very beginning of a layer file, which EROFS leaves to boot sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// Bytes of all regular files, each counted once.
    pub content: u64,
    /// Names in the layer.
    pub entries: u64,
    /// Version of the form: 1 had no split file.
    pub version: u32,
}

const LABEL: &str = "hoist layer ";
pub(crate) const LABEL_LEN: usize = 128;

impl Label {
    /// The form that is written now.
    pub const VERSION: u32 = 2;

    pub fn encode(&self) -> Vec<u8> {
        format!("{LABEL}{}\ncontent {}\nentries {}\n", self.version, self.content, self.entries).into_bytes()
    }

    /// Reads the label back; `None` when the file is not a layer of ours.
    pub fn decode(bytes: &[u8]) -> Option<Label> {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        let mut lines = std::str::from_utf8(&bytes[..end]).ok()?.strip_prefix(LABEL)?.lines();
        let version = lines.next()?.parse().ok()?;
        let mut number = |key| lines.next()?.strip_prefix(key)?.strip_prefix(' ')?.parse().ok();
        Some(Label { content: number("content")?, entries: number("entries")?, version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_is_castagnoli() {
        // The check value of CRC-32C over "123456789" is 0xe3069283 with the final complement.
        assert_eq!(!crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn device_numbers() {
        assert_eq!(device(1, 3), Some(0x103));
        assert_eq!(device(8, 70_000), Some((70_000 & 0xff) | 8 << 8 | (70_000 & !0xff) << 12));
        assert_eq!(device(4095, (1 << 20) - 1), Some(u32::MAX));
        assert_eq!(device(4096, 0), None);
        assert_eq!(device(0, 1 << 20), None);
    }

    #[test]
    fn label() {
        let label = Label { content: u64::MAX, entries: 7, version: 1 };
        let mut bytes = label.encode();
        assert!(bytes.len() <= LABEL_LEN);
        bytes.resize(LABEL_LEN, 0);
        assert_eq!(Label::decode(&bytes), Some(label));
        assert_eq!(Label::decode(&[0; 128]), None);
    }
}
