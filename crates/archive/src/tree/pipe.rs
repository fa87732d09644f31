//! Bytes from a thread that writes to one that reads, in large pieces and bounded.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Size of a piece.
const PIECE: usize = 256 * 1024;

/// Pieces that wait for the reader.
const QUEUE: usize = 4;

/// The writing end. [`PipeWriter::finish`] says that this was all; dropped without it, the reader gets an error.
pub struct PipeWriter {
    pieces: SyncSender<io::Result<Vec<u8>>>,
    current: Vec<u8>,
    finished: bool,
}

/// The reading end; when it is dropped, writing fails with `BrokenPipe`.
pub struct PipeReader {
    pieces: Receiver<io::Result<Vec<u8>>>,
    current: Vec<u8>,
    position: usize,
}

/// Two ends that belong together.
pub fn pipe() -> (PipeWriter, PipeReader) {
    let (sender, receiver) = sync_channel(QUEUE);
    let writer = PipeWriter { pieces: sender, current: Vec::with_capacity(PIECE), finished: false };
    (writer, PipeReader { pieces: receiver, current: Vec::new(), position: 0 })
}

impl PipeWriter {
    /// Everything was written.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.finished = true;
        Ok(())
    }

    /// The reader gets this error in place of the end.
    pub fn fail(mut self, error: io::Error) {
        self.finished = true;
        // A reader that is gone needs no reason.
        let _ = self.pieces.send(Err(error));
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        if !self.finished {
            let _ = self.pieces.try_send(Err(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE - self.current.len());
        self.current.extend_from_slice(&bytes[..count]);
        if self.current.len() == PIECE {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.current.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.current, Vec::with_capacity(PIECE));
        self.pieces.send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Read for PipeReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.position == self.current.len() {
            match self.pieces.recv() {
                Ok(piece) => (self.current, self.position) = (piece?, 0),
                Err(_) => return Ok(0),
            }
        }
        let count = out.len().min(self.current.len() - self.position);
        out[..count].copy_from_slice(&self.current[self.position..self.position + count]);
        self.position += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_or_an_error() {
        let (mut writer, mut reader) = pipe();
        let thread = std::thread::spawn(move || {
            writer.write_all(&vec![7; PIECE * 3 + 5]).unwrap();
            writer.finish().unwrap();
        });
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), PIECE * 3 + 5);
        thread.join().unwrap();

        let (mut writer, mut reader) = pipe();
        writer.write_all(b"begun").unwrap();
        drop(writer);
        assert!(reader.read_to_end(&mut bytes).is_err());

        let (mut writer, reader) = pipe();
        drop(reader);
        assert!(writer.write_all(&vec![0; PIECE * 2]).is_err());
    }
}
