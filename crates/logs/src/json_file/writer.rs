//! Output of a process → lines → `json.log`, rotated by size.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, fstat, ftruncate, openat, renameat, unlinkat};
use rustix::io::{Errno, pread, write};

use super::line::{append_line, max_line};
use crate::{Error, FILE_NAME, MAX_PIECE, Result, Stream, time};

/// Entries collect here up to this size before they are written; one entry more always fits.
const BATCH: usize = 32 * 1024;

/// Writes one container's log. Single-threaded; allocates only when made.
///
/// ```no_run
/// # fn main() -> Result<(), logs::Error> {
/// # let dir = std::fs::File::open("/tmp").unwrap().into();
/// let mut writer = logs::json_file::Writer::new(dir, 10 * 1024 * 1024, 3)?;
/// writer.write(logs::Stream::Stdout, b"one line\nand the beginning of ")?;
/// writer.finish()?; // at the end of output: what has no newline yet is stored as it is
/// # Ok(())
/// # }
/// ```
///
/// When a write fails (full disk), the entries of that batch are left out, the file ends after its last whole entry, and
/// the writer goes on; the error is returned for the record only.
#[derive(Debug)]
pub struct Writer {
    dir: OwnedFd,
    file: OwnedFd,
    size: u64,
    max_size: u64,
    max_files: u32,
    batch: Vec<u8>,
    stdout: Pending,
    stderr: Pending,
}

/// The beginning of a line whose end has not come yet.
#[derive(Debug)]
struct Pending {
    text: Vec<u8>,
    /// When the line began; all its pieces carry it.
    since: Option<[u8; time::FORMATTED_LEN]>,
}

impl Pending {
    fn new() -> Pending {
        Pending { text: Vec::with_capacity(MAX_PIECE), since: None }
    }
}

impl Writer {
    /// Opens the log in `dir`, appending to what is there. `max_size` in bytes, 0 for no limit; `max_files` counts the
    /// newest file, 0 is 1.
    pub fn new(dir: OwnedFd, max_size: u64, max_files: u32) -> Result<Writer> {
        let (file, size) = open_newest(&dir)?;
        let mut writer = Writer {
            dir,
            file,
            size,
            max_size,
            max_files: max_files.max(1),
            batch: Vec::with_capacity(BATCH + max_line(MAX_PIECE)),
            stdout: Pending::new(),
            stderr: Pending::new(),
        };
        writer.end_torn_line()?;
        Ok(writer)
    }

    /// Stores output. Whole lines are in the file when this returns; the rest waits for its end.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) -> Result<()> {
        self.write_at(stream, bytes, time::now_ns())
    }

    /// [`Writer::write`] with a time of the caller's, in nanoseconds since the epoch.
    pub fn write_at(&mut self, stream: Stream, mut bytes: &[u8], now_ns: u64) -> Result<()> {
        let now = time::format(now_ns);
        let mut outcome = Ok(());
        while !bytes.is_empty() {
            let pending = match stream {
                Stream::Stdout => &mut self.stdout,
                Stream::Stderr => &mut self.stderr,
            };
            let room = MAX_PIECE - pending.text.len();
            let window = &bytes[..bytes.len().min(room)];
            if let Some(end) = window.iter().position(|byte| *byte == b'\n') {
                let since = pending.since.take().unwrap_or(now);
                if pending.text.is_empty() {
                    append_line(&mut self.batch, stream, &since, &window[..end], true);
                } else {
                    pending.text.extend_from_slice(&window[..end]);
                    append_line(&mut self.batch, stream, &since, &pending.text, true);
                    pending.text.clear();
                }
                bytes = &bytes[end + 1..];
            } else {
                pending.text.extend_from_slice(window);
                let since = *pending.since.get_or_insert(now);
                bytes = &bytes[window.len()..];
                if pending.text.len() == MAX_PIECE {
                    append_line(&mut self.batch, stream, &since, &pending.text, false);
                    pending.text.clear();
                }
            }
            if self.batch.len() >= BATCH {
                outcome = self.flush().and(outcome);
            }
        }
        self.flush().and(outcome)
    }

    /// At the end of a stream: stores what has no newline yet, without one.
    pub fn finish(&mut self) -> Result<()> {
        let now = time::format(time::now_ns());
        for (stream, pending) in [(Stream::Stdout, &mut self.stdout), (Stream::Stderr, &mut self.stderr)] {
            let since = pending.since.take().unwrap_or(now);
            if !pending.text.is_empty() {
                append_line(&mut self.batch, stream, &since, &pending.text, false);
                pending.text.clear();
            }
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let outcome = self.write_batch();
        self.batch.clear();
        outcome
    }

    fn write_batch(&mut self) -> Result<()> {
        let mut from = 0;
        while from < self.batch.len() {
            let to = from + self.fitting(from);
            if to == from {
                self.rotate()?;
                continue;
            }
            let good = self.size;
            let mut written = from;
            while written < to {
                match write(&self.file, &self.batch[written..to]) {
                    Ok(0) => return self.undo(good, Errno::NOSPC),
                    Ok(count) => written += count,
                    Err(Errno::INTR) => {}
                    Err(errno) => return self.undo(good, errno),
                }
            }
            self.size += (to - from) as u64;
            from = to;
        }
        Ok(())
    }

    /// How many bytes of the batch go into the current file: whole entries within the limit, and at least one entry
    /// into an empty file.
    fn fitting(&self, from: usize) -> usize {
        let rest = &self.batch[from..];
        if self.max_size == 0 || self.size + rest.len() as u64 <= self.max_size {
            return rest.len();
        }
        let room = self.max_size.saturating_sub(self.size).min(rest.len() as u64) as usize;
        let whole = rest[..room].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole > 0 || self.size > 0 {
            return whole;
        }
        rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1)
    }

    /// Cuts off what part of a batch got into the file.
    fn undo(&mut self, good: u64, errno: Errno) -> Result<()> {
        let _ = ftruncate(&self.file, good);
        Err(Error::io("write", FILE_NAME, errno))
    }

    /// `json.log.1` → `json.log.2` …, `json.log` → `json.log.1`, and a new `json.log`. Readers hold on to their file.
    fn rotate(&mut self) -> Result<()> {
        if self.max_files == 1 {
            ignore_missing(unlinkat(&self.dir, FILE_NAME, AtFlags::empty()), "remove", FILE_NAME)?;
        }
        for number in (1..self.max_files).rev() {
            let (from, to) = (numbered(number - 1), numbered(number));
            ignore_missing(renameat(&self.dir, &from, &self.dir, &to), "rename", &from)?;
        }
        (self.file, self.size) = open_newest(&self.dir)?;
        Ok(())
    }

    /// A writer that was killed may have left half an entry: what follows starts on a line of its own.
    fn end_torn_line(&mut self) -> Result<()> {
        if self.size == 0 {
            return Ok(());
        }
        let mut last = [0u8];
        let count = pread(&self.file, &mut last, self.size - 1).map_err(|errno| Error::io("read", FILE_NAME, errno))?;
        if count == 1 && last[0] != b'\n' {
            self.size += write(&self.file, b"\n").map_err(|errno| Error::io("write", FILE_NAME, errno))? as u64;
        }
        Ok(())
    }
}

/// `json.log` for 0, else `json.log.<number>`.
pub(crate) fn numbered(number: u32) -> String {
    if number == 0 { FILE_NAME.to_owned() } else { format!("{FILE_NAME}.{number}") }
}

fn open_newest(dir: &OwnedFd) -> Result<(OwnedFd, u64)> {
    let flags = OFlags::CREATE | OFlags::APPEND | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = openat(dir, FILE_NAME, flags, Mode::from_raw_mode(0o640))
        .map_err(|errno| Error::io("open", FILE_NAME, errno))?;
    let size = fstat(&file).map_err(|errno| Error::io("stat", FILE_NAME, errno))?.st_size.max(0) as u64;
    Ok((file, size))
}

fn ignore_missing(outcome: rustix::io::Result<()>, op: &'static str, file: &str) -> Result<()> {
    match outcome {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::io(op, file, errno)),
    }
}
