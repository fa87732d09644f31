//! The files of one log: which there are, and how the next is found.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use flate2::read::MultiGzDecoder;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::{Errno, pread};

use crate::{Error, FILE_NAME, Result};

/// Looks at a directory that changes at most so many times before it is taken as it is.
const MAX_LOOKS: usize = 16;

/// `json.log.<number>`.
pub(crate) fn plain(number: u64) -> String {
    format!("{FILE_NAME}.{number}")
}

/// `json.log.<number>.gz`.
pub(crate) fn compressed(number: u64) -> String {
    format!("{FILE_NAME}.{number}.gz")
}

/// A finished file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finished {
    pub number: u64,
    pub gzip: bool,
}

/// The number in a finished file's name.
fn parse_name(name: &[u8]) -> Option<Finished> {
    let rest = name.strip_prefix(FILE_NAME.as_bytes())?.strip_prefix(b".")?;
    let (digits, gzip) = match rest.strip_suffix(b".gz") {
        Some(digits) => (digits, true),
        None => (rest, false),
    };
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Some(Finished { number, gzip })
}

/// Finished files, the oldest first; one that is there in both forms comes twice, the plain one first.
pub(crate) fn finished(dir: &OwnedFd) -> Result<Vec<Finished>> {
    let io = |errno| Error::io("list", FILE_NAME, errno);
    let mut found = Vec::new();
    for entry in Dir::read_from(dir).map_err(io)? {
        found.extend(parse_name(entry.map_err(io)?.file_name().to_bytes()));
    }
    found.sort_unstable();
    Ok(found)
}

/// Numbers of the finished files, the oldest first.
pub(crate) fn numbers(dir: &OwnedFd) -> Result<Vec<u64>> {
    let mut numbers: Vec<u64> = finished(dir)?.into_iter().map(|file| file.number).collect();
    numbers.dedup();
    Ok(numbers)
}

/// A log file that is read from.
#[derive(Debug)]
pub(crate) struct Open {
    /// Its number, or for the newest file the one that it will have.
    pub number: u64,
    pub inode: u64,
    /// Where the next read begins, in bytes of what the writer wrote.
    pub offset: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Plain(OwnedFd),
    Gzip(Box<MultiGzDecoder<File>>),
}

impl Open {
    /// Reads what is there; 0 at its present end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            let outcome = match &mut self.source {
                Source::Plain(fd) => pread(fd, &mut *buffer, self.offset).map_err(std::io::Error::from),
                Source::Gzip(decoder) => decoder.read(buffer),
            };
            match outcome {
                Ok(count) => {
                    self.offset += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // What a damaged file still has was given; the next file is whole.
                Err(error) if matches!(self.source, Source::Gzip(_)) && error.raw_os_error().is_none() => return Ok(0),
                Err(error) => return Err(Error::io("read", FILE_NAME, error)),
            }
        }
    }

    /// Goes forward to a place in what the writer wrote.
    pub fn seek(&mut self, offset: u64) -> Result<()> {
        if let Source::Plain(_) = self.source {
            self.offset = offset;
            return Ok(());
        }
        let mut skipped = vec![0; 64 * 1024];
        while self.offset < offset {
            let wanted = (offset - self.offset).min(skipped.len() as u64) as usize;
            if self.read(&mut skipped[..wanted])? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// The offset behind the newline before the last `wanted` lines, or `None` after lowering `wanted` by the file's
    /// lines. A compressed file is read as a whole for it, and has to be opened again.
    pub fn count_back(&mut self, wanted: &mut u64) -> Result<Option<u64>> {
        match &self.source {
            Source::Plain(fd) => {
                let size = fstat(fd).map_err(|errno| Error::io("stat", FILE_NAME, errno))?.st_size.max(0) as u64;
                count_back_plain(fd, size, wanted)
            }
            Source::Gzip(_) => self.count_back_streamed(wanted),
        }
    }

    fn count_back_streamed(&mut self, wanted: &mut u64) -> Result<Option<u64>> {
        let mut chunk = vec![0; 64 * 1024];
        // Where the last `wanted` lines seen so far begin; a ring of that many is as large as the answer.
        let mut begins = std::collections::VecDeque::new();
        let (mut at, mut begin) = (0u64, 0u64);
        let mut lines = 0u64;
        loop {
            let count = self.read(&mut chunk)?;
            if count == 0 {
                break;
            }
            for end in memchr::memchr_iter(b'\n', &chunk[..count]) {
                lines += 1;
                begins.push_back(begin);
                begin = at + end as u64 + 1;
                if begins.len() as u64 > *wanted {
                    begins.pop_front();
                }
            }
            at += count as u64;
        }
        if lines >= *wanted {
            return Ok(begins.front().copied());
        }
        *wanted -= lines;
        Ok(None)
    }
}

fn count_back_plain(fd: &OwnedFd, size: u64, wanted: &mut u64) -> Result<Option<u64>> {
    let mut chunk = vec![0; 64 * 1024];
    let mut end = size;
    let mut seen = 0u64;
    while end > 0 {
        let start = end.saturating_sub(chunk.len() as u64);
        let part = &mut chunk[..(end - start) as usize];
        let mut done = 0;
        while done < part.len() {
            match pread(fd, &mut part[done..], start + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::io("read", FILE_NAME, errno)),
            }
        }
        for at in memchr::memrchr_iter(b'\n', &part[..done]) {
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

fn open_file(dir: &OwnedFd, name: &str) -> Result<Option<(OwnedFd, u64)>> {
    match openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK, Mode::empty()) {
        Ok(fd) => {
            let inode = fstat(&fd).map_err(|errno| Error::io("stat", name, errno))?.st_ino;
            Ok(Some((fd, inode)))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::io("open", name, errno)),
    }
}

/// A finished file in either form; `None` when it is gone.
pub(crate) fn open_finished(dir: &OwnedFd, number: u64) -> Result<Option<Open>> {
    if let Some((fd, inode)) = open_file(dir, &plain(number))? {
        return Ok(Some(Open { number, inode, offset: 0, source: Source::Plain(fd) }));
    }
    // Its compressed form is there before the plain one goes.
    Ok(open_file(dir, &compressed(number))?.map(|(fd, inode)| {
        let source = Source::Gzip(Box::new(MultiGzDecoder::new(File::from(fd))));
        Open { number, inode, offset: 0, source }
    }))
}

/// The newest file; `None` before the first output, and for the moment in which one is replaced.
pub(crate) fn open_newest(dir: &OwnedFd) -> Result<Option<Open>> {
    for _ in 0..MAX_LOOKS {
        let before = numbers(dir)?.last().copied().unwrap_or(0);
        let Some((fd, inode)) = open_file(dir, FILE_NAME)? else { return Ok(None) };
        if numbers(dir)?.last().copied().unwrap_or(0) == before {
            return Ok(Some(Open { number: before + 1, inode, offset: 0, source: Source::Plain(fd) }));
        }
    }
    Ok(None)
}

/// The oldest file there is.
pub(crate) fn open_oldest(dir: &OwnedFd) -> Result<Option<Open>> {
    open_after(dir, 0)
}

/// The oldest file behind this number, the newest included.
pub(crate) fn open_after(dir: &OwnedFd, number: u64) -> Result<Option<Open>> {
    for _ in 0..MAX_LOOKS {
        for later in numbers(dir)?.into_iter().filter(|later| *later > number) {
            if let Some(open) = open_finished(dir, later)? {
                return Ok(Some(open));
            }
        }
        let Some(newest) = open_newest(dir)? else { return Ok(None) };
        // Others may have been finished since the listing.
        if numbers(dir)?.into_iter().all(|other| other <= number || other >= newest.number) {
            return Ok(Some(Open { number: newest.number.max(number + 1), ..newest }));
        }
    }
    Ok(None)
}

/// Whether this is the file that is written to now, or there is none for the moment.
pub(crate) fn is_newest(dir: &OwnedFd, inode: u64) -> Result<bool> {
    Ok(stat(dir, FILE_NAME)?.is_none_or(|stat| stat.st_ino == inode))
}

pub(crate) fn stat(dir: &OwnedFd, name: &str) -> Result<Option<Stat>> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::io("stat", name, errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let found = |number, gzip| Some(Finished { number, gzip });
        for (name, expected) in [
            ("json.log", None),
            ("json.log.1", found(1, false)),
            ("json.log.12.gz", found(12, true)),
            ("json.log.", None),
            ("json.log.x", None),
            ("json.log.1.gz.tmp", None),
            ("json.log.99999999999999999999", None),
            ("other.log.1", None),
        ] {
            assert_eq!(parse_name(name.as_bytes()), expected, "{name}");
        }
    }
}
