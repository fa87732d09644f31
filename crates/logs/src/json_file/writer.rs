//! Output of a process → lines → `json.log`, rotated by size and age.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, fstat, ftruncate, openat, renameat, unlinkat};
use rustix::io::{Errno, pread, write};

use super::line::{append_line, max_line, parse_line};
use crate::{Error, FILE_NAME, MAX_PIECE, Result, Stream, files, forward, time};

/// Entries collect here up to this size before they are written; one entry more always fits.
const BATCH: usize = 32 * 1024;

/// How a log is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Size of one file in bytes; 0 for no limit.
    pub max_size: u64,
    /// Number of files, the newest included; 0 is 1.
    pub max_files: u32,
    /// A file is finished when its first entry is older than half of this, in seconds; 0 for no limit. Finished files
    /// are removed by [`crate::tidy::expire`].
    pub max_age: u64,
    /// Attributes of every entry: a JSON object, or nothing.
    pub attrs: String,
    /// Somebody sends the entries on and notes how far ([`crate::forward`]).
    pub forwarded: bool,
    /// With `forwarded`: rather than remove what was not sent on, [`Writer::is_full`] says to take no more.
    pub blocking: bool,
}

/// Writes one container's log. Single-threaded; allocates only when made and when a file is finished.
///
/// ```no_run
/// # fn main() -> Result<(), logs::Error> {
/// # let dir = std::fs::File::open("/tmp").unwrap().into();
/// let settings = logs::json_file::Settings { max_size: 10 << 20, max_files: 3, ..Default::default() };
/// let mut writer = logs::json_file::Writer::new(dir, settings)?;
/// writer.write(logs::Stream::Stdout, b"one line\nand the beginning of ")?;
/// writer.finish()?; // at the end of output: what has no newline yet is stored as it is
/// # Ok(())
/// # }
/// ```
///
/// When a write fails (full disk), the entries of that batch are left out and counted, the file ends after its last whole
/// entry, and the writer goes on; the error is returned for the record only.
#[derive(Debug)]
pub struct Writer {
    dir: OwnedFd,
    file: OwnedFd,
    size: u64,
    /// Of the newest file's first entry, in nanoseconds since the epoch; `None` while it is empty.
    first_ns: Option<u64>,
    settings: Settings,
    /// Numbers of the finished files.
    finished: VecDeque<u64>,
    next_number: u64,
    rotations: u64,
    /// Not to be removed by a rotation before they are sent on.
    full: bool,
    missing: Missing,
    lost: u64,
    batch: Vec<u8>,
    stdout: Pending,
    stderr: Pending,
}

/// What the log will say of itself with the next entry that fits.
#[derive(Debug, Default)]
struct Missing {
    /// Entries that could not be written.
    entries: u64,
    /// Bytes that were removed before they were sent on.
    unsent: u64,
    why: Option<Errno>,
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
    /// Opens the log in `dir`, appending to what is there.
    pub fn new(dir: OwnedFd, settings: Settings) -> Result<Writer> {
        let finished: VecDeque<u64> = files::numbers(&dir)?.into();
        let (file, size) = open_newest(&dir)?;
        let mut writer = Writer {
            dir,
            file,
            size,
            first_ns: None,
            next_number: finished.back().map_or(1, |last| last + 1),
            finished,
            rotations: 0,
            full: false,
            missing: Missing::default(),
            lost: 0,
            batch: Vec::with_capacity(BATCH + max_line(MAX_PIECE) + settings.attrs.len()),
            settings,
            stdout: Pending::new(),
            stderr: Pending::new(),
        };
        writer.first_ns = writer.read_first_time();
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
            let attrs = self.settings.attrs.as_bytes();
            let pending = match stream {
                Stream::Stdout => &mut self.stdout,
                Stream::Stderr => &mut self.stderr,
            };
            let room = MAX_PIECE - pending.text.len();
            let window = &bytes[..bytes.len().min(room)];
            if let Some(end) = memchr::memchr(b'\n', window) {
                let since = pending.since.take().unwrap_or(now);
                if pending.text.is_empty() {
                    append_line(&mut self.batch, stream, attrs, &since, &window[..end], true);
                } else {
                    pending.text.extend_from_slice(&window[..end]);
                    append_line(&mut self.batch, stream, attrs, &since, &pending.text, true);
                    pending.text.clear();
                }
                bytes = &bytes[end + 1..];
            } else {
                pending.text.extend_from_slice(window);
                let since = *pending.since.get_or_insert(now);
                bytes = &bytes[window.len()..];
                if pending.text.len() == MAX_PIECE {
                    append_line(&mut self.batch, stream, attrs, &since, &pending.text, false);
                    pending.text.clear();
                }
            }
            if self.batch.len() >= BATCH {
                outcome = self.flush(now_ns).and(outcome);
            }
        }
        self.flush(now_ns).and(outcome)
    }

    /// At the end of a stream: stores what has no newline yet, without one.
    pub fn finish(&mut self) -> Result<()> {
        let now_ns = time::now_ns();
        let now = time::format(now_ns);
        for (stream, pending) in [(Stream::Stdout, &mut self.stdout), (Stream::Stderr, &mut self.stderr)] {
            let since = pending.since.take().unwrap_or(now);
            if !pending.text.is_empty() {
                let attrs = self.settings.attrs.as_bytes();
                append_line(&mut self.batch, stream, attrs, &since, &pending.text, false);
                pending.text.clear();
            }
        }
        self.flush(now_ns)
    }

    /// Entries that were lost since the log was opened: the disk was full.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Files that were finished since the log was opened.
    pub fn rotations(&self) -> u64 {
        self.rotations
    }

    /// Whether output is to be left with the process until more was sent on. Asking looks.
    pub fn is_full(&mut self) -> bool {
        self.full = self.full && self.oldest_unsent();
        self.full
    }

    fn flush(&mut self, now_ns: u64) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let outcome = self.tell_missing(now_ns).and_then(|()| self.write_batch(now_ns));
        if let Err(left) = &outcome {
            let entries = memchr::memchr_iter(b'\n', &self.batch[left.from..]).count() as u64;
            self.lost += entries;
            self.missing.entries += entries;
            self.missing.why = Some(left.errno);
        }
        self.batch.clear();
        outcome.map_err(|left| Error::io(left.op, FILE_NAME, left.errno))
    }

    /// An entry that says what is missing at this place.
    fn tell_missing(&mut self, now_ns: u64) -> Result<(), Left> {
        if self.missing.entries == 0 && self.missing.unsent == 0 {
            return Ok(());
        }
        let text = match (self.missing.entries, self.missing.unsent) {
            (0, unsent) => format!("[hoist: {unsent} bytes of this log were dropped before they were sent on]"),
            (entries, _) => {
                let why = std::io::Error::from(self.missing.why.unwrap_or(Errno::NOSPC));
                format!("[hoist: {entries} entries of this log were lost: {why}]")
            }
        };
        let mut entry = Vec::with_capacity(256 + self.settings.attrs.len());
        let attrs = self.settings.attrs.as_bytes();
        append_line(&mut entry, Stream::Stderr, attrs, &time::format(now_ns), text.as_bytes(), true);
        self.append(&entry, 0, now_ns)?;
        self.missing = Missing::default();
        Ok(())
    }

    fn write_batch(&mut self, now_ns: u64) -> Result<(), Left> {
        let mut from = 0;
        while from < self.batch.len() {
            let to = from + self.fitting(from, now_ns);
            if to == from {
                self.rotate().map_err(|(op, errno)| Left { op, errno, from })?;
                continue;
            }
            let batch = std::mem::take(&mut self.batch);
            let outcome = self.append(&batch[from..to], from, now_ns);
            self.batch = batch;
            outcome?;
            from = to;
        }
        Ok(())
    }

    /// All or nothing.
    fn append(&mut self, bytes: &[u8], from: usize, now_ns: u64) -> Result<(), Left> {
        let good = self.size;
        let mut written = 0;
        while written < bytes.len() {
            let errno = match write(&self.file, &bytes[written..]) {
                Ok(0) => Errno::NOSPC,
                Ok(count) => {
                    written += count;
                    continue;
                }
                Err(Errno::INTR) => continue,
                Err(errno) => errno,
            };
            let _ = ftruncate(&self.file, good);
            return Err(Left { op: "write", errno, from });
        }
        self.size += bytes.len() as u64;
        self.first_ns.get_or_insert(now_ns);
        Ok(())
    }

    /// How many bytes of the batch go into the current file: whole entries within the limit, and at least one entry
    /// into an empty file.
    fn fitting(&mut self, from: usize, now_ns: u64) -> usize {
        let limit = self.settings.max_size;
        let length = self.batch.len() - from;
        let half = self.settings.max_age.saturating_mul(500_000_000);
        let old = half > 0 && self.first_ns.is_some_and(|first| now_ns.saturating_sub(first) > half);
        if !old && (limit == 0 || self.size + length as u64 <= limit) {
            return length;
        }
        // Whoever asked for it keeps everything, and takes no more until there is room.
        if self.settings.blocking && !old {
            self.full = self.finished.len() + 1 >= self.settings.max_files.max(1) as usize && self.oldest_unsent();
            if self.full {
                return length;
            }
        }
        if old && self.size > 0 {
            return 0;
        }
        let rest = &self.batch[from..];
        let room = limit.saturating_sub(self.size).min(rest.len() as u64) as usize;
        let whole = memchr::memrchr(b'\n', &rest[..room]).map_or(0, |end| end + 1);
        if whole > 0 || self.size > 0 {
            return whole;
        }
        memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1)
    }

    /// `json.log` → `json.log.<next number>`, a new `json.log`, and the oldest go. Readers hold on to their file.
    fn rotate(&mut self) -> Result<(), (&'static str, Errno)> {
        let number = self.next_number;
        let name = files::plain(number);
        // When there is no room for another file, the present one goes on.
        match renameat(&self.dir, FILE_NAME, &self.dir, &name) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(("rename", errno)),
        }
        match open_newest_raw(&self.dir) {
            Ok((file, size)) => (self.file, self.size) = (file, size),
            Err(errno) => {
                let _ = renameat(&self.dir, &name, &self.dir, FILE_NAME);
                return Err(("open", errno));
            }
        }
        self.first_ns = None;
        self.rotations += 1;
        self.next_number += 1;
        self.finished.push_back(number);
        while self.finished.len() as u64 + 1 > u64::from(self.settings.max_files.max(1)) {
            let Some(oldest) = self.finished.front().copied() else { break };
            if self.settings.forwarded && self.unsent(oldest) {
                if self.settings.blocking {
                    break;
                }
                if let Ok(Some(stat)) = files::stat(&self.dir, &files::plain(oldest)) {
                    self.missing.unsent += stat.st_size.max(0) as u64;
                }
            }
            for name in [files::plain(oldest), files::compressed(oldest)] {
                let _ = unlinkat(&self.dir, &name, AtFlags::empty());
            }
            self.finished.pop_front();
        }
        Ok(())
    }

    fn oldest_unsent(&self) -> bool {
        self.settings.forwarded && self.finished.front().is_none_or(|oldest| self.unsent(*oldest))
    }

    /// Whether something of this finished file was not sent on.
    fn unsent(&self, number: u64) -> bool {
        forward::read_position(&self.dir).is_none_or(|position| position.number <= number)
    }

    fn read_first_time(&self) -> Option<u64> {
        if self.size == 0 {
            return None;
        }
        let mut line = vec![0; (max_line(MAX_PIECE) + self.settings.attrs.len()).min(self.size as usize)];
        let count = pread(&self.file, &mut line, 0).ok()?;
        let end = memchr::memchr(b'\n', &line[..count])?;
        let first = parse_line(&line[..end], &mut Vec::new()).and_then(|parsed| time::parse(parsed.time));
        first.or(Some(time::now_ns()))
    }

    /// A writer that was killed may have left half an entry: what follows starts on a line of its own.
    fn end_torn_line(&mut self) -> Result<()> {
        if self.size == 0 {
            return Ok(());
        }
        let mut last = [0u8];
        let count = pread(&self.file, &mut last, self.size - 1).map_err(|errno| Error::io("read", FILE_NAME, errno))?;
        if count == 1 && last[0] != b'\n' {
            // A full disk has no room for it: then the next entry is joined to the torn one and lost with it.
            self.size += write(&self.file, b"\n").unwrap_or(0) as u64;
        }
        Ok(())
    }
}

/// The batch could not be written from here on.
struct Left {
    op: &'static str,
    errno: Errno,
    from: usize,
}

fn open_newest_raw(dir: &OwnedFd) -> Result<(OwnedFd, u64), Errno> {
    let flags = OFlags::CREATE | OFlags::APPEND | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = openat(dir, FILE_NAME, flags, Mode::from_raw_mode(0o640))?;
    let size = fstat(&file)?.st_size.max(0) as u64;
    Ok((file, size))
}

fn open_newest(dir: &OwnedFd) -> Result<(OwnedFd, u64)> {
    open_newest_raw(dir).map_err(|errno| Error::io("open", FILE_NAME, errno))
}
