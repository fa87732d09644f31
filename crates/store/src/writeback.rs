//! Begins to write to the disk while a file still grows, so that the sync at its end is short.

use std::fs::File;
use std::os::fd::AsFd;

/// Bytes after which the kernel is asked.
const STEP: u64 = 8 << 20;

/// How far the kernel has been asked to write a file.
#[derive(Debug, Default)]
pub struct Writeback {
    begun: u64,
}

impl Writeback {
    /// The file has been written sequentially up to `end`.
    pub fn advance(&mut self, file: &File, end: u64) {
        if end - self.begun >= STEP {
            // Only a hint: where it is not supported, the sync does it all.
            let _ = sys::writeback::begin(file.as_fd(), self.begun, end - self.begun);
            self.begun = end;
        }
    }
}
