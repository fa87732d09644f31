//! The data of directories: blocks of entries and names, sorted, so that the kernel can search them by halves.

use super::format::{BLOCK, DIRENT, FileType, put16, put64};

/// One name: what it is called, which inode it stands for.
#[derive(Clone, Copy)]
pub(super) struct Dirent<'a> {
    pub name: &'a [u8],
    pub inode: u64,
    pub file_type: FileType,
}

/// How a directory's data divides into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub full_blocks: u64,
    /// Bytes in the last block; never 0.
    pub tail: usize,
}

impl Extent {
    pub fn size(self) -> u64 {
        self.full_blocks * BLOCK as u64 + self.tail as u64
    }
}

/// The extent for names of these lengths, in order.
pub(super) fn measure(lengths: impl Iterator<Item = usize>) -> Extent {
    let mut extent = Extent { full_blocks: 0, tail: 0 };
    for length in lengths {
        let size = DIRENT + length;
        if extent.tail + size > BLOCK {
            extent.full_blocks += 1;
            extent.tail = 0;
        }
        extent.tail += size;
    }
    extent
}

/// Calls `block` with the data of each block in order; a full block comes filled up with zeros.
pub(super) fn encode<'a, E>(
    entries: impl Iterator<Item = Dirent<'a>>,
    mut block: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut pending: Vec<Dirent<'a>> = Vec::new();
    let mut used = 0;
    let mut bytes = Vec::with_capacity(BLOCK);
    for entry in entries {
        let size = DIRENT + entry.name.len();
        if used + size > BLOCK {
            fill(&mut bytes, &pending, used);
            bytes.resize(BLOCK, 0);
            block(&bytes)?;
            pending.clear();
            used = 0;
        }
        used += size;
        pending.push(entry);
    }
    fill(&mut bytes, &pending, used);
    block(&bytes)
}

/// Entries first, the names behind them.
fn fill(bytes: &mut Vec<u8>, entries: &[Dirent<'_>], used: usize) {
    bytes.clear();
    bytes.resize(used, 0);
    let mut name_at = entries.len() * DIRENT;
    for (index, entry) in entries.iter().enumerate() {
        let at = index * DIRENT;
        put64(bytes, at, entry.inode);
        put16(bytes, at + 8, name_at as u16);
        bytes[at + 10] = entry.file_type as u8;
        bytes[name_at..name_at + entry.name.len()].copy_from_slice(entry.name);
        name_at += entry.name.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measured_as_encoded() {
        for count in [0, 1, 100, 300, 5000] {
            for length in [1, 7, 100, 255] {
                let names: Vec<Vec<u8>> = (0..count).map(|_| vec![b'n'; length]).collect();
                let names = || [&b"."[..], b".."].into_iter().chain(names.iter().map(Vec::as_slice));
                let extent = measure(names().map(<[u8]>::len));
                let mut sizes = Vec::new();
                let entries = names().map(|name| Dirent { name, inode: 1, file_type: FileType::Regular });
                encode(entries, |block| {
                    sizes.push(block.len());
                    Ok::<(), ()>(())
                })
                .unwrap();
                assert_eq!(sizes.len() as u64, extent.full_blocks + 1);
                assert_eq!(sizes.last().copied(), Some(extent.tail));
                assert!(sizes[..sizes.len() - 1].iter().all(|size| *size == BLOCK));
            }
        }
    }
}
