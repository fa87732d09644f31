//! `GET /containers/{id}/logs`: the log's entries as a client gets them, and on as they come.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use logs::{ReadOptions, Reader, Stream as LogSource};

use super::wait::{Condition, Wait, subscribe};
use super::{Container, Phase, directory, logging};
use crate::cancel::Flag;
use crate::{Canceller, Engine, Error, Result};

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
    /// Each entry begins with its attributes.
    pub details: bool,
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
    container: Arc<Container>,
    /// Set when the container does not run (any more).
    stopped: Flag,
    wait: Option<Wait>,
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
    if !logging::plan(&record.host_config.log_config)?.readable {
        return Err(logging::unreadable());
    }
    let time = |moment: Option<i64>| moment.map(|ns| u64::try_from(ns).unwrap_or(0));
    let wanted = ReadOptions { since_ns: time(options.since), until_ns: time(options.until), tail: options.tail };
    let directory = directory::open(&engine.container_dir(&container.id))?;
    let (cancelled, stopped) = (Flag::new()?, Flag::new()?);
    let wait = options.follow.then(|| end_of_run(container, &stopped));
    let reader = Reader::open(directory, wanted).map_err(|error| Error::system("read the container's log", error))?;
    Ok(LogStream {
        tty: record.config.tty,
        reader,
        options: options.clone(),
        cancelled,
        container: Arc::clone(container),
        stopped,
        wait,
        finished: false,
    })
}

/// Sets the flag when the container does not run.
fn end_of_run(container: &Arc<Container>, stopped: &Flag) -> Wait {
    let wait = subscribe(container, Condition::NotRunning);
    let stopped = stopped.clone();
    wait.on_response(move |_| stopped.set());
    wait
}

/// How a followed container goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follow {
    Runs,
    /// Between two runs.
    Pauses,
    Over,
}

/// How often to look whether a container runs again.
const LOOK: Duration = Duration::from_millis(100);

impl LogStream {
    /// A restart, by policy or by request, is not the end of the log.
    fn follow(&mut self) -> Result<Follow> {
        if !self.options.follow {
            return Ok(Follow::Over);
        }
        if !self.stopped.is_set() {
            return Ok(Follow::Runs);
        }
        let restarting = self.container.restarting.load(Ordering::Acquire);
        match self.container.snapshot().state.phase {
            phase if phase.is_alive() => {
                self.stopped = Flag::new()?;
                self.wait = Some(end_of_run(&self.container, &self.stopped));
                Ok(Follow::Runs)
            }
            Phase::Restarting | Phase::Starting => Ok(Follow::Pauses),
            _ if restarting => Ok(Follow::Pauses),
            _ => Ok(Follow::Over),
        }
    }

    /// Ends the iterator from another thread.
    pub fn canceller(&self) -> Canceller {
        let cancelled = self.cancelled.clone();
        Canceller::new(move || cancelled.set())
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>> {
        let failed = |error| Error::system("read the container's log", error);
        let mut chunk = Vec::with_capacity(CHUNK);
        loop {
            // Asked before the end is read: what was written until then is given.
            let follow = self.follow()?;
            while chunk.len() < CHUNK {
                let Some(entry) = self.reader.next().map_err(failed)? else { break };
                let wanted = match entry.stream {
                    LogSource::Stdout => self.options.stdout,
                    LogSource::Stderr => self.options.stderr,
                };
                if wanted {
                    append(&mut chunk, &entry, self.tty, self.options.timestamps, self.options.details);
                }
            }
            if !chunk.is_empty() {
                return Ok(Some(chunk));
            }
            if follow == Follow::Over || self.reader.ended() || self.cancelled.is_set() {
                return Ok(None);
            }
            let left = self.time_left();
            if follow == Follow::Pauses {
                let left = Some(left.map_or(LOOK, |left| left.min(LOOK)));
                self.reader.wait(&[self.cancelled.as_fd()], left).map_err(failed)?;
            } else {
                self.reader.wait(&[self.cancelled.as_fd(), self.stopped.as_fd()], left).map_err(failed)?;
            }
            if self.until_is_over() {
                return Ok(None);
            }
        }
    }

    fn time_left(&self) -> Option<Duration> {
        let until = u64::try_from(self.options.until?).unwrap_or(0);
        Some(Duration::from_nanos(until.saturating_sub(logs::time::now_ns())))
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
                Some(Err(error))
            }
        }
    }
}

fn append(chunk: &mut Vec<u8>, entry: &logs::Entry<'_>, tty: bool, timestamps: bool, details: bool) {
    let time = timestamps.then(|| logs::time::format(entry.time_ns));
    let details = details.then(|| details_of(entry.attrs));
    let length = entry.bytes.len()
        + time.map_or(0, |time| time.len() + 1)
        + details.as_ref().map_or(0, |details| details.len() + 1);
    if !tty {
        chunk.extend_from_slice(&frame(entry.stream, length));
    }
    if let Some(time) = time {
        chunk.extend_from_slice(&time);
        chunk.push(b' ');
    }
    if let Some(details) = details {
        chunk.extend_from_slice(details.as_bytes());
        chunk.push(b' ');
    }
    chunk.extend_from_slice(entry.bytes);
}

/// Attributes as Docker shows them: `name=value,…`, sorted, escaped as in a query.
fn details_of(attrs: &[u8]) -> String {
    let attributes: std::collections::BTreeMap<String, String> = serde_json::from_slice(attrs).unwrap_or_default();
    let pair = |(name, value): (&String, &String)| format!("{}={}", query_escape(name), query_escape(value));
    attributes.iter().map(pair).collect::<Vec<_>>().join(",")
}

/// Go's `url.QueryEscape`.
fn query_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
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
        let attrs = br#"{"a b":"c/d","e":"f"}"#;
        let entry = logs::Entry { stream: LogSource::Stderr, time_ns: 0, bytes: b"hi\n", attrs };
        let framed = |tty, timestamps, details| {
            let mut chunk = Vec::new();
            append(&mut chunk, &entry, tty, timestamps, details);
            chunk
        };
        assert_eq!(framed(false, false, false), b"\x02\0\0\0\0\0\0\x03hi\n");
        assert_eq!(framed(true, true, false), b"1970-01-01T00:00:00.000000000Z hi\n");
        assert_eq!(framed(true, false, true), b"a+b=c%2Fd,e=f hi\n");
        assert_eq!(framed(false, true, false)[7], 34);
        assert_eq!(details_of(b""), "");
    }
}
