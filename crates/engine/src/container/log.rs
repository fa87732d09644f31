//! `GET /containers/{id}/logs`: the log's entries as a client gets them, and on as they come.

use std::os::fd::AsFd;
use std::sync::Arc;

use logs::{ReadOptions, Reader, Stream as LogSource};

use super::wait::{Condition, Wait, subscribe};
use super::{Container, Phase, check, directory};
use crate::cancel::Flag;
use crate::{Canceller, Engine, Error, Kind, Result};

/// What a client wants of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogsOptions {
    /// Go on until the container ends.
    pub follow: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// Nanoseconds since the epoch.
    pub since: Option<i64>,
    pub until: Option<i64>,
    /// Each entry begins with its time.
    pub timestamps: bool,
    /// The last so many entries; `None` for all.
    pub tail: Option<u64>,
}

/// Bytes that are collected before a chunk is given, and the most of one chunk but for its last entry.
const CHUNK: usize = 32 * 1024;

/// Entries as bytes for the client: framed, or raw when the container has a terminal. A blocking iterator.
#[derive(Debug)]
pub struct LogStream {
    /// No frames.
    pub tty: bool,
    reader: Reader,
    options: LogsOptions,
    cancelled: Flag,
    /// Set when the container does not run (any more).
    stopped: Flag,
    _wait: Option<Wait>,
    finished: bool,
}

/// `GET /containers/{id}/logs`.
pub fn logs(engine: &Engine, id: &str, options: &LogsOptions) -> Result<LogStream> {
    if !options.stdout && !options.stderr {
        return Err(Error::invalid("Bad parameters: you must choose at least one stream"));
    }
    let container = engine.containers.find(id)?;
    log_stream(engine, &container, options)
}

pub(super) fn log_stream(engine: &Engine, container: &Arc<Container>, options: &LogsOptions) -> Result<LogStream> {
    let record = container.snapshot();
    if matches!(record.state.phase, Phase::Removing | Phase::Dead) {
        return Err(Error::conflict("can not get logs from container which is dead or marked for removal"));
    }
    if check::log_config(&record.host_config)?.is_none() {
        return Err(Error::new(Kind::NotImplemented, "configured logging driver does not support reading"));
    }
    let time = |moment: Option<i64>| moment.map(|ns| u64::try_from(ns).unwrap_or(0));
    let wanted = ReadOptions { since_ns: time(options.since), until_ns: time(options.until), tail: options.tail };
    let directory = directory::open(&engine.container_dir(&container.id))?;
    let (cancelled, stopped) = (Flag::new()?, Flag::new()?);
    let wait = options.follow.then(|| {
        let wait = subscribe(container, Condition::NotRunning);
        let stopped = stopped.clone();
        wait.on_response(move |_| stopped.set());
        wait
    });
    let reader = Reader::open(directory, wanted).map_err(|error| Error::system("read the container's log", error))?;
    Ok(LogStream {
        tty: record.config.tty,
        reader,
        options: options.clone(),
        cancelled,
        stopped,
        _wait: wait,
        finished: false,
    })
}

impl LogStream {
    /// Ends the iterator from another thread.
    pub fn canceller(&self) -> Canceller {
        let cancelled = self.cancelled.clone();
        Canceller::new(move || cancelled.set())
    }

    fn read(&mut self) -> logs::Result<Option<Vec<u8>>> {
        let mut chunk = Vec::with_capacity(CHUNK);
        loop {
            // Asked before the end is read: what was written until then is given.
            let stopped = !self.options.follow || self.stopped.is_set();
            while chunk.len() < CHUNK {
                let Some(entry) = self.reader.next()? else { break };
                let wanted = match entry.stream {
                    LogSource::Stdout => self.options.stdout,
                    LogSource::Stderr => self.options.stderr,
                };
                if wanted {
                    append(&mut chunk, &entry, self.tty, self.options.timestamps);
                }
            }
            if !chunk.is_empty() {
                return Ok(Some(chunk));
            }
            if stopped || self.reader.ended() || self.cancelled.is_set() {
                return Ok(None);
            }
            self.reader.wait(&[self.cancelled.as_fd(), self.stopped.as_fd()], self.time_left())?;
            if self.until_is_over() {
                return Ok(None);
            }
        }
    }

    fn time_left(&self) -> Option<std::time::Duration> {
        let until = u64::try_from(self.options.until?).unwrap_or(0);
        Some(std::time::Duration::from_nanos(until.saturating_sub(logs::time::now_ns())))
    }

    fn until_is_over(&self) -> bool {
        self.time_left().is_some_and(|left| left.is_zero())
    }
}

impl Iterator for LogStream {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Result<Vec<u8>>> {
        if self.finished || self.cancelled.is_set() {
            return None;
        }
        match self.read() {
            Ok(Some(chunk)) => Some(Ok(chunk)),
            Ok(None) => {
                self.finished = true;
                None
            }
            Err(error) => {
                self.finished = true;
                Some(Err(Error::system("read the container's log", error)))
            }
        }
    }
}

fn append(chunk: &mut Vec<u8>, entry: &logs::Entry<'_>, tty: bool, timestamps: bool) {
    let time = timestamps.then(|| logs::time::format(entry.time_ns));
    let length = entry.bytes.len() + time.map_or(0, |time| time.len() + 1);
    if !tty {
        chunk.extend_from_slice(&frame(entry.stream, length));
    }
    if let Some(time) = time {
        chunk.extend_from_slice(&time);
        chunk.push(b' ');
    }
    chunk.extend_from_slice(entry.bytes);
}

/// Docker's frame header: the stream, three zero bytes, the length.
pub(super) fn frame(stream: LogSource, length: usize) -> [u8; 8] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [if stream == LogSource::Stdout { 1 } else { 2 }, 0, 0, 0, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_framed() {
        let entry = logs::Entry { stream: LogSource::Stderr, time_ns: 0, bytes: b"hi\n" };
        let framed = |tty, timestamps| {
            let mut chunk = Vec::new();
            append(&mut chunk, &entry, tty, timestamps);
            chunk
        };
        assert_eq!(framed(false, false), b"\x02\0\0\0\0\0\0\x03hi\n");
        assert_eq!(framed(true, true), b"1970-01-01T00:00:00.000000000Z hi\n");
        assert_eq!(framed(false, true)[7], 34);
    }
}
