//! Manifests: pulled, pushed, deleted.

use hyper::StatusCode;
use registry::access::Action;
use registry::{Digest, Error, MANIFEST_LIMIT, Name, PushOptions, Reference, Tag};

use super::{blobs, receive};
use crate::dispatch::{Answer, Call};
use crate::error::Failure;
use crate::reply::{self, Response, With};

/// Most tags of one push.
const TAGS: usize = 64;

/// `GET`, `HEAD /v2/<name>/manifests/<reference>`
pub(crate) async fn get(call: &Call, name: Name, reference: Reference) -> Answer {
    call.require(&name, Action::Pull)?;
    if call.rules.cache_of(&name).is_some() {
        return super::cached::manifest(call, name, reference).await;
    }
    match local(call, &name, &reference) {
        Ok(response) => Ok(response),
        Err(Error::ManifestUnknown { .. } | Error::NameUnknown { .. }) if call.shared.settings.engine.is_some() => {
            super::cached::engine_manifest(call, name, reference).await
        }
        Err(error) => Err(error.into()),
    }
}

/// From what is here.
pub(crate) fn local(call: &Call, name: &Name, reference: &Reference) -> Result<Response, Error> {
    let unknown = || Error::ManifestUnknown { reference: reference.to_string() };
    let repository = call.shared.registry.repository(name)?;
    let digest = match reference {
        Reference::Tag(tag) => repository.tagged(tag).ok_or_else(unknown)?,
        Reference::Digest(digest) => *digest,
    };
    let entry = repository.entry(&digest).ok_or_else(unknown)?;
    if call.header("if-none-match").is_some_and(|tags| blobs::etag_matches(tags, &digest)) {
        return Ok(head(reply::empty(StatusCode::NOT_MODIFIED), &digest));
    }
    let bytes = repository.read_manifest(&digest)?;
    Ok(head(reply::bytes(StatusCode::OK, &entry.media_type, bytes), &digest))
}

pub(crate) fn head(response: Response, digest: &Digest) -> Response {
    response.with("Docker-Content-Digest", &digest.to_string()).with("ETag", &format!("\"{digest}\""))
}

/// `PUT /v2/<name>/manifests/<reference>`, with more tags as `?tag=`.
pub(crate) async fn put(call: &mut Call, name: Name, reference: Reference) -> Answer {
    call.require(&name, Action::Push)?;
    if call.rules.cache_of(&name).is_some() {
        return Err(Failure::unsupported("this repository is a copy of another registry's"));
    }
    let tags: Vec<Tag> = call.query.all("tag").take(TAGS).map(Tag::parse).collect::<Result<_, _>>()?;
    if call.header("content-length").and_then(|text| text.parse::<u64>().ok()).is_some_and(|size| size > MANIFEST_LIMIT)
    {
        return Err(Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "MANIFEST_INVALID",
            format!("the manifest is larger than {MANIFEST_LIMIT} bytes"),
        ));
    }
    let Some(body) = call.body.take() else { return Err(Failure::unsupported("a manifest without a body")) };
    let bytes = receive::small(&call.shared, body, MANIFEST_LIMIT).await?;
    let content_type = call.header("content-type").map(str::to_owned);
    let (registry, rules) = (call.shared.registry.clone(), call.rules.clone());
    let (target, pushed_reference, more) = (name.clone(), reference.clone(), tags.clone());
    let pushed = call
        .blocking(move || {
            let immutable = |tag: &Tag| rules.is_immutable(&target, tag);
            let options = PushOptions { immutable: Some(&immutable), sparse: false };
            registry.push_manifest(&target, &pushed_reference, &more, content_type.as_deref(), &bytes, &options)
        })
        .await?;
    let mut response = reply::empty(StatusCode::CREATED)
        .with("Location", &format!("/v2/{name}/manifests/{reference}"))
        .with("Docker-Content-Digest", &pushed.digest.to_string());
    if let Some(subject) = pushed.subject {
        response = response.with("OCI-Subject", &subject.to_string());
    }
    for tag in tags {
        if let Ok(value) = tag.as_str().parse() {
            response.headers_mut().append("OCI-Tag", value);
        }
    }
    Ok(response)
}

/// `DELETE /v2/<name>/manifests/<reference>`
pub(crate) async fn delete(call: &Call, name: Name, reference: Reference) -> Answer {
    call.require(&name, Action::Delete)?;
    let (registry, rules) = (call.shared.registry.clone(), call.rules.clone());
    call.blocking(move || {
        let immutable = |tag: &Tag| rules.is_immutable(&name, tag);
        registry.delete_manifest(&name, &reference, &immutable)
    })
    .await?;
    Ok(reply::empty(StatusCode::ACCEPTED))
}
