//! A layer that is sent while it is compressed.
//!
//! ```text
//!  archive ─▶ compressors ─▶ blob in the store ─▶ one PATCH without a length, a step behind
//!                                 │ compressed
//!                                 ▼
//!                digest known: does the registry have it? then the rest is not sent
//! ```
//! What is long is sent so; a short layer's digest is known before a connection would be worth it. Whatever
//! goes wrong with the stream, the blob is a file by then, and is sent as every other.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::thread;

use oci::{Descriptor, Digest};

use super::Push;
use super::plan::Job;
use super::upload::{Start, range_end};
use crate::progress::{Progress, Ticker};
use crate::session::{Reached, Request, To};
use crate::transport::{Method, Payload};
use crate::url::Url;
use crate::{Error, Result};

/// Compressed bytes after which the sending begins.
const LONG: u64 = 4 << 20;

/// Bytes that have to be left when the digest is known, for the registry to be asked whether it has them.
const REST: u64 = 4 << 20;

/// What became of the early sending.
pub(super) enum Early {
    /// The layer was too short for it, or the stream broke.
    No,
    /// The registry has the blob already.
    There,
    /// It has this many bytes, and wants the next request there.
    UpTo(u64, Url),
}

/// A blob's file while it grows, seen by who writes and who reads.
#[derive(Default)]
pub(super) struct Growth {
    file: OnceLock<File>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    written: u64,
    end: Option<End>,
    unwanted: bool,
}

#[derive(Clone)]
enum End {
    Whole(Box<Descriptor>),
    Failed,
}

impl Growth {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// Waits for more than `least` bytes, or the end.
    fn wait(&self, least: u64) -> (u64, Option<End>) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = |state: &mut State| state.written <= least && state.end.is_none();
        let state = self.changed.wait_while(state, waiting).unwrap_or_else(PoisonError::into_inner);
        (state.written, state.end.clone())
    }

    /// All of the blob is in the file, which has no name yet.
    pub(super) fn whole(&self, blob: &Descriptor) {
        self.change(|state| state.end = Some(End::Whole(Box::new(blob.clone()))));
    }

    /// Nobody wants the blob any more.
    pub(super) fn is_unwanted(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).unwanted
    }
}

/// Whatever ends the writing, nobody waits for more. What was whole by then may still be sent.
struct Ending<'a>(&'a Growth);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.change(|state| {
            state.end.get_or_insert(End::Failed);
        });
    }
}

/// Writes a blob and tells how far it is.
pub(super) struct Told<'a> {
    pub(super) blob: &'a mut store::BlobWriter,
    pub(super) growth: &'a Growth,
}

impl<'a> Told<'a> {
    pub(super) fn new(blob: &'a mut store::BlobWriter, growth: &'a Growth) -> Result<Told<'a>> {
        // Set once for each growth; a second one would be the same file.
        let _ = growth.file.set(blob.reader()?);
        Ok(Told { blob, growth })
    }
}

impl Write for Told<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.blob.write(bytes)?;
        let written = self.blob.written();
        self.growth.change(|state| state.written = written);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.blob.flush()
    }
}

impl Push<'_> {
    /// Compresses a layer, and sends it meanwhile if it is long.
    pub(super) fn compress_and_send(&self, job: &Job, diff_id: &Digest) -> Result<(Descriptor, Early)> {
        let growth = Growth::default();
        thread::scope(|scope| {
            let make = || {
                let _end = Ending(&growth);
                self.compress(job, diff_id, &growth)
            };
            let maker = thread::Builder::new()
                .name("compress-layer".into())
                .spawn_scoped(scope, make)
                .map_err(Error::Thread)?;
            // Where pieces were asked for, a stream is what is not wanted.
            let whole = self.session.registry.config.upload_piece == u64::MAX;
            let sent = match growth.wait(LONG) {
                (written, _) if whole && written > LONG => self.send_early(job, &growth),
                _ => Ok(Early::No),
            };
            if sent.is_err() {
                growth.change(|state| state.unwanted = true);
            }
            let made = maker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let sent = sent?;
            Ok((made?, sent))
        })
    }

    fn send_early(&self, job: &Job, growth: &Growth) -> Result<Early> {
        let Start::At(url) = self.begin("")? else { return Ok(Early::No) };
        let (asked, there) = (Cell::new(false), Cell::new(false));
        let ticker = Ticker::new();
        let read = |at: u64, buffer: &mut [u8]| -> io::Result<usize> {
            let (written, end) = growth.wait(at);
            let total = match end {
                Some(End::Failed) => return Err(io::Error::other("the layer could not be compressed")),
                Some(End::Whole(blob)) => {
                    if blob.size.saturating_sub(at) >= REST && !asked.replace(true) && self.has(&blob).unwrap_or(false)
                    {
                        there.set(true);
                        return Err(io::Error::other("the registry has it already"));
                    }
                    Some(blob.size)
                }
                None => None,
            };
            if ticker.is_due() {
                (self.progress)(Progress { id: Some(job.id()), status: "Pushing".into(), current: Some(at), total });
            }
            let Some(file) = growth.file.get() else { return Ok(0) };
            let most = usize::try_from(written.saturating_sub(at)).unwrap_or(usize::MAX).min(buffer.len());
            file.read_at(&mut buffer[..most], at)
        };
        let request = Request {
            method: Method::Patch,
            to: To::Location(&url),
            headers: &[("Content-Type", "application/octet-stream".to_owned())],
            payload: Payload::Growing(&read),
            attempts: 1,
        };
        let outcome = self.session.send(self.endpoint, request);
        if there.get() {
            self.abandon(&url);
            return Ok(Early::There);
        }
        let Reached { answer, url: from } = match outcome {
            Ok(reached) => reached,
            Err(error @ (Error::Unreachable { .. } | Error::Protocol { .. })) => {
                tracing::debug!(reason = %error, "stream of a layer broke");
                self.abandon(&url);
                return Ok(Early::No);
            }
            Err(error) => return Err(error),
        };
        match answer.status().as_u16() {
            200..=299 => {
                let (written, _) = growth.wait(u64::MAX);
                let next = match answer.headers().contains_key("Location") {
                    true => self.location(&from, &answer)?,
                    false => url,
                };
                Ok(Early::UpTo(range_end(&answer).unwrap_or(written), next))
            }
            // Some proxies want to know the length; others have a limit.
            404 | 408 | 411 | 413 | 416 | 429 | 500.. => {
                self.abandon(&url);
                Ok(Early::No)
            }
            _ => Err(self.session.translate(Method::Patch, &from, answer)),
        }
    }

    /// Tells the registry that an upload will not be finished. It finds out by itself if this is lost.
    fn abandon(&self, url: &Url) {
        let request = Request {
            method: Method::Delete,
            to: To::Location(url),
            headers: &[],
            payload: Payload::None,
            attempts: 1,
        };
        if let Err(error) = self.session.send(self.endpoint, request) {
            tracing::debug!(reason = %error, "cannot take back an upload");
        }
    }
}
