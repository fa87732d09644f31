//! Entries of a log in order, over its rotated files, and on as they come.
//!
//! ```text
//!  oldest ─▶ json.log.6.gz ─▶ json.log.7 ─▶ json.log ─▶ end: `next` gives None, `wait` sleeps until more may be there
//! ```
//! The open file is the position: a rotation renames it, so it is read to its end, and the one with the next number
//! follows. A file that was rotated out of existence, or compressed, is still read to its end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::io::Errno;

use crate::files::{self, Open};
use crate::json_file::parse_line;
use crate::{Error, FILE_NAME, MAX_PIECE, Result, Stream, time};

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;

/// Lines longer than this were not written by us and are skipped. Attributes have a bound of their own.
const MAX_LINE: usize = MAX_PIECE * 6 + 64 * 1024;

/// How often to look where the kernel gives no watch.
const LOOK: Duration = Duration::from_millis(100);

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
    /// Attributes as a JSON object, or nothing.
    pub attrs: &'a [u8],
}

/// A place in a log: the beginning of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The file's number, or for the newest the one that it will have.
    pub number: u64,
    /// Bytes into what the writer wrote to it.
    pub offset: u64,
    /// Tells the newest file from a later one.
    pub inode: u64,
}

/// Reads a log. See the module's drawing.
#[derive(Debug)]
pub struct Reader {
    dir: OwnedFd,
    watch: Watch,
    file: Option<Open>,
    /// Number of the last file that was read from.
    last: u64,
    options: ReadOptions,
    buffer: Vec<u8>,
    from: usize,
    to: usize,
    /// Inside a line that is too long, up to its end.
    skipping: bool,
    text: Vec<u8>,
    ended: bool,
}

/// How changes are noticed.
#[derive(Debug)]
enum Watch {
    None,
    Inotify(OwnedFd),
    /// There are no watches left: look again and again.
    Look,
}

impl Reader {
    /// Opens the log in `dir` (a container's directory). A log that does not exist is an empty one.
    pub fn open(dir: OwnedFd, options: ReadOptions) -> Result<Reader> {
        let file = match options.tail {
            Some(lines) => find_tail(&dir, lines)?,
            None => files::open_oldest(&dir)?,
        };
        Ok(Reader::new(dir, file, 0, options))
    }

    /// Goes on at a place where another reader was. What was removed since is left out.
    pub fn open_at(dir: OwnedFd, position: Position) -> Result<Reader> {
        let same = |file: &Open| file.inode == position.inode;
        let mut file = match files::open_newest(&dir)?.filter(same) {
            Some(newest) => Some(newest),
            None => files::open_finished(&dir, position.number)?,
        };
        match &mut file {
            Some(file) => file.seek(position.offset)?,
            None => file = files::open_after(&dir, position.number)?,
        }
        Ok(Reader::new(dir, file, position.number, ReadOptions::default()))
    }

    fn new(dir: OwnedFd, file: Option<Open>, last: u64, options: ReadOptions) -> Reader {
        Reader {
            dir,
            watch: Watch::None,
            file,
            last,
            options,
            buffer: vec![0; CHUNK],
            from: 0,
            to: 0,
            skipping: false,
            text: Vec::new(),
            ended: false,
        }
    }

    /// Behind the last entry that [`Reader::next`] gave. `None` before the first file is there.
    pub fn position(&self) -> Option<Position> {
        self.file.as_ref().map(|file| Position {
            number: file.number,
            offset: file.offset - (self.to - self.from) as u64,
            inode: file.inode,
        })
    }

    /// The next entry; `None` at the end of what is there now. More may come later, unless [`Reader::ended`].
    #[allow(clippy::should_implement_trait, reason = "lends from the reader, which Iterator cannot")]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>> {
        while !self.ended {
            let Some(end) = memchr::memchr(b'\n', &self.buffer[self.from..self.to]) else {
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
            let begin = line.start;
            let Some(parsed) = parse_line(&self.buffer[line], &mut self.text) else { continue };
            let Some(time_ns) = time::parse(parsed.time) else { continue };
            if self.options.since_ns.is_some_and(|since| time_ns < since) {
                continue;
            }
            if self.options.until_ns.is_some_and(|until| time_ns > until) {
                self.ended = true;
                break;
            }
            let stream = parsed.stream;
            let attrs = begin + parsed.attrs.start..begin + parsed.attrs.end;
            return Ok(Some(Entry { stream, time_ns, bytes: &self.text, attrs: &self.buffer[attrs] }));
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
        if let Watch::None = self.watch {
            // What came before the watch existed is not seen by it: look again first.
            self.watch = watch_dir(&self.dir)?;
            return Ok(());
        }
        let mut fds: Vec<PollFd<'_>> = wake.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        let mut limit = timeout;
        match &self.watch {
            Watch::Inotify(watch) => fds.push(PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN)),
            _ => limit = Some(timeout.map_or(LOOK, |limit| limit.min(LOOK))),
        }
        let limit = limit.map(|limit| Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(limit.subsec_nanos()),
        });
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::io("wait for", FILE_NAME, errno)),
        }
        if let Watch::Inotify(watch) = &self.watch {
            // Which events there were does not matter.
            let mut events = [0u8; 4096];
            while rustix::io::read(watch, &mut events).is_ok_and(|count| count == events.len()) {}
        }
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
                self.file = files::open_after(&self.dir, self.last)?;
                if self.file.is_none() {
                    return Ok(false);
                }
                continue;
            };
            self.last = file.number;
            let count = file.read(&mut self.buffer[self.to..])?;
            if count > 0 {
                self.to += count;
                return Ok(true);
            }
            if files::is_newest(&self.dir, file.inode)? {
                return Ok(false);
            }
            let Some(next) = files::open_after(&self.dir, file.number)? else { return Ok(false) };
            // The last bytes may have come between the read and the rotation.
            let count = file.read(&mut self.buffer[self.to..])?;
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

/// Where the last `lines` lines begin, counted backwards over the files.
fn find_tail(dir: &OwnedFd, lines: u64) -> Result<Option<Open>> {
    let mut wanted = lines;
    let Some(mut newest) = files::open_newest(dir)? else {
        return if lines == 0 { Ok(None) } else { files::open_oldest(dir) };
    };
    if let Some(offset) = newest.count_back(&mut wanted)? {
        newest.seek(offset)?;
        return Ok(Some(newest));
    }
    let mut first = newest;
    let older = files::numbers(dir)?.into_iter().rev().filter(|number| *number < first.number);
    for number in older.collect::<Vec<_>>() {
        let Some(mut file) = files::open_finished(dir, number)? else { continue };
        if let Some(offset) = file.count_back(&mut wanted)? {
            let Some(mut file) = files::open_finished(dir, number)? else { continue };
            file.seek(offset)?;
            return Ok(Some(file));
        }
        if let Some(file) = files::open_finished(dir, number)? {
            first = file;
        }
    }
    first.seek(0)?;
    Ok(Some(first))
}

fn watch_dir(dir: &OwnedFd) -> Result<Watch> {
    use std::os::fd::AsRawFd;
    let io = |errno| Error::io("watch", FILE_NAME, errno);
    let watch = match inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK) {
        Ok(watch) => watch,
        // The kernel allows each user 128 of them unless told otherwise.
        Err(Errno::MFILE) => return Ok(Watch::Look),
        Err(errno) => return Err(io(errno)),
    };
    let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
    let flags = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
    match inotify::add_watch(&watch, path, flags) {
        Ok(_) => Ok(Watch::Inotify(watch)),
        Err(Errno::NOSPC) => Ok(Watch::Look),
        Err(errno) => Err(io(errno)),
    }
}
