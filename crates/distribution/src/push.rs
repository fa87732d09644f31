//! The story of a push: look what the image is made of, bring what the registry lacks, then name it.
//!
//! ```text
//!  plan ── the manifest it was pulled by, or a new one
//!   │
//!   ▼ per layer, five at a time
//!  HEAD blob ─▶ there: "Layer already exists"      by the image's manifest, or as the layer was pulled or pushed before
//!   │  POST ?mount=…&from=…      ─▶ 201: "Mounted from …"
//!   │  the blob as it was pulled, or the layer's tar compressed anew and sent meanwhile (same bytes every time; kept
//!   │  for the next push)
//!   ▼
//!  POST ─▶ PATCH … (resumed after a cut) ─▶ PUT ?digest=
//!   ▼
//!  config, manifest under its tag; then the image is known by that digest here too
//! ```

mod blob;
mod documents;
mod early;
mod layer;
mod plan;
mod upload;

pub use documents::{Documents, push_documents};

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use oci::{Descriptor, Digest, Manifest, Reference, media_type};
use store::{ImageRecord, Store};

use crate::auth::AuthConfig;
use crate::endpoint::Endpoint;
use crate::manifest::Document;
use crate::progress::{Progress, Sink};
use crate::pull::watched;
use crate::registry::Registry;
use crate::session::{Purpose, Request, Session, To, without_query};
use crate::transport::{Method, Payload};
use crate::work;
use crate::{Error, Result};

use plan::{Job, Plan};

/// What a push made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The tag, or empty.
    pub tag: String,
    /// Digest of the manifest or index.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// Pushes an image of the store under `reference`. With `whole`, an index goes along with all its images if every one of
/// them is here.
///
/// `progress` is called from several threads, one call at a time for one layer. Once `cancel` is true the push ends soon
/// with [`Error::Cancelled`].
#[expect(clippy::too_many_arguments, reason = "a push has these parts, as a pull has")]
pub fn push(
    registry: &Registry,
    store: &Store,
    image: &ImageRecord,
    reference: &Reference,
    whole: bool,
    auth: Option<AuthConfig>,
    progress: &(dyn Fn(Progress) + Sync),
    cancel: &AtomicBool,
) -> Result<Pushed> {
    let reference = reference.with_default_tag();
    let mut session = Session::new(registry, &reference, auth, Purpose::Push, cancel);
    // Before the first look, so that nothing disappears between looking and sending.
    let _lease = store.lease();
    let plan = Plan::make(store, image, &reference, whole, registry.config.push_compression)?;
    session.scopes.extend(plan.origins().map(|path| format!("repository:{path}:pull")));
    let endpoint = registry.push_endpoint(&reference)?;
    let push = Push { session: &session, store, endpoint: &endpoint, progress, built: Mutex::default() };
    match watched(&session, || push.run(image, &plan)) {
        Err(_) if session.is_cancelled() => Err(Error::Cancelled),
        // Docker shows a refusal's words without the address.
        Err(Error::Unauthorized { detail, .. }) => Err(Error::Refused { detail }),
        result => result,
    }
}

struct Push<'a> {
    session: &'a Session<'a>,
    store: &'a Store,
    endpoint: &'a Endpoint,
    progress: Sink<'a>,
    /// What the layers of a new manifest became, by diff id.
    built: Mutex<Vec<(Digest, Descriptor)>>,
}

impl Push<'_> {
    fn run(&self, image: &ImageRecord, plan: &Plan) -> Result<Pushed> {
        self.bring(&plan.jobs)?;
        for config in &plan.configs {
            self.small(config)?;
        }
        let (top, below) = self.documents(image, plan)?;
        let pushed = self.name(&top, &below)?;
        self.record(image, &top, &below)?;
        Ok(pushed)
    }

    /// Brings the layers, a few at a time.
    fn bring(&self, jobs: &[Job]) -> Result<()> {
        for job in jobs {
            (self.progress)(Progress::new(Some(job.id()), "Preparing"));
        }
        let at_once = self.session.registry.config.max_concurrent_uploads.max(1);
        for job in jobs.iter().skip(at_once) {
            (self.progress)(Progress::new(Some(job.id()), "Waiting"));
        }
        let brought = work::all(self.session, jobs, at_once, "push-layer", |job: &Job| {
            let descriptor = self.layer(job)?;
            if let Some(diff_id) = job.diff_id {
                self.built.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((diff_id, descriptor));
            }
            Ok(())
        });
        // Those that are there stay there, however the push ends.
        self.remember()?;
        brought
    }

    /// Puts manifests: those below by their digests, the top under the reference's name.
    fn name(&self, top: &Document, below: &[Document]) -> Result<Pushed> {
        for document in below {
            self.put_manifest(document, &document.descriptor.digest.to_string())?;
        }
        let tag = self.session.reference.tag.clone().unwrap_or_default();
        let name = if tag.is_empty() { top.descriptor.digest.to_string() } else { tag.clone() };
        self.put_manifest(top, &name)?;
        let Descriptor { digest, size, .. } = top.descriptor;
        (self.progress)(Progress::new(None, format!("{name}: digest: {digest} size: {size}")));
        Ok(Pushed { tag, digest, size })
    }

    /// For the next push of these layers.
    fn remember(&self) -> Result<()> {
        let mut layers = self.built.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        layers.retain(|(_, blob)| !media_type::is_foreign_layer(&blob.media_type));
        self.store.images().remember_compressed(&self.session.reference.name(), &layers)?;
        Ok(())
    }

    /// What is put under the name, and what has to be there before: the documents it was pulled by as long as they are
    /// true, or a new manifest.
    fn documents(&self, image: &ImageRecord, plan: &Plan) -> Result<(Document, Vec<Document>)> {
        let built = self.built.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let unchanged = plan.jobs.iter().all(|job| match (&job.known, job.diff_id) {
            (Some(known), Some(diff_id)) => {
                built.iter().any(|(built, is)| *built == diff_id && is.digest == known.digest)
            }
            (Some(_), None) => true,
            (None, _) => false,
        });
        if unchanged && let Some((top, below)) = plan.documents.clone() {
            return Ok((top, below));
        }
        let layers = image
            .layers
            .iter()
            .filter_map(|diff_id| built.iter().find(|(built, _)| built == diff_id).map(|(_, is)| is.clone()))
            .collect::<Vec<_>>();
        let config = Descriptor::of(media_type::DOCKER_CONFIG, &image.raw_config);
        // zstd has no Docker type that registries know.
        let oci = layers.iter().any(|layer| layer.media_type == media_type::OCI_LAYER_ZSTD);
        let manifest = if oci {
            Manifest::oci(
                Descriptor { media_type: media_type::OCI_CONFIG.into(), ..config },
                layers.into_iter().map(plan::as_oci).collect(),
            )
        } else {
            Manifest::docker(config, layers.into_iter().map(plan::as_docker).collect())
        };
        let bytes = serde_json::to_vec(&manifest).map_err(|error| Error::Manifest { detail: error.to_string() })?;
        let descriptor = Descriptor::of(manifest.media_type.clone(), &bytes);
        Ok((Document { descriptor, bytes }, Vec::new()))
    }

    fn put_manifest(&self, document: &Document, name: &str) -> Result<()> {
        let path = format!("/v2/{}/manifests/{name}", self.session.reference.path);
        let headers = [("Content-Type", document.descriptor.media_type.clone())];
        let request = Request {
            method: Method::Put,
            to: To::Path(&path),
            headers: &headers,
            payload: Payload::Bytes(&document.bytes),
            attempts: self.session.registry.config.max_download_attempts,
        };
        let reached = self.session.send(self.endpoint, request)?;
        if !reached.answer.status().is_success() {
            return Err(self.session.translate(Method::Put, &reached.url, reached.answer));
        }
        // A registry that says what it stored says the truth, or it stored something else.
        let stored = reached.answer.headers().get("Docker-Content-Digest").and_then(|value| value.to_str().ok());
        match stored.and_then(|text| Digest::parse(text).ok()) {
            Some(actual) if actual != document.descriptor.digest => Err(Error::Protocol {
                method: "Put",
                url: without_query(&reached.url),
                detail: format!("the registry stored {actual} in the place of {}", document.descriptor.digest),
            }),
            _ => Ok(()),
        }
    }

    /// The image is known by what was pushed from now on, as if it had been pulled by it.
    fn record(&self, image: &ImageRecord, top: &Document, below: &[Document]) -> Result<()> {
        let reference = self.session.reference;
        let content = self.store.content();
        let mut record = image.clone();
        record.repo_digests = vec![format!("{}@{}", reference.name(), top.descriptor.digest)];
        let is_new = !record.blobs.iter().any(|blob| blob.digest == top.descriptor.digest);
        if below.is_empty() && is_new {
            content.put(&top.bytes)?;
            content.put(&record.raw_config)?;
            let mut blobs = vec![top.descriptor.clone(), Descriptor::of(media_type::DOCKER_CONFIG, &record.raw_config)];
            let built = self.built.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            blobs.extend(built.iter().map(|(_, is)| is.clone()).filter(|blob| content.has(&blob.digest)));
            for blob in &record.blobs {
                if !blobs.iter().any(|other| other.digest == blob.digest) {
                    blobs.push(blob.clone());
                }
            }
            record.blobs = blobs;
            record.manifest = Some(top.descriptor.digest);
        }
        self.store.images().create(&record)?;
        Ok(())
    }
}
