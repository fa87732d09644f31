//! Entries of a log in order, over its rotated files, and on as they come.
//!
//! ```text
//!  oldest ─▶ json.log.2 ─▶ json.log.1 ─▶ json.log ─▶ end: `next` gives None, `wait` sleeps until more may be there
//! ```
//! The open file is the position: a rotation renames it, so it is read to its end, and the file that now has the number
//! before it is next. A file that was rotated out of existence is still read to its end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Mode, OFlags, Stat, fstat, inotify, openat, statat};
use rustix::io::{Errno, pread};

use crate::json_file::{numbered, parse_line};
use crate::{Error, FILE_NAME, MAX_PIECE, Result, Stream, time};

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;

/// Lines longer than this were not written by us and are skipped.
const MAX_LINE: usize = MAX_PIECE * 6 + 1024;

/// Rotated files looked for; more are not kept.
const MAX_FILES: u32 = 1024;

/// Which entries a [`Reader`] gives.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOptions {
    /// Only entries at or after this time, in nanoseconds since the epoch.
    pub since_ns: Option<u64>,
    /// Only entries before or at this time; the first later one ends the reading.
    pub until_ns: Option<u64>,
    /// Only the last so many of what is there when the reader opens.
    pub tail: Option<u64>,
}

/// One entry: a line, or a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub stream: Stream,
    /// Nanoseconds since the epoch.
    pub time_ns: u64,
    /// The output, with its newline where the line has ended.
    pub bytes: &'a [u8],
}

/// Reads a log. See the module's drawing.
#[derive(Debug)]
pub struct Reader {
    dir: OwnedFd,
    watch: Option<OwnedFd>,
    file: Option<OpenFile>,
    options: ReadOptions,
    buffer: Vec<u8>,
    from: usize,
    to: usize,
    /// Inside a line that is too long, up to its end.
    skipping: bool,
    text: Vec<u8>,
    ended: bool,
}

#[derive(Debug)]
struct OpenFile {
    fd: OwnedFd,
    inode: u64,
    offset: u64,
}

impl Reader {
    /// Opens the log in `dir` (a container's directory). A log that does not exist is an empty one.
    pub fn open(dir: OwnedFd, options: ReadOptions) -> Result<Reader> {
        let file = match options.tail {
            Some(lines) => find_tail(&dir, lines)?,
            None => open_oldest(&dir)?,
        };
        Ok(Reader {
            dir,
            watch: None,
            file,
            options,
            buffer: vec![0; CHUNK],
            from: 0,
            to: 0,
            skipping: false,
            text: Vec::new(),
            ended: false,
        })
    }

    /// The next entry; `None` at the end of what is there now. More may come later, unless [`Reader::ended`].
    #[allow(clippy::should_implement_trait, reason = "lends from the reader, which Iterator cannot")]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>> {
        while !self.ended {
            let Some(end) = self.buffer[self.from..self.to].iter().position(|byte| *byte == b'\n') else {
                if self.fill()? {
                    continue;
                }
                return Ok(None);
            };
            let line = self.from..self.from + end;
            self.from = line.end + 1;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            let Some((stream, time_text)) = parse_line(&self.buffer[line], &mut self.text) else { continue };
            let Some(time_ns) = time::parse(time_text) else { continue };
            if self.options.since_ns.is_some_and(|since| time_ns < since) {
                continue;
            }
            if self.options.until_ns.is_some_and(|until| time_ns > until) {
                self.ended = true;
                break;
            }
            return Ok(Some(Entry { stream, time_ns, bytes: &self.text }));
        }
        Ok(None)
    }

    /// Whether no later entry can be wanted (`until` was passed).
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Waits until the log may have more, `wake` is readable or hung up, or the time is over (`None`: no limit). Call it
    /// after [`Reader::next`] gave `None`; it may return early.
    pub fn wait(&mut self, wake: &[BorrowedFd<'_>], timeout: Option<Duration>) -> Result<()> {
        let watch = match self.watch.take() {
            Some(watch) => watch,
            None => {
                // What came before the watch existed is not seen by it: look again first.
                self.watch = Some(watch_dir(&self.dir)?);
                return Ok(());
            }
        };
        let mut fds = vec![PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN)];
        fds.extend(wake.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)));
        let timeout = timeout.map(|limit| Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(limit.subsec_nanos()),
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::io("wait for", FILE_NAME, errno)),
        }
        // Which events there were does not matter.
        let mut events = [0u8; 4096];
        while rustix::io::read(&watch, &mut events).is_ok_and(|count| count == events.len()) {}
        self.watch = Some(watch);
        Ok(())
    }

    /// Reads more behind what is left of the buffer; false at the end of the newest file.
    fn fill(&mut self) -> Result<bool> {
        if self.from > 0 {
            self.buffer.copy_within(self.from..self.to, 0);
            self.to -= self.from;
            self.from = 0;
        }
        if self.to >= MAX_LINE {
            self.skipping = true;
            self.to = 0;
        }
        if self.buffer.len() - self.to < CHUNK / 2 {
            self.buffer.resize(self.to + CHUNK, 0);
        }
        loop {
            let Some(file) = &mut self.file else {
                self.file = open_oldest(&self.dir)?;
                if self.file.is_none() {
                    return Ok(false);
                }
                continue;
            };
            let count = read_some(file, &mut self.buffer[self.to..])?;
            if count > 0 {
                self.to += count;
                return Ok(true);
            }
            match following(&self.dir, file.inode)? {
                Following::Newest => return Ok(false),
                Following::Later(next) => {
                    // The last bytes may have come between the read and the rotation.
                    let count = read_some(file, &mut self.buffer[self.to..])?;
                    if count > 0 {
                        self.to += count;
                        return Ok(true);
                    }
                    // Half an entry at the end of a finished file stays half.
                    self.to = 0;
                    self.skipping = false;
                    self.file = Some(next);
                }
            }
        }
    }
}

fn read_some(file: &mut OpenFile, buffer: &mut [u8]) -> Result<usize> {
    loop {
        match pread(&file.fd, &mut *buffer, file.offset) {
            Ok(count) => {
                file.offset += count as u64;
                return Ok(count);
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::io("read", FILE_NAME, errno)),
        }
    }
}

enum Following {
    /// The file is `json.log`, or nothing newer exists yet.
    Newest,
    Later(OpenFile),
}

/// The file after the one with this inode number.
fn following(dir: &OwnedFd, inode: u64) -> Result<Following> {
    // The names move while we look; a look is good when our file still has its number afterwards.
    for _ in 0..16 {
        let Some(number) = number_of(dir, inode)? else {
            return Ok(open_oldest(dir)?.map_or(Following::Newest, Following::Later));
        };
        if number == 0 {
            return Ok(Following::Newest);
        }
        let Some(next) = open_numbered(dir, number - 1)? else {
            return Ok(Following::Newest); // between the renames and the new file
        };
        if stat_numbered(dir, number)?.is_some_and(|stat| stat.st_ino == inode) && next.inode != inode {
            return Ok(Following::Later(next));
        }
    }
    Ok(Following::Newest)
}

fn number_of(dir: &OwnedFd, inode: u64) -> Result<Option<u32>> {
    let mut gap = 0;
    for number in 0..MAX_FILES {
        match stat_numbered(dir, number)? {
            Some(stat) if stat.st_ino == inode => return Ok(Some(number)),
            Some(_) => gap = 0,
            None => gap += 1,
        }
        // One name is missing in the middle of a rotation.
        if gap > 2 {
            break;
        }
    }
    Ok(None)
}

fn open_oldest(dir: &OwnedFd) -> Result<Option<OpenFile>> {
    let mut gap = 0;
    let mut oldest = None;
    for number in 0..MAX_FILES {
        match open_numbered(dir, number)? {
            Some(file) => (oldest, gap) = (Some(file), 0),
            None => gap += 1,
        }
        if gap > 2 {
            break;
        }
    }
    Ok(oldest)
}

fn open_numbered(dir: &OwnedFd, number: u32) -> Result<Option<OpenFile>> {
    let name = numbered(number);
    match openat(dir, &name, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK, Mode::empty()) {
        Ok(fd) => {
            let inode = fstat(&fd).map_err(|errno| Error::io("stat", &name, errno))?.st_ino;
            Ok(Some(OpenFile { fd, inode, offset: 0 }))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::io("open", &name, errno)),
    }
}

fn stat_numbered(dir: &OwnedFd, number: u32) -> Result<Option<Stat>> {
    let name = numbered(number);
    match statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::io("stat", &name, errno)),
    }
}

/// Where the last `lines` lines begin, counted backwards over the files.
fn find_tail(dir: &OwnedFd, lines: u64) -> Result<Option<OpenFile>> {
    let mut wanted = lines;
    let mut result: Option<OpenFile> = None;
    for number in 0..MAX_FILES {
        let Some(mut file) = open_numbered(dir, number)? else { break };
        let size = fstat(&file.fd).map_err(|errno| Error::io("stat", FILE_NAME, errno))?.st_size.max(0) as u64;
        if wanted == 0 {
            file.offset = size;
            return Ok(Some(result.unwrap_or(file)));
        }
        if let Some(offset) = count_back(&file, size, &mut wanted)? {
            file.offset = offset;
            return Ok(Some(file));
        }
        result = Some(file);
    }
    Ok(result)
}

/// The offset after the newline before the last `wanted` lines, or `None` after lowering `wanted` by the file's lines.
fn count_back(file: &OpenFile, size: u64, wanted: &mut u64) -> Result<Option<u64>> {
    let mut chunk = vec![0; CHUNK];
    let mut end = size;
    let mut seen = 0u64;
    while end > 0 {
        let start = end.saturating_sub(CHUNK as u64);
        let part = &mut chunk[..(end - start) as usize];
        let mut done = 0;
        while done < part.len() {
            match pread(&file.fd, &mut part[done..], start + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::io("read", FILE_NAME, errno)),
            }
        }
        for at in (0..done).rev().filter(|at| part[*at] == b'\n') {
            if seen == *wanted {
                return Ok(Some(start + at as u64 + 1));
            }
            seen += 1;
        }
        end = start;
    }
    *wanted -= seen;
    Ok(if *wanted == 0 { Some(0) } else { None })
}

fn watch_dir(dir: &OwnedFd) -> Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    let io = |errno| Error::io("watch", FILE_NAME, errno);
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(io)?;
    let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
    let flags = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
    inotify::add_watch(&watch, path, flags).map_err(io)?;
    Ok(watch)
}
