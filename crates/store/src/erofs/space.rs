//! Where things go in the file: contents of files one after the other, small things into blocks that still have room.
//!
//! ```text
//!  window, window │ cluster: blocks of inodes and tails │ window, window, window │ cluster │ …
//!  written when   │ kept in memory, and filled up, until │
//!  full           │ too many are open                    │
//! ```

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::format::{BLOCK, SLOT};
use crate::writeback::Writeback;

/// Bytes of contents that are collected before they are written: one system call for each.
const WINDOW: usize = 1 << 20;
/// Blocks of inodes that are kept in memory, open for more. More of them waste less.
const OPEN: usize = 256;
/// Slots of a block.
const SLOTS: usize = BLOCK / SLOT;
/// Largest cluster, in blocks. Clusters begin with one block and grow with the image, so that the blocks of the last
/// one that are left over are few in proportion.
const CLUSTER: usize = 32;
/// Share of the blocks so far that a new cluster has.
const GROWTH: usize = 32;

/// The file while it grows.
pub(super) struct Space {
    file: File,
    /// Offset of the window in the file; a multiple of [`BLOCK`].
    base: u64,
    window: Vec<u8>,
    writeback: Writeback,
    /// Oldest first; only the last one has blocks that were not begun.
    clusters: VecDeque<Cluster>,
    /// Clusters that are written already: the number of the first in [`Space::clusters`].
    written: usize,
    /// Begun blocks by the slots they have left: the number of the cluster, and of the block in it.
    free: Vec<Vec<(usize, usize)>>,
    /// Blocks of inodes so far.
    begun: usize,
    /// Blocks in [`Space::clusters`].
    open: usize,
}

/// Blocks of inodes in memory.
struct Cluster {
    offset: u64,
    bytes: Vec<u8>,
    /// How much of each block is used; blocks behind these are not begun.
    used: Vec<usize>,
}

impl Cluster {
    fn blocks(&self) -> usize {
        self.bytes.len() / BLOCK
    }

    /// Puts `parts` at the end of what is used in a block; gives the offset in the file.
    fn put(&mut self, block: usize, parts: [&[u8]; 3]) -> u64 {
        let start = block * BLOCK + self.used[block];
        let mut at = start;
        for part in parts {
            self.bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        self.used[block] = (at - block * BLOCK).next_multiple_of(SLOT);
        self.offset + start as u64
    }
}

impl Space {
    pub fn new(file: File) -> Space {
        Space {
            file,
            base: 0,
            writeback: Writeback::default(),
            window: Vec::with_capacity(WINDOW),
            clusters: VecDeque::new(),
            written: 0,
            free: vec![Vec::new(); SLOTS + 1],
            begun: 0,
            open: 0,
        }
    }

    /// Offset of the end of the file.
    pub fn end(&self) -> u64 {
        self.base + self.window.len() as u64
    }

    /// Appends at the end. Whoever appends pads to whole blocks before anything else is placed.
    pub fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.window.len() == WINDOW {
                self.flush()?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(WINDOW - self.window.len()));
            self.window.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// Appends `count` zeros; whole blocks of them take no room on a file system that knows holes.
    pub fn skip(&mut self, mut count: u64) -> io::Result<()> {
        let partial = (self.end().wrapping_neg() % BLOCK as u64).min(count);
        self.append(&[0; BLOCK][..partial as usize])?;
        count -= partial;
        let blocks = count / BLOCK as u64 * BLOCK as u64;
        if blocks > 0 {
            self.flush()?;
            self.base += blocks;
        }
        self.append(&[0; BLOCK][..(count - blocks) as usize])
    }

    /// Fills the last block up with zeros.
    pub fn pad(&mut self) {
        // A window is whole blocks, so this never crosses its end.
        self.window.resize(self.window.len().next_multiple_of(BLOCK), 0);
    }

    /// Puts `parts`, one after the other, somewhere on a multiple of [`SLOT`], all in one block if they fit into one;
    /// says where.
    pub fn place(&mut self, parts: [&[u8]; 3]) -> io::Result<u64> {
        let size: usize = parts.iter().map(|part| part.len()).sum();
        if size > BLOCK {
            let offset = self.end();
            for part in parts {
                self.append(part)?;
            }
            self.pad();
            return Ok(offset);
        }
        let (cluster, block) = match self.fullest(size.div_ceil(SLOT)) {
            Some(found) => found,
            None => self.begin()?,
        };
        let held = &mut self.clusters[cluster - self.written];
        let offset = held.put(block, parts);
        self.free[(BLOCK - held.used[block]) / SLOT].push((cluster, block));
        Ok(offset)
    }

    /// Takes the fullest block with so many free slots out of [`Space::free`].
    fn fullest(&mut self, slots: usize) -> Option<(usize, usize)> {
        let written = self.written;
        self.free[slots..].iter_mut().find_map(|blocks| {
            while let Some((cluster, block)) = blocks.pop() {
                if cluster >= written {
                    return Some((cluster, block));
                }
            }
            None
        })
    }

    /// Begins another block.
    fn begin(&mut self) -> io::Result<(usize, usize)> {
        if self.clusters.back().is_none_or(|last| last.used.len() == last.blocks()) {
            self.grow()?;
        }
        self.begun += 1;
        let last = self.clusters.back_mut().expect("there is one with room now");
        last.used.push(0);
        Ok((self.written + self.clusters.len() - 1, self.clusters[self.clusters.len() - 1].used.len() - 1))
    }

    /// Another cluster at the end of the file; the oldest ones are written where there are too many.
    fn grow(&mut self) -> io::Result<()> {
        self.flush()?;
        let blocks = (self.begun / GROWTH).clamp(1, CLUSTER);
        self.clusters.push_back(Cluster { offset: self.base, bytes: vec![0; blocks * BLOCK], used: Vec::new() });
        self.base += (blocks * BLOCK) as u64;
        self.open += blocks;
        while self.open > OPEN {
            let Some(oldest) = self.clusters.pop_front() else { break };
            self.open -= oldest.blocks();
            self.written += 1;
            self.file.write_all_at(&oldest.bytes, oldest.offset)?;
        }
        Ok(())
    }

    /// The memory that holds what was placed at `offset`, with its position there; `None` if it is written.
    fn held(&mut self, offset: u64) -> Option<(&mut [u8], usize)> {
        let inside = |start: u64, held: &[u8]| offset >= start && offset - start < held.len() as u64;
        let (start, held) = match self.clusters.iter_mut().find(|cluster| inside(cluster.offset, &cluster.bytes)) {
            Some(cluster) => (cluster.offset, &mut cluster.bytes),
            None if inside(self.base, &self.window) => (self.base, &mut self.window),
            None => return None,
        };
        Some((held, (offset - start) as usize))
    }

    /// Overwrites bytes that were placed before.
    pub fn patch(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self.held(offset) {
            Some((held, at)) => held[at..at + bytes.len()].copy_from_slice(bytes),
            None => self.file.write_all_at(bytes, offset)?,
        }
        Ok(())
    }

    /// Reads bytes back that were placed before.
    pub fn read(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        match self.held(offset) {
            Some((held, at)) => bytes.copy_from_slice(&held[at..at + bytes.len()]),
            None => self.file.read_exact_at(bytes, offset)?,
        }
        Ok(())
    }

    /// Writes what is left and gives the file back.
    pub fn finish(mut self) -> io::Result<File> {
        self.flush()?;
        for cluster in &self.clusters {
            // Blocks that were not begun stay holes, unless they are the end of the file.
            self.file.write_all_at(&cluster.bytes[..cluster.used.len() * BLOCK], cluster.offset)?;
        }
        if self.file.metadata()?.len() < self.base {
            self.file.set_len(self.base)?;
        }
        Ok(self.file)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.window.is_empty() {
            return Ok(());
        }
        self.file.write_all_at(&self.window, self.base)?;
        self.base += self.window.len() as u64;
        self.writeback.advance(&self.file, self.base);
        self.window.clear();
        Ok(())
    }
}
