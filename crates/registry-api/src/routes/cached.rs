//! Repositories whose content is another's: copies of an upstream's, and the engine's images.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use registry::access::Action;
use registry::cache::{Flight, Source};
use registry::{Digest, EngineView, Error, Name, Reference};
use tokio::sync::mpsc;

use super::{blobs, manifests};
use crate::body::Body;
use crate::dispatch::{Answer, Call};
use crate::error::Failure;
use crate::reply::{self, Response, With};

/// Bytes that are read at once of a blob that still grows, and pieces that wait for the client.
const PIECE: usize = 128 << 10;
const QUEUE: usize = 2;

/// A manifest of a copied repository.
pub(crate) async fn manifest(call: &Call, name: Name, reference: Reference) -> Answer {
    let (shared, rules) = (Arc::clone(&call.shared), Arc::clone(&call.rules));
    let (asked, wanted) = (name.clone(), reference.clone());
    let source = call
        .blocking(move || match rules.cache_of(&asked) {
            Some((rule, there)) => shared.upstreams.ensure_manifest(rule, &asked, &there, &wanted),
            None => Err(Error::NameUnknown { name: asked.to_string() }),
        })
        .await?;
    count(call, source == Source::Here);
    let response = manifests::local(call, &name, &reference)?;
    Ok(match source {
        Source::Stale => response.with("Warning", "110 - \"the upstream registry does not answer\""),
        Source::Here | Source::Upstream => response,
    })
}

fn count(call: &Call, hit: bool) {
    let metrics = &call.shared.metrics;
    let counter = if hit { &metrics.cache_hits } else { &metrics.cache_misses };
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A blob of a copied repository: from here, or from there and here at once.
pub(crate) async fn blob(call: &Call, name: Name, digest: Digest) -> Answer {
    match blobs::local(call, &name, &digest) {
        Err(Error::BlobUnknown { .. }) => {}
        other => {
            count(call, true);
            return Ok(other?);
        }
    }
    count(call, false);
    let Some((rule, there)) = call.rules.cache_of(&name) else {
        return Err(Error::BlobUnknown { digest: Box::new(digest) }.into());
    };
    let flight = call.shared.upstreams.fly(rule, &name, &there, &digest)?;
    let turn = Arc::clone(&call.shared.followers).acquire_owned().await.expect("it is never closed");
    let waiting = Arc::clone(&flight);
    let begun = call
        .blocking(move || {
            Ok::<_, Failure>(waiting.wait(
                |progress| progress.file.is_some(),
                |progress| (progress.file.clone(), progress.size, progress.end.clone(), progress.unknown),
            ))
        })
        .await?;
    match begun {
        (_, _, _, true) => Err(Error::BlobUnknown { digest: Box::new(digest) }.into()),
        (_, _, Some(Err(reason)), _) => {
            Err(Failure::new(StatusCode::BAD_GATEWAY, "UNKNOWN", format!("upstream registry: {reason}")))
        }
        (Some(_), Some(size), None, _) if call.method == Method::HEAD => Ok(head(&digest, size)),
        // A piece of it, or a size that nobody knows: when all is here.
        (Some(file), Some(size), None, _) if call.header("range").is_none() => {
            let (sender, pieces) = mpsc::channel(QUEUE);
            tokio::task::spawn_blocking(move || {
                let _turn = turn;
                follow(&flight, &file, size, &sender);
            });
            let mut response = head(&digest, size);
            *response.body_mut() = Body::Stream { pieces, left: size };
            Ok(response)
        }
        _ => {
            call.blocking(move || {
                flight.wait(|_| false, |progress| progress.end.clone().unwrap_or(Ok(()))).map_err(|reason| {
                    Failure::new(StatusCode::BAD_GATEWAY, "UNKNOWN", format!("upstream registry: {reason}"))
                })
            })
            .await?;
            Ok(blobs::local(call, &name, &digest)?)
        }
    }
}

fn head(digest: &Digest, size: u64) -> Response {
    reply::empty(StatusCode::OK)
        .with("Content-Type", "application/octet-stream")
        .with("Docker-Content-Digest", &digest.to_string())
        .with("ETag", &format!("\"{digest}\""))
        .with("Content-Length", &size.to_string())
}

/// Reads a file while it grows. The last piece waits for the digest: what turns out to be wrong is never whole.
fn follow(flight: &Flight, file: &std::fs::File, size: u64, sender: &mpsc::Sender<io::Result<Bytes>>) {
    let mut at = 0;
    while at < size {
        let held_back = size - 1;
        let (written, end) = flight
            .wait(|progress| progress.written.min(held_back) > at, |progress| (progress.written, progress.end.clone()));
        let until = match end {
            Some(Ok(())) => size,
            Some(Err(reason)) => {
                let _ = sender.blocking_send(Err(io::Error::other(reason)));
                return;
            }
            None => written.min(held_back),
        };
        while at < until {
            let want = PIECE.min(usize::try_from(until - at).unwrap_or(PIECE));
            let mut piece = vec![0; want];
            let read = file.read_exact_at(&mut piece, at).map(|()| Bytes::from(piece));
            at += want as u64;
            if sender.blocking_send(read).is_err() {
                // The client went; the transfer goes on for the next one.
                return;
            }
        }
    }
}

/// The engine's store as it is now.
fn view(call: &Call) -> Result<Option<EngineView>, Error> {
    call.shared.settings.engine.as_deref().map(EngineView::open).transpose()
}

fn logged<T>(result: Result<T, Error>) -> Option<T> {
    result.inspect_err(|error| tracing::warn!(%error, "cannot read the engine's store")).ok()
}

/// Names of the engine's images.
pub(crate) fn engine_names(call: &Call) -> Vec<Name> {
    logged(view(call).and_then(|view| view.map_or(Ok(Vec::new()), |view| view.names()))).unwrap_or_default()
}

/// Tags that the engine has of one name.
pub(crate) fn engine_tags(call: &Call, name: &Name) -> Option<Vec<String>> {
    logged(view(call).and_then(|view| view.map_or(Ok(None), |view| view.tags_of(name)))).flatten()
}

/// A manifest of the engine's.
pub(crate) async fn engine_manifest(call: &Call, name: Name, reference: Reference) -> Answer {
    let unknown = Error::ManifestUnknown { reference: reference.to_string() };
    let Some(root) = call.shared.settings.engine.clone() else { return Err(unknown.into()) };
    let found = call.blocking(move || EngineView::open(&root)?.manifest(&name, &reference)).await?;
    let (digest, media_type, bytes) = found.ok_or(unknown)?;
    Ok(manifests::head(reply::bytes(StatusCode::OK, &media_type, bytes), &digest))
}

/// A blob of the engine's. One who may push to the repository is given it as his own: a push from the engine finds
/// everything there and copies nothing.
pub(crate) async fn engine_blob(call: &Call, name: Name, digest: Digest) -> Answer {
    let unknown = Error::BlobUnknown { digest: Box::new(digest) };
    let Some(root) = call.shared.settings.engine.clone() else { return Err(unknown.into()) };
    if call.method == Method::HEAD && !call.shared.settings.read_only && call.may(&name, Action::Push) {
        let (registry, target) = (call.shared.registry.clone(), name.clone());
        let (rules, identity) = (call.rules.clone(), call.identity.clone());
        let may_read = move |name: &Name| identity.may(&rules, name, Action::Pull);
        if call.blocking(move || registry.mount_from_engine(&target, &digest, may_read)).await? {
            return Ok(blobs::local(call, &name, &digest)?);
        }
    }
    let found = call.blocking(move || EngineView::open(&root)?.blob(&name, &digest)).await?;
    let (file, size) = found.ok_or(unknown)?;
    if call.method == Method::HEAD {
        return Ok(head(&digest, size));
    }
    Ok(blobs::send(call, &digest, file, size))
}
