//! One layer, one pass: transfer, digest, decompression and the store's layer file at the same time.

use std::borrow::Cow;
use std::cell::Cell;
use std::io::{self, Read};
use std::time::Duration;

use oci::{Descriptor, Digest};
use store::Store;

use crate::blob::BlobReader;
use crate::endpoint::Endpoint;
use crate::flight::{Lead, State, Turn};
use crate::progress::{Progress, Sink, Ticker};
use crate::session::Session;
use crate::{Error, Result};

/// Nothing compresses better than this in gzip; what claims to (zstd can) is a bomb once it is big.
const RATIO_LIMIT: u64 = 1100;
/// Layers up to this size may have any ratio.
const SMALL: u64 = 1 << 30;
/// How long a follower waits before it looks whether its own pull was cancelled.
const PATIENCE: Duration = Duration::from_millis(100);

/// What all layers of a pull have in common.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) session: &'a Session<'a>,
    pub(crate) store: &'a Store,
    pub(crate) endpoints: &'a [Endpoint],
    pub(crate) progress: Sink<'a>,
}

/// A layer that the store lacks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) descriptor: &'a Descriptor,
    pub(crate) diff_id: Digest,
}

impl Context<'_> {
    fn tell(&self, layer: &Descriptor, status: impl Into<Cow<'static, str>>, current: Option<u64>, total: Option<u64>) {
        let id = Some(layer.digest.short());
        (self.progress)(Progress { id, status: status.into(), current, total });
    }
}

/// Brings one layer into the store, or waits for another pull that already does.
pub(crate) fn fetch(context: Context<'_>, job: Job<'_>) -> Result<()> {
    let mut waited = false;
    loop {
        context.session.check()?;
        let turn = context.session.registry.flights.join(job.diff_id);
        // Asked after joining: a leader that ended just before has left its layer.
        if context.store.layers().has(&job.diff_id) {
            let status = if waited { "Pull complete" } else { "Already exists" };
            context.tell(job.descriptor, status, None, None);
            return Ok(());
        }
        match turn {
            Turn::Lead(lead) => {
                transfer(context, job, &lead)?;
                context.tell(job.descriptor, "Pull complete", None, None);
                return Ok(());
            }
            Turn::Follow(flight) => {
                waited = true;
                let mut seen = State::default();
                while !seen.over {
                    context.session.check()?;
                    let Some(state) = flight.news(&seen, PATIENCE) else { continue };
                    if !state.over {
                        context.tell(job.descriptor, state.status.clone(), state.current, state.total);
                    }
                    seen = state;
                }
            }
        }
    }
}

/// Tries the endpoints in order; a mirror with a wrong blob costs time, not the pull.
fn transfer(context: Context<'_>, job: Job<'_>, lead: &Lead<'_>) -> Result<()> {
    let mut endpoints = context.endpoints;
    loop {
        match stream(Context { endpoints, ..context }, job, lead) {
            Err(error @ (Error::DigestMismatch { .. } | Error::SizeMismatch { .. })) if endpoints.len() > 1 => {
                tracing::warn!(host = endpoints[0].authority, reason = %error, "mirror has a wrong blob");
                endpoints = &endpoints[1..];
            }
            result => return result,
        }
    }
}

fn stream(context: Context<'_>, job: Job<'_>, lead: &Lead<'_>) -> Result<()> {
    let Job { descriptor, diff_id } = job;
    let digest = descriptor.digest;
    let total = Some(descriptor.size);
    let tell = |status: &'static str, current: Option<u64>, total: Option<u64>| {
        lead.tell(status.into(), current, total);
        context.tell(descriptor, status, current, total);
    };
    let content = context.store.content();
    if content.has(&digest) {
        // The blob outlived its layer; it was checked when it came, and the diff id is checked again now.
        let mut file = content.open(&digest)?;
        tell("Download complete", None, None);
        tell("Extracting", Some(0), total);
        let layer = unpack(context, descriptor, &mut file)?;
        return commit(layer, digest, diff_id);
    }

    let ticker = Ticker::new();
    let report = |current: u64| {
        if ticker.is_due() {
            tell("Downloading", Some(current), total);
        }
    };
    let mut blob = content.resume(&digest)?;
    if blob.kept() > descriptor.size {
        blob.discard();
        blob = content.resume(&digest)?;
    }
    let kept = blob.kept();
    if kept > 0 {
        tracing::debug!(%digest, kept, "going on with what an earlier pull left");
        tell("Downloading", Some(kept), total);
    }
    let result = stream_into(context, job, &mut blob, &report);
    let layer = match result {
        Ok(layer) => layer,
        Err(error) => {
            // A cut or a cancelled transfer goes on next time; wrong bytes would be wrong again.
            if !error.is_passing() {
                blob.discard();
            }
            return match error {
                // The wrong bytes may be those that were kept.
                Error::DigestMismatch { .. } | Error::Decompress { .. } | Error::Layer { .. } if kept > 0 => {
                    stream(context, job, lead)
                }
                error => Err(error),
            };
        }
    };
    match blob.commit() {
        Ok(_) => {}
        Err(store::Error::DigestMismatch { .. }) if kept > 0 => return stream(context, job, lead),
        Err(store::Error::DigestMismatch { expected, actual }) => {
            return Err(Error::DigestMismatch { what: "filesystem layer", expected, actual });
        }
        Err(error) => return Err(error.into()),
    }
    tell("Verifying Checksum", None, None);
    tell("Download complete", None, None);
    tell("Extracting", total, total);
    commit(layer, digest, diff_id)
}

/// The bytes on their one way: from what was kept and from the registry into the blob and the layer.
fn stream_into(
    context: Context<'_>,
    job: Job<'_>,
    blob: &mut store::Partial,
    report: &dyn Fn(u64),
) -> Result<store::WrittenLayer> {
    let mut prefix = blob.prefix()?;
    let kept = blob.kept();
    let Job { descriptor, .. } = job;
    let mut source = BlobReader::new(context.session, context.endpoints, descriptor, "filesystem layer", report)
        .starting_at(kept)
        .copy_to(blob);
    let layer = unpack(context, descriptor, &mut (&mut prefix).chain(&mut source));
    if let Some(fault) = source.take_fault() {
        return Err(fault);
    }
    source.finish()?;
    match layer {
        Ok(layer) => Ok(layer),
        // Was it made so, or did it arrive so? A wrong digest is the better explanation.
        Err(error) => Err(match blob.digest() {
            actual if actual != descriptor.digest => {
                Error::DigestMismatch { what: "filesystem layer", expected: descriptor.digest, actual }
            }
            _ => error,
        }),
    }
}

fn commit(layer: store::WrittenLayer, digest: Digest, expected: Digest) -> Result<()> {
    let actual = *layer.diff_id();
    if actual != expected {
        return Err(Error::DiffIdMismatch { layer: digest, expected, actual });
    }
    layer.commit(Some(&expected)).map_err(|source| Error::Layer { layer: digest, source })?;
    Ok(())
}

fn unpack(context: Context<'_>, descriptor: &Descriptor, source: &mut dyn Read) -> Result<store::WrittenLayer> {
    let layer = descriptor.digest;
    let limit =
        descriptor.size.saturating_mul(RATIO_LIMIT).max(SMALL).min(context.session.registry.config.max_layer_size);
    let tar = archive::decompress(source).map_err(|source| Error::Decompress { layer, source })?;
    let exceeded = Cell::new(false);
    let tar = Bounded { inner: tar, left: limit, exceeded: &exceeded };
    let written = context.store.layers().writer().and_then(|writer| writer.write_tar(tar));
    written.map_err(|source| match exceeded.get() {
        true => Error::TooLarge { what: format!("layer {layer}, uncompressed,"), limit },
        false => Error::Layer { layer, source },
    })
}

/// Fails after so many bytes, rather than end.
struct Bounded<'a, R> {
    inner: R,
    left: u64,
    exceeded: &'a Cell<bool>,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        match self.left.checked_sub(n as u64) {
            Some(left) => {
                self.left = left;
                Ok(n)
            }
            None => {
                self.exceeded.set(true);
                Err(io::Error::new(io::ErrorKind::FileTooLarge, "layer is too large"))
            }
        }
    }
}
