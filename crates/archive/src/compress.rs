//! Compression that gives the same bytes for the same input, whatever the machine and however many cores it has.
//!
//! ```text
//!  source ─┬─ block of 1 MiB ─▶ worker ─┐
//!          ├─ block          ─▶ worker ─┼─ in order ─▶ out
//!          └─ block          ─▶ worker ─┘
//! ```
//! The input is cut into blocks of a fixed size and each is compressed for itself, so that the result does not depend on
//! who worked on what. gzip: one member whose deflate blocks end on byte boundaries ([`crate::deflate`]), no name, no time.
//! zstd: a frame for each block (RFC 8878, 3.1). Every decompressor reads both as one stream.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::deflate::Deflate;

/// Bytes of input that are compressed for themselves.
const BLOCK: usize = 1 << 20;

/// What comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 1952.
    Gzip,
    /// RFC 8878. Level 1 (fast) to 19.
    Zstd { level: i32 },
}

/// Magic, deflate, no flags, no time, no hint, unknown system: nothing of the machine is in it.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// A block and what became of it.
type Done = io::Result<(Vec<u8>, Vec<u8>)>;

struct Job {
    input: Vec<u8>,
    last: bool,
    done: SyncSender<Done>,
}

/// Compresses all of `source` with up to `workers` threads. Gives the number of bytes read.
///
/// # Errors
/// Those of `source` and `out`, and of starting a thread.
pub fn compress(source: impl Read, out: impl Write, format: Format, workers: usize) -> io::Result<u64> {
    let workers = workers.clamp(1, 64);
    let (sender, receiver) = sync_channel::<Job>(workers);
    let queue = Arc::new(Mutex::new(receiver));
    thread::scope(|scope| {
        for _ in 0..workers {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name("compress".to_owned()).spawn_scoped(scope, move || work(format, &queue))?;
        }
        // The workers have their own; when they are all gone, a send fails instead of waiting.
        drop(queue);
        drive(source, out, format, workers, sender)
    })
}

/// Cuts, hands out and puts together; the workers end when `sender` is dropped here.
fn drive(
    mut source: impl Read,
    mut out: impl Write,
    format: Format,
    workers: usize,
    sender: SyncSender<Job>,
) -> io::Result<u64> {
    let gone = || io::Error::other("a compressing thread has ended");
    let mut pending: VecDeque<Receiver<Done>> = VecDeque::new();
    let mut spare: Vec<Vec<u8>> = Vec::new();
    let mut crc = flate2::Crc::new();
    let mut total = 0u64;
    if matches!(format, Format::Gzip) {
        out.write_all(&GZIP_HEADER)?;
    }
    let mut block = fill(&mut source, Vec::new())?;
    loop {
        // One block ahead, so that the last one is known as such.
        let next = match block.len() {
            BLOCK => fill(&mut source, spare.pop().unwrap_or_default())?,
            _ => Vec::new(),
        };
        let last = next.is_empty();
        crc.update(&block);
        total += block.len() as u64;
        let (done, result) = sync_channel(1);
        sender.send(Job { input: block, last, done }).map_err(|_| gone())?;
        pending.push_back(result);
        while pending.len() > if last { 0 } else { workers * 2 } {
            let Some(first) = pending.pop_front() else { break };
            let (input, output) = first.recv().map_err(|_| gone())??;
            out.write_all(&output)?;
            spare.push(input);
        }
        if last {
            break;
        }
        block = next;
    }
    if matches!(format, Format::Gzip) {
        out.write_all(&crc.sum().to_le_bytes())?;
        // Modulo 2^32, says the format.
        out.write_all(&(total as u32).to_le_bytes())?;
    }
    Ok(total)
}

fn fill(source: &mut impl Read, mut block: Vec<u8>) -> io::Result<Vec<u8>> {
    block.resize(BLOCK, 0);
    let mut filled = 0;
    while filled < BLOCK {
        match source.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    block.truncate(filled);
    Ok(block)
}

fn work(format: Format, queue: &Mutex<Receiver<Job>>) {
    let mut deflate = (format == Format::Gzip).then(Deflate::new);
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { input, last, done }) = job else { return };
        let output = match (&mut deflate, format) {
            (Some(deflate), _) => Ok(deflate.part(&input, last)),
            (None, Format::Zstd { level }) => zstd::bulk::compress(&input, level.clamp(1, 19)),
            (None, Format::Gzip) => Err(io::Error::other("no compressor")),
        };
        // Whoever does not listen any more has failed already.
        let _ = done.send(output.map(|output| (input, output)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 7u32;
        (0..length)
            .map(|n| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // Half of it compresses.
                if n % 128 < 64 { b'a' } else { (state >> 24) as u8 }
            })
            .collect()
    }

    #[test]
    fn comes_back_and_does_not_depend_on_the_number_of_workers() {
        for length in [0, 1, 100_000, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 12_345] {
            let data = noise(length);
            for format in [Format::Gzip, Format::Zstd { level: 3 }] {
                let run = |workers| {
                    let mut out = Vec::new();
                    assert_eq!(compress(data.as_slice(), &mut out, format, workers).unwrap(), length as u64);
                    out
                };
                let one = run(1);
                assert!(one == run(3), "{format:?} {length}");
                let mut back = Vec::new();
                crate::decompress(one.as_slice()).unwrap().read_to_end(&mut back).unwrap();
                assert!(back == data, "{format:?} {length}");
                assert!(length < 1000 || one.len() < length * 3 / 4, "{format:?} {length}: {}", one.len());
            }
        }
    }

    /// Registries name a layer by its compressed bytes: these must not change by accident.
    #[test]
    fn the_bytes_are_known() {
        let mut out = Vec::new();
        compress(&b"hello hello hello hello"[..], &mut out, Format::Gzip, 2).unwrap();
        assert_eq!(out[..10], GZIP_HEADER);
        let mut again = Vec::new();
        compress(&b"hello hello hello hello"[..], &mut again, Format::Gzip, 5).unwrap();
        assert_eq!(out, again);
    }

    #[test]
    fn failures_are_passed_on() {
        struct Broken(usize);
        impl Read for Broken {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                if self.0 == 0 {
                    return Err(io::Error::other("broken"));
                }
                self.0 -= 1;
                Ok(buffer.len())
            }
        }
        for reads in [0, 1, 5] {
            let error = compress(Broken(reads), io::sink(), Format::Gzip, 2).unwrap_err();
            assert_eq!(error.to_string(), "broken");
        }
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let error = compress(io::repeat(1), Full, Format::Zstd { level: 3 }, 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
