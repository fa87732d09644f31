//! A push of layers under documents that somebody else makes: an index of several platforms, a build cache.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use oci::{Descriptor, Digest, Reference};
use store::Store;

use super::plan::{as_oci, jobs};
use super::{Push, Pushed};
use crate::auth::AuthConfig;
use crate::manifest::Document;
use crate::progress::Progress;
use crate::pull::watched;
use crate::registry::Registry;
use crate::session::{Purpose, Session};
use crate::{Error, Result};

/// What is pushed behind the layers: media types and bytes.
#[derive(Debug, Clone, Default)]
pub struct Documents {
    /// Configurations and the like.
    pub blobs: Vec<(String, Vec<u8>)>,
    /// Manifests, those that others name first. The last one gets the name.
    pub manifests: Vec<(String, Vec<u8>)>,
}

/// Pushes layers of the store, then what `make` says of them once it is known as which blob each of them is there.
///
/// `progress` is called from several threads, as in [`super::push`].
#[expect(clippy::too_many_arguments, reason = "a push has these parts")]
pub fn push_documents(
    registry: &Registry,
    store: &Store,
    layers: &[Digest],
    reference: &Reference,
    auth: Option<AuthConfig>,
    make: &(dyn Fn(&BTreeMap<Digest, Descriptor>) -> Documents + Sync),
    progress: &(dyn Fn(Progress) + Sync),
    cancel: &AtomicBool,
) -> Result<Pushed> {
    let reference = reference.with_default_tag();
    let mut session = Session::new(registry, &reference, auth, Purpose::Push, cancel);
    // Before the first look, so that nothing disappears between looking and sending.
    let _lease = store.lease();
    let jobs = jobs(store, &store.images().list()?, layers, None, &reference, registry.config.push_compression)?;
    let mut scopes: Vec<String> = jobs
        .iter()
        .flat_map(|job| job.origins.iter().chain(job.others.iter().flat_map(|(_, origins)| origins)))
        .map(|path| format!("repository:{path}:pull"))
        .collect();
    scopes.sort();
    scopes.dedup();
    session.scopes.extend(scopes);
    let endpoint = registry.push_endpoint(&reference)?;
    let push = Push { session: &session, store, endpoint: &endpoint, progress, built: Mutex::default() };
    let work = || {
        push.bring(&jobs)?;
        let built = push.built.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let built = built.iter().map(|(diff_id, blob)| (*diff_id, as_oci(blob.clone()))).collect();
        let documents = make(&built);
        let document =
            |(media_type, bytes): (String, Vec<u8>)| Document { descriptor: Descriptor::of(media_type, &bytes), bytes };
        for blob in documents.blobs {
            push.small(&document(blob))?;
        }
        let mut below: Vec<Document> = documents.manifests.into_iter().map(document).collect();
        let top = below.pop().ok_or_else(|| Error::Manifest { detail: "nothing to name".into() })?;
        push.name(&top, &below)
    };
    match watched(&session, work) {
        Err(_) if session.is_cancelled() => Err(Error::Cancelled),
        Err(Error::Unauthorized { detail, .. }) => Err(Error::Refused { detail }),
        result => result,
    }
}
