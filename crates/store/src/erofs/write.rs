//! One pass: members as they come, directories at the end.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, Read};

use archive::tar::{Entry, Kind, Metadata, Reader};
use oci::Digest;

use super::directory::{Dirent, Extent, encode, measure};
use super::error::{LayerError, shown};
use super::format::{self, Attributes, BLOCK, FileType, INODE, INODE_LINKS, Inode, Label, Layout, SLOT, SUPERBLOCK};
use super::space::Space;
use super::tree::{Child, DirectoryId, ROOT, Tree};
use super::xattr;

/// Largest image: what 32-bit block numbers reach.
const MAX_SIZE: u64 = (u32::MAX as u64) * BLOCK as u64;

/// What [`write()`] made.
#[derive(Debug)]
pub(crate) struct Written<R> {
    pub file: File,
    pub label: Label,
    pub source: R,
}

/// Reads a tar to its end and writes it into `file`, which is empty, as an image. `identity` is asked, when all bytes
/// of `source` have been read, for the digest that the image's uuid is taken from.
pub(crate) fn write<R: Read>(
    source: R,
    file: File,
    identity: impl FnOnce(&R) -> Digest,
) -> Result<Written<R>, LayerError> {
    let mut image = Image::new(file)?;
    let mut reader = Reader::new(source);
    while let Some(entry) = reader.next_entry().map_err(LayerError::Tar)? {
        image.add(entry)?;
    }
    let source = reader.finish().map_err(LayerError::Tar)?;
    let uuid = uuid(identity(&source));
    let (file, label) = image.finish(uuid)?;
    Ok(Written { file, label, source })
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
}

impl Image {
    fn new(file: File) -> Result<Image, LayerError> {
        let mut space = Space::new(file);
        // Block 0 is filled in at the very end.
        space.append(&[0; BLOCK]).map_err(LayerError::Write)?;
        Ok(Image { space, tree: Tree::new(), serial: 1, content: 0, tail: Vec::with_capacity(BLOCK) })
    }

    fn add<R: Read>(&mut self, mut entry: Entry<'_, R>) -> Result<(), LayerError> {
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
                let xattrs = xattr::encode(&path, &metadata.xattrs, false, usize::MAX)?;
                let size = metadata.size;
                let offset = self.file(&mut entry, attributes, size, &xattrs)?;
                self.content += size;
                self.tree.put_inode(&path, offset, FileType::Regular)
            }
            Kind::Symlink => {
                let xattrs = xattr::encode(&path, &metadata.xattrs, false, usize::MAX)?;
                let offset = self.symlink(&metadata.link, attributes, &xattrs)?;
                self.tree.put_symlink(&path, offset, &metadata.link)
            }
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {
                let xattrs = xattr::encode(&path, &metadata.xattrs, false, usize::MAX)?;
                let (file_type, number) = special(metadata, &path)?;
                let offset = self.bare(file_type, attributes, number, &xattrs, 1)?;
                self.tree.put_inode(&path, offset, file_type)
            }
        }
    }

    /// Streams the data of a file to its place; gives the offset of the inode.
    fn file<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        attributes: Attributes,
        size: u64,
        xattrs: &[u8],
    ) -> Result<u64, LayerError> {
        let tail = (size % BLOCK as u64) as usize;
        let inline = tail > 0 && INODE + xattrs.len() + tail <= BLOCK;
        let first = self.space.end() / BLOCK as u64;
        let streamed = if inline { size - tail as u64 } else { size };
        let mut left = streamed;
        while left > 0 {
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
            layout: if inline { Layout::Inline } else { Layout::Plain },
            file_type: FileType::Regular,
            attributes,
            size,
            union: if streamed > 0 { first as u32 } else { 0 },
            serial: self.next_serial(),
            links: 1,
            xattrs: xattrs.len(),
        };
        self.space.place([&inode.encode(), xattrs, &self.tail]).map_err(LayerError::Write)
    }

    fn symlink(&mut self, target: &[u8], attributes: Attributes, xattrs: &[u8]) -> Result<u64, LayerError> {
        let inline = INODE + xattrs.len() + target.len() <= BLOCK;
        let first = self.space.end() / BLOCK as u64;
        if !inline {
            self.space.append(target).map_err(LayerError::Write)?;
            self.space.pad();
        }
        let inode = Inode {
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
            self.space.patch(offset + INODE_LINKS as u64, &links.to_le_bytes()).map_err(LayerError::Write)?;
        }
        // All whiteouts are names of one device 0:0.
        let whiteout = match census.whiteouts {
            0 => 0,
            links => self.bare(FileType::CharDevice, Attributes::default(), 0, &[], links)?,
        };
        let directories = Directories::plan(&self.tree, &order, self.space.end(), self.serial)?;
        let root = directories.write(&self.tree, whiteout, &mut self.space)?;

        let label = Label { content: self.content, entries: census.entries };
        let inodes = census.inodes + u64::from(census.whiteouts > 0);
        let end = self.space.end();
        if end > MAX_SIZE {
            return Err(LayerError::TooLarge { limit: MAX_SIZE });
        }
        let mut block = [0; BLOCK];
        let text = label.encode();
        block[..text.len()].copy_from_slice(&text);
        block[format::ROOT..format::ROOT + root.len()].copy_from_slice(&root);
        format::seal(&mut block, inodes, (end / BLOCK as u64) as u32, uuid);
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

/// What a name says about the layers below (OCI image-spec, `layer.md`, "Whiteouts").
#[derive(Debug, PartialEq, Eq)]
enum Mark<'a> {
    None,
    /// Hides this name.
    Whiteout(&'a [u8]),
    /// Hides all that the directory has below.
    Opaque,
    /// Left over from AUFS: no file of the image.
    Skip,
}

fn whiteout(path: &[u8]) -> Result<Mark<'_>, LayerError> {
    const PREFIX: &[u8] = b".wh.";
    const META: &[u8] = b".wh..wh.";
    if !path.starts_with(PREFIX) && !path.windows(PREFIX.len() + 1).any(|window| window == b"/.wh.") {
        return Ok(Mark::None);
    }
    let mut components = path.split(|byte| *byte == b'/').peekable();
    while let Some(component) = components.next() {
        let Some(hidden) = component.strip_prefix(PREFIX) else { continue };
        if component == b".wh..wh..opq" && components.peek().is_none() {
            return Ok(Mark::Opaque);
        }
        if component.starts_with(META) {
            return Ok(Mark::Skip);
        }
        if components.peek().is_some() || matches!(hidden, b"" | b"." | b"..") {
            return Err(LayerError::Whiteout { path: shown(path) });
        }
        return Ok(Mark::Whiteout(hidden));
    }
    Ok(Mark::None)
}

/// Numbers that are known only when all names are.
struct Census {
    /// Names for each inode that has, or had, several.
    links: HashMap<u64, u32>,
    whiteouts: u32,
    inodes: u64,
    entries: u64,
}

impl Census {
    fn take(tree: &Tree, order: &[DirectoryId]) -> Census {
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

/// Where each directory's inode and data go: first all inodes, each with its last partial block, then the full blocks.
struct Directories {
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
    fn plan(tree: &Tree, order: &[DirectoryId], end: u64, serial: u32) -> Result<Directories, LayerError> {
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
    fn write(&self, tree: &Tree, whiteout: u64, space: &mut Space) -> Result<Vec<u8>, LayerError> {
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
    fn marks() {
        let check = |path: &str, expect: Mark<'_>| assert_eq!(whiteout(path.as_bytes()).unwrap(), expect, "{path}");
        check("a", Mark::None);
        check("a/.whx", Mark::None);
        check("a.wh.b", Mark::None);
        check("a/.wh.b", Mark::Whiteout(b"b"));
        check(".wh.b", Mark::Whiteout(b"b"));
        check("a/.wh..wh..opq", Mark::Opaque);
        check("a/.wh..hidden", Mark::Whiteout(b".hidden"));
        check(".wh..wh.plnk/1.2", Mark::Skip);
        check(".wh..wh.aufs", Mark::Skip);
        for path in ["a/.wh.", "a/.wh..", "a/.wh...", ".wh.a/b"] {
            assert!(whiteout(path.as_bytes()).is_err(), "{path}");
        }
    }

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
