//! Pull-through: what other registries have, fetched when it is first asked for, and kept.
//!
//! ```text
//!  docker.io/library/httpd ──prefix──▶ rule ─▶ upstream docker.io, repository library/httpd
//!    tag:    believed for a while ─▶ then asked again ─▶ upstream away: what is here is served
//!    digest: here, or fetched once and for ever
//!    blob:   one transfer for all who wait; they read the file while it grows
//! ```

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use distribution::AuthConfig;
use oci::Reference as ImageReference;

use crate::access::CacheRule;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layout::Registry;
use crate::name::{Name, Tag};
use crate::push::{PushOptions, Reference};
use crate::upload::Upload;

/// Tags whose age is remembered.
const REMEMBERED: usize = 10_000;

/// The registries behind this one.
#[derive(Debug)]
pub struct Upstreams {
    registry: Registry,
    /// By address: tokens and what a host speaks are remembered.
    clients: Mutex<HashMap<String, Arc<distribution::Registry>>>,
    /// When a tag was last asked for.
    asked: Mutex<HashMap<(Name, Tag), Instant>>,
    flights: Mutex<HashMap<(Name, Digest), Arc<Flight>>>,
}

/// A blob on its way.
#[derive(Debug, Default)]
pub struct Flight {
    state: Mutex<Progress>,
    moved: Condvar,
}

/// How far a transfer is.
#[derive(Debug, Default)]
pub struct Progress {
    /// To be read by positions.
    pub file: Option<Arc<File>>,
    /// All of it, if the upstream said so.
    pub size: Option<u64>,
    pub written: u64,
    /// It is over: well, or with a reason.
    pub end: Option<std::result::Result<(), String>>,
    /// The upstream does not have it.
    pub unknown: bool,
}

impl Flight {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.lock());
        self.moved.notify_all();
    }

    /// Waits until `enough`, then gives what `look` sees. For threads that may wait long.
    pub fn wait<T>(&self, enough: impl Fn(&Progress) -> bool, look: impl FnOnce(&Progress) -> T) -> T {
        let state = self.moved.wait_while(self.lock(), |progress| !enough(progress) && progress.end.is_none());
        look(&state.unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether a manifest came from here or from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Here,
    Upstream,
    /// The upstream could not be asked.
    Stale,
}

impl Upstreams {
    pub fn new(registry: Registry) -> Upstreams {
        Upstreams { registry, clients: Mutex::default(), asked: Mutex::default(), flights: Mutex::default() }
    }

    fn client(&self, rule: &CacheRule) -> Result<Arc<distribution::Registry>> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&rule.upstream) {
            return Ok(Arc::clone(client));
        }
        let plain = rule.upstream.strip_prefix("http://").map(str::to_owned);
        let config = distribution::RegistryConfig {
            insecure: plain.into_iter().collect(),
            max_download_attempts: 2,
            ..distribution::RegistryConfig::default()
        };
        let client = Arc::new(distribution::Registry::new(config).map_err(upstream)?);
        clients.insert(rule.upstream.clone(), Arc::clone(&client));
        Ok(client)
    }

    /// Makes sure that a manifest is here and, if it is a tag, not older than the rule allows. Waits for the network.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`]; [`Error::Upstream`] when the upstream cannot be asked and nothing is here.
    pub fn ensure_manifest(
        &self,
        rule: &CacheRule,
        name: &Name,
        there: &Name,
        reference: &Reference,
    ) -> Result<Source> {
        let repository = self.registry.repository(name).ok();
        let here = repository.as_ref().is_some_and(|repository| match reference {
            Reference::Tag(tag) => repository.tagged(tag).is_some(),
            Reference::Digest(digest) => repository.entry(digest).is_some(),
        });
        match reference {
            Reference::Digest(_) if here => return Ok(Source::Here),
            Reference::Tag(tag) if here && self.is_fresh(rule, name, tag) => return Ok(Source::Here),
            _ => {}
        }
        match self.fetch_manifest(rule, name, there, reference) {
            Ok(()) => {
                if let Reference::Tag(tag) = reference {
                    self.note(name, tag);
                }
                Ok(Source::Upstream)
            }
            Err(error) if here => {
                tracing::warn!(repository = %name, %reference, %error, "the upstream does not answer; what is here is served");
                Ok(Source::Stale)
            }
            Err(error) => Err(error),
        }
    }

    fn is_fresh(&self, rule: &CacheRule, name: &Name, tag: &Tag) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.get(&(name.clone(), tag.clone())).is_some_and(|at| at.elapsed() < rule.fresh)
    }

    fn note(&self, name: &Name, tag: &Tag) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() >= REMEMBERED {
            asked.clear();
        }
        asked.insert((name.clone(), tag.clone()), Instant::now());
    }

    fn fetch_manifest(&self, rule: &CacheRule, name: &Name, there: &Name, reference: &Reference) -> Result<()> {
        let client = self.client(rule)?;
        let raw = distribution::raw_manifest(
            &client,
            &image(rule, there)?,
            &reference.to_string(),
            credentials(rule),
            &AtomicBool::new(false),
        )
        .map_err(|error| match error {
            distribution::Error::NotFound { .. } => Error::ManifestUnknown { reference: reference.to_string() },
            error => upstream(error),
        })?;
        let options = PushOptions { sparse: true, immutable: None };
        self.registry.push_manifest(name, reference, &[], Some(&raw.media_type), &raw.bytes, &options)?;
        Ok(())
    }

    /// A transfer of a blob that is not here: begun now, or joined.
    pub fn fly(self: &Arc<Self>, rule: &CacheRule, name: &Name, there: &Name, digest: &Digest) -> Result<Arc<Flight>> {
        let key = (name.clone(), *digest);
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&key) {
            return Ok(Arc::clone(flight));
        }
        let flight = Arc::new(Flight::default());
        let (upstreams, rule, there, digest) = (Arc::clone(self), rule.clone(), there.clone(), *digest);
        let (under, work) = (Arc::clone(&flight), key.clone());
        std::thread::Builder::new()
            .name("upstream".to_owned())
            .stack_size(512 << 10)
            .spawn(move || {
                let result = upstreams.transfer(&rule, &work.0, &there, &digest, &under);
                upstreams.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&work);
                let unknown = matches!(result, Err(Error::BlobUnknown { .. }));
                let end = result.map_err(|error| error.to_string());
                if let Err(error) = &end {
                    tracing::warn!(repository = %work.0, %digest, error, "a blob could not be fetched");
                }
                under.update(|progress| (progress.unknown, progress.end) = (unknown, Some(end)));
            })
            .map_err(Error::io("start a thread for", self.registry.root()))?;
        flights.insert(key, Arc::clone(&flight));
        Ok(flight)
    }

    fn transfer(&self, rule: &CacheRule, name: &Name, there: &Name, digest: &Digest, flight: &Flight) -> Result<()> {
        let client = self.client(rule)?;
        // Begun when the upstream has it: what does not exist there leaves nothing here.
        let (upload, failed) = (RefCell::new(None), RefCell::new(None));
        let mut begun = |size: Option<u64>| {
            let begin = || {
                let new = self.registry.begin_upload(name, digest.algorithm())?;
                let file = Arc::new(new.reader()?);
                Ok((new, file))
            };
            match begin() {
                Ok((new, file)) => {
                    *upload.borrow_mut() = Some(new);
                    flight.update(|progress| (progress.file, progress.size) = (Some(file), size));
                }
                Err(error) => *failed.borrow_mut() = Some(error),
            }
        };
        let mut target = Growing { upload: &upload, flight, failed: &failed };
        let fetched = distribution::raw_blob(
            &client,
            &image(rule, there)?,
            &digest.to_string(),
            credentials(rule),
            &AtomicBool::new(false),
            &mut begun,
            &mut target,
        );
        let fetched = match (fetched, failed.into_inner()) {
            (_, Some(error)) => Err(error),
            (Err(distribution::Error::NotFound { .. }), _) => Err(Error::BlobUnknown { digest: Box::new(*digest) }),
            (Err(error), _) => Err(upstream(error)),
            (Ok(()), None) => Ok(()),
        };
        match (fetched, upload.into_inner()) {
            (Ok(()), Some(upload)) => upload.finish(digest).map(drop),
            (Ok(()), None) => Err(Error::BlobUnknown { digest: Box::new(*digest) }),
            (Err(error), upload) => {
                if let Some(upload) = upload {
                    upload.cancel()?;
                }
                Err(error)
            }
        }
    }
}

/// The upload as a sink that tells how far it is.
struct Growing<'a> {
    upload: &'a RefCell<Option<Upload>>,
    flight: &'a Flight,
    failed: &'a RefCell<Option<Error>>,
}

impl Write for Growing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut upload = self.upload.borrow_mut();
        let Some(upload) = upload.as_mut() else { return Err(io::Error::other("the upload could not begin")) };
        match upload.write(bytes) {
            Ok(()) => {
                let written = upload.offset();
                self.flight.update(|progress| progress.written = written);
                Ok(bytes.len())
            }
            Err(error) => {
                let messenger = io::Error::other(error.to_string());
                *self.failed.borrow_mut() = Some(error);
                Err(messenger)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn image(rule: &CacheRule, there: &Name) -> Result<ImageReference> {
    let host = rule.upstream.strip_prefix("http://").unwrap_or(&rule.upstream);
    ImageReference::parse(&format!("{host}/{there}")).map_err(|_| Error::NameInvalid { name: there.to_string() })
}

fn credentials(rule: &CacheRule) -> Option<AuthConfig> {
    let (user, password) = (rule.user.clone()?, rule.password.clone()?);
    Some(AuthConfig { username: user, password, ..AuthConfig::default() })
}

fn upstream(error: distribution::Error) -> Error {
    Error::Upstream(Box::new(error))
}
