//! One layer of a push: what to do that it is in the registry.

use std::fs::File;
use std::thread;

use archive::Format;
use oci::{Descriptor, Digest, media_type};

use super::Push;
use super::early::{Early, Growth, Told};
use super::plan::{Job, need};
use super::upload::Start;
use crate::config::Compression;
use crate::manifest::Document;
use crate::progress::{Progress, Ticker};
use crate::{Error, Result};

impl Push<'_> {
    /// Brings one layer; gives the descriptor that it has in the registry.
    pub(super) fn layer(&self, job: &Job) -> Result<Descriptor> {
        self.session.check()?;
        let tell = |status: String| (self.progress)(Progress::new(Some(job.id()), status));
        if let Some(known) = &job.known {
            if media_type::is_foreign_layer(&known.media_type) {
                tell("Skipped foreign layer".into());
                return Ok(known.clone());
            }
            if self.has(known)? {
                tell("Layer already exists".into());
                return Ok(known.clone());
            }
            let here = self.store.content().has(&known.digest);
            if here || !job.origins.is_empty() {
                match self.start(known, &job.origins)? {
                    Start::Mounted(from) => {
                        tell(format!("Mounted from {from}"));
                        return Ok(known.clone());
                    }
                    Start::At(start) if here => {
                        self.send_blob(job, known, start)?;
                        tell("Pushed".into());
                        return Ok(known.clone());
                    }
                    Start::At(_) => {}
                }
            }
        }
        for (blob, origins) in &job.others {
            if self.has(blob)? {
                tell("Layer already exists".into());
                return Ok(blob.clone());
            }
            if !origins.is_empty()
                && let Start::Mounted(from) = self.start(blob, origins)?
            {
                tell(format!("Mounted from {from}"));
                return Ok(blob.clone());
            }
        }
        let (descriptor, early) = match job.diff_id {
            Some(diff_id) => self.compress_and_send(job, &diff_id)?,
            None => (need(job.known.as_ref())?.clone(), Early::No),
        };
        match early {
            Early::There => {
                tell("Layer already exists".into());
                return Ok(descriptor);
            }
            Early::UpTo(end, next) if end == descriptor.size => {
                self.finish(&descriptor, &next, &[])?;
                tell("Pushed".into());
                return Ok(descriptor);
            }
            Early::UpTo(..) | Early::No => {}
        }
        // Compressed to the same bytes as somebody else's before?
        if self.has(&descriptor)? {
            tell("Layer already exists".into());
            return Ok(descriptor);
        }
        let Start::At(start) = self.start(&descriptor, &[])? else {
            return Ok(descriptor);
        };
        self.send_blob(job, &descriptor, start)?;
        tell("Pushed".into());
        Ok(descriptor)
    }

    fn send_blob(&self, job: &Job, descriptor: &Descriptor, start: crate::url::Url) -> Result<()> {
        let file: File = self.store.content().open(&descriptor.digest)?;
        let ticker = Ticker::new();
        let sent = |current: u64| {
            if ticker.is_due() {
                let (id, total) = (Some(job.id()), Some(descriptor.size));
                (self.progress)(Progress { id, status: "Pushing".into(), current: Some(current), total });
            }
        };
        self.upload(descriptor, &file, start, &sent)
    }

    /// Compresses a layer's tar into a blob of the store.
    pub(super) fn compress(&self, job: &Job, diff_id: &Digest, growth: &Growth) -> Result<Descriptor> {
        // All cores work on one layer; more of them at once would only need more memory.
        let _turn = self.session.registry.compressing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.session.check()?;
        let (id, ticker) = (job.id(), Ticker::new());
        let total = self.store.layers().size(diff_id)?;
        let tar = self.store.layers().tar(diff_id)?;
        let mut read = 0u64;
        let source = Counted {
            inner: tar,
            count: |n: usize| {
                read += n as u64;
                if ticker.is_due() {
                    let (id, current) = (Some(id.clone()), Some(read.min(total)));
                    (self.progress)(Progress { id, status: "Compressing".into(), current, total: Some(total) });
                }
                self.session.check().is_ok() && !growth.is_unwanted()
            },
        };
        let (format, media_type) = match self.session.registry.config.push_compression {
            Compression::Gzip => (Format::Gzip, media_type::DOCKER_LAYER_GZIP),
            Compression::Zstd => (Format::Zstd { level: 3 }, media_type::OCI_LAYER_ZSTD),
        };
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let mut blob = self.store.content().writer()?;
        let done = archive::compress(source, Told::new(&mut blob, growth)?, format, workers);
        self.session.check()?;
        done.map_err(|source| Error::Compress { layer: *diff_id, source })?;
        let size = blob.written();
        let digest = blob.digest();
        let descriptor = Descriptor::new(media_type, digest, size);
        // The registry need not wait until it is on the disk here.
        growth.whole(&descriptor);
        blob.commit(&digest)?;
        Ok(descriptor)
    }

    /// A configuration: sent in one piece.
    pub(super) fn small(&self, document: &Document) -> Result<()> {
        if self.has(&document.descriptor)? {
            return Ok(());
        }
        let Start::At(start) = self.start(&document.descriptor, &[])? else { return Ok(()) };
        self.put_blob(&document.descriptor, start, &document.bytes)
    }
}

/// Counts what is read; ends with an error once the counter says no.
struct Counted<R, F> {
    inner: R,
    count: F,
}

impl<R: std::io::Read, F: FnMut(usize) -> bool> std::io::Read for Counted<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        if (self.count)(n) { Ok(n) } else { Err(std::io::Error::other("cancelled")) }
    }
}
