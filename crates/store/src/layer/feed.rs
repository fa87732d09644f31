//! Bytes from one thread to another: the tar is fetched and decompressed here, digested and written there.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use oci::{Digest, DigestHasher};

/// Bytes that change hands at once.
const CHUNK: usize = 256 * 1024;
/// Chunks on the way.
const AHEAD: usize = 4;

/// The filling end.
pub(super) struct Feed {
    full: SyncSender<io::Result<Vec<u8>>>,
    empty: Receiver<Vec<u8>>,
}

/// The reading end: gives the bytes, and knows the digest of all it gave.
pub(super) struct Fed {
    full: Receiver<io::Result<Vec<u8>>>,
    empty: Sender<Vec<u8>>,
    chunk: Vec<u8>,
    position: usize,
    hasher: DigestHasher,
    size: u64,
}

pub(super) fn pair() -> (Feed, Fed) {
    let (full_sender, full_receiver) = sync_channel(AHEAD);
    let (empty_sender, empty_receiver) = channel();
    let feed = Feed { full: full_sender, empty: empty_receiver };
    let fed = Fed {
        full: full_receiver,
        empty: empty_sender,
        chunk: Vec::new(),
        position: 0,
        hasher: DigestHasher::new(),
        size: 0,
    };
    (feed, fed)
}

impl Feed {
    /// Passes all of `source` on; ends early when the other side has stopped reading. A failed read is passed on too.
    pub fn pump(self, mut source: impl Read) {
        loop {
            let mut chunk = self.empty.try_recv().unwrap_or_else(|_| vec![0; CHUNK]);
            chunk.resize(CHUNK, 0);
            let filled = fill(&mut source, &mut chunk);
            let message = match filled {
                Ok(0) => return,
                Ok(count) => {
                    chunk.truncate(count);
                    Ok(chunk)
                }
                Err(error) => Err(error),
            };
            let failed = message.is_err();
            if self.full.send(message).is_err() || failed {
                return;
            }
        }
    }
}

fn fill(source: &mut impl Read, chunk: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < chunk.len() {
        match source.read(&mut chunk[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl Fed {
    /// Digest and number of the bytes so far.
    pub fn digest(&self) -> (Digest, u64) {
        (self.hasher.clone().finish(), self.size)
    }
}

impl Read for Fed {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.position == self.chunk.len() {
            let spent = std::mem::take(&mut self.chunk);
            self.position = 0;
            if spent.capacity() > 0 {
                let _ = self.empty.send(spent);
            }
            match self.full.recv() {
                Ok(chunk) => self.chunk = chunk?,
                Err(_) => return Ok(0),
            }
            self.hasher.update(&self.chunk);
            self.size += self.chunk.len() as u64;
        }
        let count = out.len().min(self.chunk.len() - self.position);
        out[..count].copy_from_slice(&self.chunk[self.position..self.position + count]);
        self.position += count;
        Ok(count)
    }
}
