//! The story of a pull: resolve, look what is missing, fetch it, commit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use oci::{Descriptor, Digest, ImageConfig, Manifest, Platform, Reference, media_type};
use store::{ImageRecord, Store};

use crate::auth::AuthConfig;
use crate::blob::BlobReader;
use crate::endpoint::Endpoint;
use crate::layer::{Context, Job, fetch};
use crate::manifest::{Document, Resolved, read_config, resolve};
use crate::progress::{Progress, Sink};
use crate::registry::Registry;
use crate::session::{Purpose, Session};
use crate::work;
use crate::{Error, Result};

/// How soon a cancelled pull lets go of its connections.
const CANCEL_POLL: Duration = Duration::from_millis(50);

/// What a pull brought.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// Digest of the configuration: the image id.
    pub id: Digest,
    /// Digest of what the reference names at the registry (an index or a manifest): the repo digest.
    pub digest: Digest,
    /// The image's manifest.
    pub manifest: Manifest,
    /// Digest of the image's manifest.
    pub manifest_digest: Digest,
    /// The image's configuration.
    pub config: ImageConfig,
    /// The reference pointed to this image already.
    pub up_to_date: bool,
}

/// Pulls `reference` for `platform` into the store and tags it.
///
/// `progress` is called from several threads, one call at a time for one layer. Once `cancel` is true the pull ends soon with
/// [`Error::Cancelled`]; whatever goes wrong, no image and no tag appears and temporary files are gone, but for the beginning
/// of a blob that a next pull goes on with.
pub fn pull(
    registry: &Registry,
    store: &Store,
    reference: &Reference,
    platform: &Platform,
    auth: Option<AuthConfig>,
    progress: &(dyn Fn(Progress) + Sync),
    cancel: &AtomicBool,
) -> Result<Pulled> {
    let reference = reference.with_default_tag();
    let session = Session::new(registry, &reference, auth, Purpose::Pull, cancel);
    let pull = Pull { session: &session, store, platform, progress };
    match watched(&session, || pull.run()) {
        Err(_) if session.is_cancelled() => Err(Error::Cancelled),
        result => result,
    }
}

/// Runs `work` while a thread watches for cancellation.
pub(crate) fn watched<T>(session: &Session<'_>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    /// Ends the watch even if `work` panics.
    struct Over<'a>(&'a AtomicBool, thread::Thread);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
            self.1.unpark();
        }
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = || {
            while !over.load(Ordering::Acquire) {
                if session.is_cancelled() {
                    session.stop();
                    return;
                }
                thread::park_timeout(CANCEL_POLL);
            }
        };
        let watcher =
            thread::Builder::new().name("transfer-cancel".into()).spawn_scoped(scope, watch).map_err(Error::Thread)?;
        let _over = Over(&over, watcher.thread().clone());
        work()
    })
}

struct Pull<'a> {
    session: &'a Session<'a>,
    store: &'a Store,
    platform: &'a Platform,
    progress: Sink<'a>,
}

impl Pull<'_> {
    fn run(&self) -> Result<Pulled> {
        let reference = self.session.reference;
        let endpoints = self.session.registry.endpoints(reference)?;
        let (resolved, endpoints) = self.resolve(&endpoints)?;
        let title = match reference.digest {
            Some(digest) => digest.to_string(),
            None => reference.tag_or_latest().to_owned(),
        };
        (self.progress)(Progress::new(Some(title), format!("Pulling from {}", reference.path)));

        // When it ends, the store removes what was written and is in no image.
        let lease = self.store.lease();
        let arrived = self.config(&endpoints, &resolved.manifest).and_then(|(config, raw_config)| {
            self.layers(&endpoints, &resolved.manifest, &config.rootfs.diff_ids)?;
            let up_to_date = self.commit(&resolved, &config, raw_config)?;
            Ok((config, up_to_date))
        });
        let (config, up_to_date) = match arrived {
            // Layers that are whole need not come again.
            Err(error) if error.is_passing() => {
                lease.keep();
                return Err(error);
            }
            result => result?,
        };

        let digest = resolved.digest();
        let verb = if up_to_date { "Image is up to date" } else { "Downloaded newer image" };
        (self.progress)(Progress::new(None, format!("Digest: {digest}")));
        (self.progress)(Progress::new(None, format!("Status: {verb} for {}", reference.familiar())));
        Ok(Pulled {
            id: resolved.manifest.config.digest,
            digest,
            manifest_digest: resolved.document.descriptor.digest,
            manifest: resolved.manifest,
            config,
            up_to_date,
        })
    }

    /// The first endpoint that knows the image, and where its blobs are asked for: not at those that failed.
    fn resolve(&self, endpoints: &[Endpoint]) -> Result<(Resolved, Vec<Endpoint>)> {
        let by_tag = self.session.reference.digest.is_none();
        let mut failed: Vec<&Endpoint> = Vec::new();
        let mut last = Error::Cancelled;
        for endpoint in endpoints.iter().filter(|endpoint| endpoint.resolve || !by_tag) {
            match resolve(self.session, endpoint, self.platform) {
                Ok(resolved) => {
                    let rest = endpoints.iter().filter(|endpoint| !failed.contains(endpoint));
                    return Ok((resolved, rest.cloned().collect()));
                }
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(error) => {
                    if failed.len() + 1 < endpoints.len() {
                        tracing::warn!(host = endpoint.authority, reason = %error, "registry or mirror failed");
                    }
                    last = error;
                    failed.push(endpoint);
                }
            }
        }
        Err(last)
    }

    fn config(&self, endpoints: &[Endpoint], manifest: &Manifest) -> Result<(ImageConfig, Vec<u8>)> {
        let descriptor = &manifest.config;
        let stored = self.store.content().has(&descriptor.digest);
        let bytes = if stored {
            self.store.content().read(&descriptor.digest, crate::manifest::CONFIG_LIMIT)?
        } else {
            BlobReader::new(self.session, endpoints, descriptor, "image config", &|_| {}).read_all()?
        };
        let actual = Digest::of(&bytes);
        if actual != descriptor.digest {
            return Err(Error::DigestMismatch { what: "image config", expected: descriptor.digest, actual });
        }
        let config = read_config(&bytes, manifest)?;
        Ok((config, bytes))
    }

    /// Fetches the layers that the store lacks, a few at a time.
    fn layers(&self, endpoints: &[Endpoint], manifest: &Manifest, diff_ids: &[Digest]) -> Result<()> {
        let context = Context { session: self.session, store: self.store, endpoints, progress: self.progress };
        let mut jobs: Vec<Job<'_>> = Vec::new();
        for (descriptor, diff_id) in manifest.layers.iter().zip(diff_ids) {
            let id = Some(descriptor.digest.short());
            let exists = self.store.layers().has(diff_id) || jobs.iter().any(|job| job.diff_id == *diff_id);
            if exists {
                (self.progress)(Progress::new(id, "Already exists"));
            } else {
                (self.progress)(Progress::new(id, "Pulling fs layer"));
                jobs.push(Job { descriptor, diff_id: *diff_id });
            }
        }
        let workers = self.session.registry.config.max_concurrent_downloads.max(1).min(jobs.len());
        for job in jobs.iter().skip(workers) {
            (self.progress)(Progress::new(Some(job.descriptor.digest.short()), "Waiting"));
        }

        work::all(self.session, &jobs, workers, "pull-layer", |job| fetch(context, *job))?;
        // Only of these it is known that the blob is this layer; the others are the manifest's word.
        let fetched: Vec<(Digest, Descriptor)> = jobs
            .iter()
            .filter(|job| !media_type::is_foreign_layer(&job.descriptor.media_type))
            .map(|job| (job.diff_id, Descriptor { annotations: Default::default(), ..job.descriptor.clone() }))
            .collect();
        self.store.images().remember_compressed(&self.session.reference.name(), &fetched)?;
        Ok(())
    }

    /// Blobs, then the image, then the tag. True when the tag was there and pointed to this image.
    fn commit(&self, resolved: &Resolved, config: &ImageConfig, raw_config: Vec<u8>) -> Result<bool> {
        let reference = self.session.reference;
        let id = resolved.manifest.config.digest;
        let mut blobs: Vec<Descriptor> = Vec::new();
        for document in resolved.index.iter().chain([&resolved.document]) {
            self.put(document)?;
            blobs.push(document.descriptor.clone());
        }
        self.put(&Document { descriptor: resolved.manifest.config.clone(), bytes: raw_config.clone() })?;
        blobs.push(resolved.manifest.config.clone());
        // A layer that was there already may be known by another compressed form; its blob is not here then.
        for layer in &resolved.manifest.layers {
            if self.store.content().has(&layer.digest) && !blobs.iter().any(|blob| blob.digest == layer.digest) {
                blobs.push(layer.clone());
            }
        }

        let images = self.store.images();
        let known = images.get(&id).ok();
        // What another manifest of the same image brought stays part of it.
        for blob in known.iter().flat_map(|record| &record.blobs) {
            if !blobs.iter().any(|other| other.digest == blob.digest) {
                blobs.push(blob.clone());
            }
        }
        let mut size = 0;
        for diff_id in &config.rootfs.diff_ids {
            size += self.store.layers().size(diff_id)?;
        }
        let before = images.resolve(&reference.familiar()).ok().map(|record| record.id);
        let record = ImageRecord {
            id,
            config: config.clone(),
            raw_config,
            layers: config.rootfs.diff_ids.clone(),
            manifest: Some(resolved.document.descriptor.digest),
            blobs,
            created: config.created.clone().unwrap_or_default(),
            size,
            repo_digests: vec![format!("{}@{}", reference.name(), resolved.digest())],
        };
        // The digest is a name of its own; a tag beside it is only for people.
        match reference.digest {
            None => images.create_tagged(&record, std::slice::from_ref(reference))?,
            Some(_) => images.create(&record)?,
        }
        Ok(before == Some(id))
    }

    fn put(&self, document: &Document) -> Result<()> {
        use std::io::Write as _;
        let digest = document.descriptor.digest;
        let content = self.store.content();
        if content.has(&digest) {
            return Ok(());
        }
        let mut blob = content.writer()?;
        blob.write_all(&document.bytes).map_err(|source| Error::Blob { op: "write", digest, source })?;
        blob.commit(&digest)?;
        Ok(())
    }
}
