//! Where things go in the file: whole blocks at the end, small things into blocks that still have room.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::format::{BLOCK, SLOT};
use crate::writeback::Writeback;

/// Bytes that are collected before they are written: one system call for each.
const WINDOW: usize = 1 << 20;

/// Blocks of inodes that are kept open for more. More of them waste less and take longer to search.
const OPEN: usize = 16;

/// The file while it grows. Everything before the window is written.
pub(super) struct Space {
    file: File,
    /// Offset of the window in the file; a multiple of [`BLOCK`].
    base: u64,
    window: Vec<u8>,
    writeback: Writeback,
    /// Blocks in the window that have room: where they begin in the window, and how much of them is used.
    open: Vec<(usize, usize)>,
}

impl Space {
    pub fn new(file: File) -> Space {
        Space {
            file,
            base: 0,
            writeback: Writeback::default(),
            window: Vec::with_capacity(WINDOW),
            open: Vec::with_capacity(OPEN + 1),
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
        let fits = |used: usize| BLOCK - used >= size;
        let best =
            (0..self.open.len()).filter(|index| fits(self.open[*index].1)).max_by_key(|index| self.open[*index].1);
        let index = match best {
            Some(index) => index,
            None => {
                if self.window.len() == WINDOW {
                    self.flush()?;
                }
                self.open.push((self.window.len(), 0));
                self.window.resize(self.window.len() + BLOCK, 0);
                self.open.len() - 1
            }
        };
        let (block, used) = self.open[index];
        let mut at = block + used;
        for part in parts {
            self.window[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        let now = (at - block).next_multiple_of(SLOT);
        self.open[index].1 = now;
        if now >= BLOCK - super::format::INODE {
            self.open.swap_remove(index);
        } else if self.open.len() > OPEN {
            let fullest = (0..self.open.len()).max_by_key(|index| self.open[*index].1);
            self.open.swap_remove(fullest.unwrap_or(0));
        }
        Ok(self.base + (block + used) as u64)
    }

    /// Overwrites bytes that were placed before.
    pub fn patch(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match offset.checked_sub(self.base) {
            Some(at) => {
                let at = at as usize;
                self.window[at..at + bytes.len()].copy_from_slice(bytes);
                Ok(())
            }
            None => self.file.write_all_at(bytes, offset),
        }
    }

    /// Writes what is left and gives the file back.
    pub fn finish(mut self) -> io::Result<File> {
        self.flush()?;
        Ok(self.file)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.window, self.base)?;
        self.base += self.window.len() as u64;
        self.writeback.advance(&self.file, self.base);
        self.window.clear();
        self.open.clear();
        Ok(())
    }
}
