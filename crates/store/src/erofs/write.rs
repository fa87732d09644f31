//! One pass: members as they come, directories at the end.

use std::fs::File;
use std::io::{self, BufRead, Read};

use archive::tar::{Entry, Extent, Kind, Metadata, Reader, Time, Xattr};
use oci::Digest;

use super::census::Census;
use super::directories::Directories;
use super::error::{LayerError, shown};
use super::format::{self, Attributes, BLOCK, FileType, Inode, Label, Layout, MAX_SIZE, SUPERBLOCK, inode_size};
use super::space::Space;
use super::tree::{ROOT, Tree};
use super::whiteout::{Mark, whiteout};
use super::xattr::{self, Shared};
use crate::split::{Draft, SplitWriter};

/// What [`write()`] made.
pub(crate) struct Written<R> {
    pub file: File,
    pub label: Label,
    pub split: Draft,
    pub source: R,
}

/// Reads a tar to its end and writes it into `file`, which is empty, as an image; what the image does not have of the
/// tar goes to `split`. `identity` is asked, when all bytes of `source` have been read, for the digest that the image's
/// uuid is taken from.
pub(crate) fn write<R: Read>(
    source: R,
    file: File,
    split: SplitWriter,
    identity: impl FnOnce(&R) -> Digest,
) -> Result<Written<R>, LayerError> {
    let mut image = Image::new(file)?;
    let mut reader = Reader::tapped(source, split);
    while let Some(entry) = reader.next_entry().map_err(LayerError::Tar)? {
        image.add(entry)?;
    }
    let (source, split) = reader.finish_tapped().map_err(LayerError::Tar)?;
    let split = split.finish().map_err(LayerError::Write)?;
    let uuid = uuid(identity(&source));
    let (file, label) = image.finish(uuid)?;
    Ok(Written { file, label, split, source })
}

/// A version 8 uuid (RFC 9562) from the digest.
fn uuid(digest: Digest) -> [u8; 16] {
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&digest.as_bytes()[..16]);
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

struct Image {
    space: Space,
    tree: Tree,
    /// Inodes so far; each gets the next number.
    serial: u32,
    content: u64,
    /// The last partial block of the file at hand.
    tail: Vec<u8>,
    shared: Shared,
    /// The time that compact inodes have: that of the first file.
    epoch: Option<Time>,
}

impl Image {
    fn new(file: File) -> Result<Image, LayerError> {
        let mut space = Space::new(file);
        // Block 0 is filled in at the very end.
        space.append(&[0; BLOCK]).map_err(LayerError::Write)?;
        let (tree, shared) = (Tree::new(), Shared::default());
        Ok(Image { space, tree, serial: 1, content: 0, tail: Vec::with_capacity(BLOCK), shared, epoch: None })
    }

    fn add<R: Read>(&mut self, mut entry: Entry<'_, R, SplitWriter>) -> Result<(), LayerError> {
        if self.space.end() + entry.metadata.size > MAX_SIZE {
            return Err(LayerError::TooLarge { limit: MAX_SIZE });
        }
        let path = std::mem::take(&mut entry.metadata.path);
        match whiteout(&path)? {
            Mark::None => {}
            Mark::Skip => return Ok(()),
            Mark::Opaque => {
                let (parent, _) = self.tree.parent(&path)?;
                self.tree.directory(parent).opaque = true;
                return Ok(());
            }
            Mark::Whiteout(name) => {
                let (parent, _) = self.tree.parent(&path)?;
                return self.tree.put_whiteout(parent, name);
            }
        }
        let metadata = &mut entry.metadata;
        let attributes =
            Attributes { mode: metadata.mode as u16, uid: metadata.uid, gid: metadata.gid, mtime: metadata.mtime };
        match metadata.kind {
            Kind::Directory => self.tree.put_directory(&path, attributes, std::mem::take(&mut metadata.xattrs)),
            Kind::Hardlink => self.tree.put_link(&path, &metadata.link),
            Kind::File => {
                let xattrs = self.xattrs(&path, &metadata.xattrs)?;
                let size = metadata.size;
                let offset = self.file(&mut entry, attributes, size, &xattrs)?;
                self.content += size;
                self.tree.put_inode(&path, offset, FileType::Regular)
            }
            Kind::Symlink => {
                let xattrs = self.xattrs(&path, &metadata.xattrs)?;
                let offset = self.symlink(&metadata.link, attributes, &xattrs)?;
                self.tree.put_symlink(&path, offset, &metadata.link)
            }
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {
                let xattrs = self.xattrs(&path, &metadata.xattrs)?;
                let (file_type, number) = special(metadata, &path)?;
                let offset = self.bare(file_type, attributes, number, &xattrs, 1)?;
                self.tree.put_inode(&path, offset, file_type)
            }
        }
    }

    fn xattrs(&mut self, path: &[u8], xattrs: &[Xattr]) -> Result<Vec<u8>, LayerError> {
        xattr::encode(path, xattrs, false, usize::MAX, &mut self.shared, &mut self.space)
    }

    /// Does a compact inode do? A time before the epoch of all times is left to the extended ones.
    fn compact(&mut self, attributes: Attributes, size: u64) -> bool {
        let first = Some(attributes.mtime).filter(|time| time.seconds >= 0).unwrap_or_default();
        attributes.fit(size, *self.epoch.get_or_insert(first))
    }

    /// Streams the data of a file to its place; gives the offset of the inode.
    fn file<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R, SplitWriter>,
        attributes: Attributes,
        size: u64,
        xattrs: &[u8],
    ) -> Result<u64, LayerError> {
        let extents = entry.extents().map(<[Extent]>::to_vec);
        let tail = (size % BLOCK as u64) as usize;
        let compact = self.compact(attributes, size);
        let head = inode_size(compact) + xattrs.len();
        let inline = tail > 0 && head + tail <= BLOCK && extents.is_none();
        let start = self.space.end();
        let streamed = if inline { size - tail as u64 } else { size };
        let mut left = streamed;
        while left > 0 {
            let hole = entry.hole().min(left);
            if hole > 0 {
                self.space.skip(hole).map_err(LayerError::Write)?;
                entry.skip_hole();
                left -= hole;
                continue;
            }
            let available = entry.fill_buf().map_err(data_error)?;
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(available.len());
            self.space.append(&available[..step]).map_err(LayerError::Write)?;
            entry.consume(step);
            left -= step as u64;
        }
        self.space.pad();
        self.tail.clear();
        if inline {
            self.tail.resize(tail, 0);
            entry.read_exact(&mut self.tail).map_err(data_error)?;
        }
        let inode = Inode {
            compact,
            layout: if inline { Layout::Inline } else { Layout::Plain },
            file_type: FileType::Regular,
            attributes,
            size,
            union: if streamed > 0 { (start / BLOCK as u64) as u32 } else { 0 },
            serial: self.next_serial(),
            links: 1,
            xattrs: xattrs.len(),
        };
        let offset = self.space.place([&inode.encode(), xattrs, &self.tail]).map_err(LayerError::Write)?;
        let split = entry.tap();
        match extents {
            None => {
                split.data(start, streamed);
                split.data(offset + head as u64, self.tail.len() as u64);
            }
            Some(extents) => extents.iter().for_each(|extent| split.data(start + extent.offset, extent.length)),
        }
        Ok(offset)
    }

    fn symlink(&mut self, target: &[u8], attributes: Attributes, xattrs: &[u8]) -> Result<u64, LayerError> {
        let compact = self.compact(attributes, target.len() as u64);
        let inline = inode_size(compact) + xattrs.len() + target.len() <= BLOCK;
        let first = self.space.end() / BLOCK as u64;
        if !inline {
            self.space.append(target).map_err(LayerError::Write)?;
            self.space.pad();
        }
        let inode = Inode {
            compact,
            layout: if inline { Layout::Inline } else { Layout::Plain },
            file_type: FileType::Symlink,
            attributes,
            size: target.len() as u64,
            union: if inline { 0 } else { first as u32 },
            serial: self.next_serial(),
            links: 1,
            xattrs: xattrs.len(),
        };
        self.space.place([&inode.encode(), xattrs, if inline { target } else { &[] }]).map_err(LayerError::Write)
    }

    /// An inode without data.
    fn bare(
        &mut self,
        file_type: FileType,
        attributes: Attributes,
        number: u32,
        xattrs: &[u8],
        links: u32,
    ) -> Result<u64, LayerError> {
        let inode = Inode {
            compact: self.compact(attributes, 0),
            layout: Layout::Plain,
            file_type,
            attributes,
            size: 0,
            union: number,
            serial: self.next_serial(),
            links,
            xattrs: xattrs.len(),
        };
        self.space.place([&inode.encode(), xattrs, &[]]).map_err(LayerError::Write)
    }

    fn next_serial(&mut self) -> u32 {
        self.serial += 1;
        self.serial
    }

    /// Corrects link counts, writes the directories and the superblock.
    fn finish(mut self, uuid: [u8; 16]) -> Result<(File, Label), LayerError> {
        let order = self.tree.reachable();
        let census = Census::take(&self.tree, &order);
        for (offset, links) in &census.links {
            let mut version = [0];
            self.space.read(*offset, &mut version).map_err(LayerError::Write)?;
            let (at, number) = format::links(version[0] & 1 == 0, *links);
            self.space.patch(offset + at, &number).map_err(LayerError::Write)?;
        }
        // All whiteouts are names of one device 0:0.
        let whiteout = match census.whiteouts {
            0 => 0,
            links => {
                let attributes = Attributes { mtime: self.epoch.unwrap_or_default(), ..Attributes::default() };
                self.bare(FileType::CharDevice, attributes, 0, &[], links)?
            }
        };
        let epoch = self.epoch.unwrap_or_default();
        let mut xattrs = Vec::with_capacity(order.len());
        for id in &order {
            let Image { shared, space, tree, .. } = &mut self;
            let directory = &tree.directories[*id as usize];
            let room = if *id == ROOT { BLOCK - format::ROOT - format::EXTENDED } else { usize::MAX };
            xattrs.push(xattr::encode(b"", &directory.xattrs, directory.opaque, room, shared, space)?);
        }
        let directories = Directories::plan(&self.tree, &order, xattrs, &mut self.space, self.serial, epoch)?;
        let root = directories.write(&self.tree, whiteout, &mut self.space)?;

        let label = Label { content: self.content, entries: census.entries, version: Label::VERSION };
        let inodes = census.inodes + u64::from(census.whiteouts > 0);
        let end = self.space.end();
        if end > MAX_SIZE {
            return Err(LayerError::TooLarge { limit: MAX_SIZE });
        }
        let mut block = [0; BLOCK];
        let text = label.encode();
        block[..text.len()].copy_from_slice(&text);
        block[format::ROOT..format::ROOT + root.len()].copy_from_slice(&root);
        format::seal(&mut block, inodes, (end / BLOCK as u64) as u32, epoch, uuid);
        debug_assert!(text.len() < SUPERBLOCK);
        self.space.patch(0, &block).map_err(LayerError::Write)?;
        Ok((self.space.finish().map_err(LayerError::Write)?, label))
    }
}

/// A failed read of a member's data, with the reader's own error where it made one.
fn data_error(error: io::Error) -> LayerError {
    if error.get_ref().is_some_and(|inner| inner.is::<archive::tar::Error>()) {
        return LayerError::Tar(archive::tar::Error::Truncated { what: "the data of a member" });
    }
    LayerError::Tar(archive::tar::Error::Read(error))
}

fn special(metadata: &Metadata, path: &[u8]) -> Result<(FileType, u32), LayerError> {
    let file_type = match metadata.kind {
        Kind::CharDevice => FileType::CharDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        _ => return Ok((FileType::Fifo, 0)),
    };
    let (major, minor) = metadata.device;
    let number = format::device(major, minor).ok_or(LayerError::Device { path: shown(path), major, minor })?;
    Ok((file_type, number))
}
