//! Stored entries on their way to another program's log.
//!
//! ```text
//!  shim ──▶ json.log* ──▶ Reader at `forwarded` ──▶ Peer (syslog, journal) ──▶ `forwarded` moves on
//! ```
//! The place is stored after entries were given to the peer: a crash in between sends a few of them again, and loses
//! none. A peer that is not there is tried again, at longer and longer intervals, while the files wait.

mod journald;
mod syslog;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, openat, renameat};
use rustix::io::{pread, write};

pub use journald::Journald;
pub use syslog::{Facility, Format, Syslog, Transport};

use crate::{Entry, Error, Position, ReadOptions, Reader, Result};

/// Holds the place up to which entries were sent on.
pub const POSITION_FILE: &str = "forwarded";

const TEMPORARY: &str = ".forwarded";

/// Entries between two notes of the place.
const BATCH: usize = 256;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// Where entries go.
pub trait Peer {
    /// Gives it one entry, and waits as long as the peer makes it. After an error the same entry is given again.
    fn send(&mut self, entry: &Entry<'_>) -> Result<()>;
}

/// Reads the stored place.
pub(crate) fn read_position(dir: &OwnedFd) -> Option<Position> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = openat(dir, POSITION_FILE, flags, Mode::empty()).ok()?;
    let mut text = [0; 128];
    let count = pread(&file, &mut text, 0).ok()?;
    let mut words = std::str::from_utf8(&text[..count]).ok()?.split_ascii_whitespace().map(str::parse::<u64>);
    let mut word = || words.next()?.ok();
    Some(Position { number: word()?, offset: word()?, inode: word()? })
}

fn store_position(dir: &OwnedFd, position: Position) -> Result<()> {
    let fail = |errno| Error::io("write", POSITION_FILE, errno);
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = openat(dir, TEMPORARY, flags, Mode::from_raw_mode(0o600)).map_err(fail)?;
    let text = format!("{} {} {}\n", position.number, position.offset, position.inode);
    if write(&file, text.as_bytes()).map_err(fail)? < text.len() {
        return Err(fail(rustix::io::Errno::NOSPC));
    }
    renameat(dir, TEMPORARY, dir, POSITION_FILE).map_err(fail)
}

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub struct Stop<'a> {
    /// Readable: at once.
    pub now: BorrowedFd<'a>,
    /// Readable: when everything that is stored was sent.
    pub at_end: BorrowedFd<'a>,
}

/// Sends the entries of the log in `dir` from the stored place on, until told to stop. `trouble` hears when the peer
/// stops taking entries, and (`None`) when it takes them again.
///
/// # Errors
/// Of reading the log. The peer's are tried again for ever.
pub fn run(dir: &OwnedFd, peer: &mut dyn Peer, stop: Stop<'_>, trouble: &mut dyn FnMut(Option<&Error>)) -> Result<()> {
    let again = |errno| Error::io("open", POSITION_FILE, errno);
    let own = rustix::io::fcntl_dupfd_cloexec(dir, 0).map_err(again)?;
    let mut reader = match read_position(dir) {
        Some(position) => Reader::open_at(own, position)?,
        None => Reader::open(own, ReadOptions::default())?,
    };
    loop {
        // Asked before the end is read: what was written until then is sent.
        let ending = is_readable(stop.at_end, Duration::ZERO);
        let mut sent = 0;
        while sent < BATCH {
            let Some(entry) = reader.next()? else { break };
            if !deliver(peer, &entry, stop.now, trouble) {
                return Ok(());
            }
            sent += 1;
        }
        if sent > 0 {
            if let Some(position) = reader.position() {
                store_position(dir, position)?;
            }
            continue;
        }
        if let Some(position) = reader.position().filter(|_| read_position(dir).is_none()) {
            store_position(dir, position)?;
        }
        if ending || is_readable(stop.now, Duration::ZERO) {
            return Ok(());
        }
        reader.wait(&[stop.now.as_fd(), stop.at_end.as_fd()], None)?;
    }
}

/// False when it was told to stop.
fn deliver(
    peer: &mut dyn Peer,
    entry: &Entry<'_>,
    stop: BorrowedFd<'_>,
    trouble: &mut dyn FnMut(Option<&Error>),
) -> bool {
    let mut pause = FIRST_PAUSE;
    let mut told = false;
    loop {
        match peer.send(entry) {
            Ok(()) => {
                if told {
                    trouble(None);
                }
                return true;
            }
            Err(error) => {
                if !told {
                    trouble(Some(&error));
                    told = true;
                }
                if is_readable(stop, pause) {
                    return false;
                }
                pause = (pause * 2).min(LAST_PAUSE);
            }
        }
    }
}

fn is_readable(descriptor: BorrowedFd<'_>, limit: Duration) -> bool {
    let limit = Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(limit.subsec_nanos()),
    };
    let mut polled = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
    poll(&mut polled, Some(&limit)).is_ok_and(|ready| ready > 0)
}

/// The entry's text without its newline, and whether it had none: a piece of a longer line.
fn text<'a>(entry: &Entry<'a>) -> (&'a [u8], bool) {
    match entry.bytes.strip_suffix(b"\n") {
        Some(text) => (text, false),
        None => (entry.bytes, true),
    }
}
