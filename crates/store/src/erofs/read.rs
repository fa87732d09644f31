//! Reads images that [`super::write()`] made: what the kernel does where it has EROFS.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use archive::tar::{Time, Xattr};

use super::format::{self, Attributes, BLOCK, DIRENT, FileType, Inode, Layout, SLOT, SUPERBLOCK};
use super::xattr;

/// Largest directory, in bytes: some ten million names.
const MAX_DIRECTORY: u64 = 1 << 30;

/// An image that is open.
pub(crate) struct Reader {
    file: File,
    epoch: Time,
}

/// A file of the image.
pub(crate) struct Node {
    /// The same for all its names.
    pub number: u64,
    pub inode: Inode,
    pub xattrs: Vec<Xattr>,
    /// Where the part of the data behind the inode begins.
    tail: u64,
}

/// Bytes of a file's data: where in the image, and how many.
pub(crate) type Range = (u64, u64);

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Reader {
    pub fn open(file: File) -> io::Result<Reader> {
        let mut superblock = [0; 128];
        file.read_exact_at(&mut superblock, SUPERBLOCK as u64)?;
        let epoch = format::epoch(&superblock).ok_or_else(|| broken("no EROFS superblock"))?;
        Ok(Reader { file, epoch })
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    pub fn root(&self) -> io::Result<Node> {
        self.node((format::ROOT / SLOT) as u64)
    }

    /// The file with this number.
    pub fn node(&self, number: u64) -> io::Result<Node> {
        let offset = number.checked_mul(SLOT as u64).ok_or_else(|| broken("an inode's number"))?;
        let mut bytes = [0; format::EXTENDED];
        // The last inode of an image may be a compact one.
        self.file.read_exact_at(&mut bytes[..format::COMPACT], offset)?;
        if bytes[0] & 1 == 1 {
            self.file.read_exact_at(&mut bytes, offset)?;
        }
        let inode = Inode::decode(&bytes, self.epoch).ok_or_else(|| broken("an inode"))?;
        let behind = offset + format::inode_size(inode.compact) as u64;
        let xattrs = self.xattrs(behind, inode.xattrs)?;
        Ok(Node { number, tail: behind + inode.xattrs as u64, inode, xattrs })
    }

    fn xattrs(&self, offset: u64, length: usize) -> io::Result<Vec<Xattr>> {
        if length == 0 {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset)?;
        let (numbers, mut entries) = xattr::split(&bytes).ok_or_else(|| broken("extended attributes"))?;
        let mut found = Vec::new();
        for number in numbers {
            found.push(self.shared(u64::from(number) * 4)?);
        }
        while !entries.is_empty() {
            let (entry, size) = xattr::decode(entries).ok_or_else(|| broken("an extended attribute"))?;
            found.push(entry);
            entries = &entries[size.min(entries.len())..];
        }
        Ok(found)
    }

    /// An attribute that several files have.
    fn shared(&self, offset: u64) -> io::Result<Xattr> {
        let mut head = [0; 4];
        self.file.read_exact_at(&mut head, offset)?;
        let mut bytes = vec![0; xattr::size(&head)];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(xattr::decode(&bytes).ok_or_else(|| broken("a shared extended attribute"))?.0)
    }

    /// Where a file's data lies, in order.
    pub fn data(&self, node: &Node) -> [Range; 2] {
        let Inode { layout, size, union, .. } = node.inode;
        let start = u64::from(union) * BLOCK as u64;
        match layout {
            Layout::Plain => [(start, size), (0, 0)],
            Layout::Inline => {
                let tail = size % BLOCK as u64;
                [(start, size - tail), (node.tail, tail)]
            }
        }
    }

    fn read(&self, node: &Node, limit: u64) -> io::Result<Vec<u8>> {
        if node.inode.size > limit {
            return Err(broken("the size of a directory or link"));
        }
        let mut bytes = vec![0; node.inode.size as usize];
        let mut at = 0;
        for (offset, length) in self.data(node) {
            self.file.read_exact_at(&mut bytes[at..at + length as usize], offset)?;
            at += length as usize;
        }
        Ok(bytes)
    }

    /// The target of a symbolic link.
    pub fn link(&self, node: &Node) -> io::Result<Vec<u8>> {
        self.read(node, BLOCK as u64)
    }

    /// Names of a directory with the numbers of the files, without `.` and `..`.
    pub fn entries(&self, node: &Node) -> io::Result<Vec<(Vec<u8>, u64)>> {
        let wrong = || broken("a directory");
        let bytes = self.read(node, MAX_DIRECTORY)?;
        let mut found = Vec::new();
        for block in bytes.chunks(BLOCK) {
            let number = |at: usize| Some(u16::from_le_bytes([*block.get(at)?, *block.get(at + 1)?]) as usize);
            let count = number(8).ok_or_else(wrong)? / DIRENT;
            for index in 0..count {
                let at = index * DIRENT;
                let start = number(at + 8).ok_or_else(wrong)?;
                let end = if index + 1 < count { number(at + DIRENT + 8).ok_or_else(wrong)? } else { block.len() };
                let name = block.get(start..end).ok_or_else(wrong)?;
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                let inode = block.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).ok_or_else(wrong)?;
                match name {
                    b"." | b".." => {}
                    b"" => return Err(wrong()),
                    name if name.contains(&b'/') => return Err(wrong()),
                    name => found.push((name.to_vec(), u64::from_le_bytes(inode))),
                }
            }
        }
        Ok(found)
    }
}

impl Node {
    pub fn file_type(&self) -> FileType {
        self.inode.file_type
    }

    pub fn attributes(&self) -> &Attributes {
        &self.inode.attributes
    }

    /// A name that hides what the layers below have.
    pub fn is_whiteout(&self) -> bool {
        self.inode.file_type == FileType::CharDevice && self.inode.union == 0
    }

    /// Major and minor number.
    pub fn device(&self) -> (u32, u32) {
        let number = self.inode.union;
        (number >> 8 & 0xfff, number & 0xff | (number >> 12 & 0xf_ff00))
    }
}
