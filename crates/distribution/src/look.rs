//! A look at what a registry has under a name, without bringing it here; and manifests put there as they are.

use std::sync::atomic::AtomicBool;

use oci::{Descriptor, Digest, ImageConfig, Platform, Reference};

use crate::auth::AuthConfig;
use crate::blob::BlobReader;
use crate::manifest::{self, CONFIG_LIMIT, Kind};
use crate::pull::watched;
use crate::registry::Registry;
use crate::session::{Purpose, Request, Session, To};
use crate::transport::{Method, Payload};
use crate::{Error, Result};

/// A manifest or an index, and what it is for.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Its type, digest and size.
    pub descriptor: Descriptor,
    /// As the registry has it.
    pub bytes: Vec<u8>,
    /// An index's entries; empty for a manifest.
    pub entries: Vec<Descriptor>,
    /// The index's platforms, or the one of the image's configuration.
    pub platforms: Vec<Platform>,
}

/// Looks up what `reference` names, each document checked by its digest.
pub fn look(
    registry: &Registry,
    reference: &Reference,
    auth: Option<AuthConfig>,
    cancel: &AtomicBool,
) -> Result<Remote> {
    let reference = reference.with_default_tag();
    let session = Session::new(registry, &reference, auth, Purpose::Pull, cancel);
    let endpoints = registry.endpoints(&reference)?;
    let name = match reference.digest {
        Some(digest) => digest.to_string(),
        None => reference.tag_or_latest().to_owned(),
    };
    watched(&session, || {
        let mut last = Error::Cancelled;
        for (position, endpoint) in endpoints.iter().enumerate() {
            let fetched = manifest::fetch(&session, endpoint, &name, reference.digest, None);
            let mut document = match fetched {
                Ok(document) => document,
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            let (entries, platforms) = match manifest::read(&session, &mut document)? {
                Kind::Index(index) => {
                    let platforms = index.manifests.iter().filter_map(|entry| entry.platform.clone()).collect();
                    (index.manifests, platforms)
                }
                Kind::Manifest(manifest) => {
                    let platform = platform(&session, &endpoints[position..], &manifest.config)?;
                    (Vec::new(), platform.into_iter().collect())
                }
            };
            return Ok(Remote { descriptor: document.descriptor, bytes: document.bytes, entries, platforms });
        }
        Err(last)
    })
}

/// What a configuration says it runs on; artifacts that are no image say nothing.
fn platform(
    session: &Session<'_>,
    endpoints: &[crate::endpoint::Endpoint],
    config: &Descriptor,
) -> Result<Option<Platform>> {
    if !oci::media_type::is_config(&config.media_type) || config.size > CONFIG_LIMIT {
        return Ok(None);
    }
    let bytes = BlobReader::new(session, endpoints, config, "image config", &|_| {}).read_all()?;
    let config = ImageConfig::from_bytes(&bytes).map_err(|error| Error::Config { detail: error.to_string() })?;
    Ok(Some(config.platform()).filter(|platform| !platform.architecture.is_empty()))
}

/// Puts a manifest or an index under the name, after it mounted `blobs` (digest, path of a repository on the same
/// registry) that it needs. Gives its digest.
pub fn put(
    registry: &Registry,
    reference: &Reference,
    media_type: &str,
    bytes: &[u8],
    blobs: &[(Digest, String)],
    auth: Option<AuthConfig>,
    cancel: &AtomicBool,
) -> Result<Digest> {
    let reference = reference.with_default_tag();
    let mut session = Session::new(registry, &reference, auth, Purpose::Push, cancel);
    for (_, origin) in blobs {
        let scope = format!("repository:{origin}:pull");
        if !session.scopes.contains(&scope) {
            session.scopes.push(scope);
        }
    }
    let endpoint = registry.push_endpoint(&reference)?;
    let attempts = registry.config.max_download_attempts;
    let name = match (&reference.tag, reference.digest) {
        (Some(tag), _) => tag.clone(),
        (None, digest) => digest.unwrap_or_else(|| Digest::of(bytes)).to_string(),
    };
    watched(&session, || {
        for (digest, origin) in blobs {
            let head = format!("/v2/{}/blobs/{digest}", reference.path);
            let request =
                Request { method: Method::Head, to: To::Path(&head), headers: &[], payload: Payload::None, attempts };
            if session.send(&endpoint, request)?.answer.status().is_success() {
                continue;
            }
            let mount = format!("/v2/{}/blobs/uploads/?mount={digest}&from={origin}", reference.path);
            let payload = Payload::Bytes(&[]);
            let request = Request { method: Method::Post, to: To::Path(&mount), headers: &[], payload, attempts };
            let reached = session.send(&endpoint, request)?;
            if reached.answer.status().as_u16() != 201 {
                return Err(session.translate(Method::Post, &reached.url, reached.answer));
            }
        }
        let path = format!("/v2/{}/manifests/{name}", reference.path);
        let headers = [("Content-Type", media_type.to_owned())];
        let payload = Payload::Bytes(bytes);
        let request = Request { method: Method::Put, to: To::Path(&path), headers: &headers, payload, attempts };
        let reached = session.send(&endpoint, request)?;
        if !reached.answer.status().is_success() {
            return Err(session.translate(Method::Put, &reached.url, reached.answer));
        }
        Ok(Digest::of(bytes))
    })
}
