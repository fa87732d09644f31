//! Blobs: whole, in part, or only whether they are there.

use hyper::{Method, StatusCode};
use registry::access::Action;
use registry::range::{Wanted, parse_range};
use registry::{Digest, Error, Name};

use crate::body::Body;
use crate::dispatch::{Answer, Call};
use crate::reply::{self, Response, With};

/// Files up to this size travel with the head of their answer.
const SMALL: u64 = 32 << 10;

/// `GET`, `HEAD /v2/<name>/blobs/<digest>`
pub(crate) async fn get(call: &Call, name: Name, digest: Digest) -> Answer {
    call.require(&name, Action::Pull)?;
    if call.rules.cache_of(&name).is_some() {
        return super::cached::blob(call, name, digest).await;
    }
    match local(call, &name, &digest) {
        Ok(response) => Ok(response),
        Err(Error::BlobUnknown { .. } | Error::NameUnknown { .. }) if call.shared.settings.engine.is_some() => {
            super::cached::engine_blob(call, name, digest).await
        }
        Err(error) => Err(error.into()),
    }
}

/// From what is here.
pub(crate) fn local(call: &Call, name: &Name, digest: &Digest) -> Result<Response, Error> {
    let repository = call.shared.registry.repository(name).map_err(|error| match error {
        // Clients that push ask for blobs of a repository that is not there yet.
        Error::NameUnknown { .. } => Error::BlobUnknown { digest: Box::new(*digest) },
        other => other,
    })?;
    if call.method == Method::HEAD {
        let size = repository.touch(digest)?.ok_or(Error::BlobUnknown { digest: Box::new(*digest) })?;
        return Ok(head(digest, StatusCode::OK).with("Content-Length", &size.to_string()));
    }
    let (file, size) = repository.open_blob(digest)?;
    Ok(send(call, digest, file, size))
}

fn head(digest: &Digest, status: StatusCode) -> Response {
    reply::empty(status)
        .with("Content-Type", "application/octet-stream")
        .with("Docker-Content-Digest", &digest.to_string())
        .with("ETag", &format!("\"{digest}\""))
        .with("Accept-Ranges", "bytes")
        .with("Cache-Control", "max-age=31536000, immutable")
}

/// Does a list of entity tags have this one? (RFC 9110, section 13.1.2)
pub(crate) fn etag_matches(header: &str, digest: &Digest) -> bool {
    let tag = digest.to_string();
    header
        .split(',')
        .map(|one| one.trim().trim_start_matches("W/").trim_matches('"'))
        .any(|one| one == "*" || one == tag)
}

/// A file as the body of an answer, or what of it was asked for.
pub(crate) fn send(call: &Call, digest: &Digest, file: std::fs::File, size: u64) -> Response {
    if call.header("if-none-match").is_some_and(|tags| etag_matches(tags, digest)) {
        return head(digest, StatusCode::NOT_MODIFIED);
    }
    let same = call.header("if-range").is_none_or(|tag| etag_matches(tag, digest));
    let wanted = call.header("range").filter(|_| same).map_or(Wanted::Whole, |range| parse_range(range, size));
    let (status, first, length) = match wanted {
        Wanted::Whole => (StatusCode::OK, 0, size),
        Wanted::Part { first, last } => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Wanted::Unsatisfiable => {
            let failure = crate::error::Failure::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "SIZE_INVALID",
                format!("the blob has {size} bytes"),
            );
            return failure.with("Content-Range", format!("bytes */{size}")).into_response();
        }
    };
    let mut response = head(digest, status);
    if status == StatusCode::PARTIAL_CONTENT {
        response = response.with("Content-Range", &format!("bytes {first}-{}/{size}", first + length - 1));
    }
    *response.body_mut() = body(call, file, first, length);
    response
}

fn body(call: &Call, file: std::fs::File, first: u64, length: u64) -> Body {
    if length <= SMALL {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        if std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, first).is_ok() {
            return Body::Bytes(bytes.into());
        }
    }
    Body::file(&call.peer.queue, file, first, length)
}

/// `DELETE /v2/<name>/blobs/<digest>`
pub(crate) async fn delete(call: &Call, name: Name, digest: Digest) -> Answer {
    call.require(&name, Action::Delete)?;
    let registry = call.shared.registry.clone();
    call.blocking(move || registry.delete_blob(&name, &digest)).await?;
    Ok(reply::empty(StatusCode::ACCEPTED))
}
