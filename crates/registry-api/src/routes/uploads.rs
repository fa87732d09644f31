//! Pushing blobs (distribution-spec, "Pushing Blobs").

use std::time::Duration;

use hyper::StatusCode;
use registry::access::Action;
use registry::range::parse_content_range;
use registry::{Algorithm, Digest, Error, Name, Upload};

use super::receive;
use crate::dispatch::{Answer, Call};
use crate::error::Failure;
use crate::reply::{self, Response, With};

/// How long a request waits for another that has the upload: one whose connection broke lets go soon.
const PATIENCE: Duration = Duration::from_secs(5);

fn location(name: &Name, upload: &Upload) -> String {
    format!("/v2/{name}/blobs/uploads/{}", upload.id())
}

/// The state of an upload in headers. Of an empty one too: there is no way to write a range of nothing.
fn state(status: StatusCode, name: &Name, upload: &Upload) -> Response {
    reply::empty(status)
        .with("Location", &location(name, upload))
        .with("Range", &format!("0-{}", upload.offset().saturating_sub(1)))
        .with("Docker-Upload-UUID", upload.id())
}

fn created(name: &Name, digest: &Digest) -> Response {
    reply::empty(StatusCode::CREATED)
        .with("Location", &format!("/v2/{name}/blobs/{digest}"))
        .with("Docker-Content-Digest", &digest.to_string())
}

async fn allowed(call: &Call, name: &Name) -> Result<(), Failure> {
    call.require(name, Action::Push)?;
    if call.rules.cache_of(name).is_some() {
        return Err(Failure::unsupported("this repository is a copy of another registry's"));
    }
    Ok(())
}

/// `POST /v2/<name>/blobs/uploads/`: with `mount`, with `digest` and the whole blob, or the begin of a session.
pub(crate) async fn begin(call: &mut Call, name: Name) -> Answer {
    allowed(call, &name).await?;
    if let Some(mount) = call.query.get("mount") {
        let digest = Digest::parse(mount)?;
        if mount_blob(call, &name, digest).await? {
            return Ok(created(&name, &digest));
        }
    }
    let digest = call.query.get("digest").map(Digest::parse).transpose()?;
    let algorithm = match (digest, call.query.get("digest-algorithm")) {
        (Some(digest), _) => digest.algorithm(),
        (None, Some(text)) => Algorithm::parse(text)?,
        (None, None) => Algorithm::Sha256,
    };
    let (registry, target) = (call.shared.registry.clone(), name.clone());
    let mut upload = call.blocking(move || registry.begin_upload(&target, algorithm)).await?;
    let Some(digest) = digest else {
        return Ok(state(StatusCode::ACCEPTED, &name, &upload));
    };
    if let Some(body) = call.body.take()
        && let Err(failure) = receive::into_upload(&call.shared, body, &mut upload, None).await
    {
        // Nobody knows its address.
        let _ = call.blocking(move || upload.cancel()).await;
        return Err(failure);
    }
    call.blocking(move || upload.finish(&digest)).await?;
    Ok(created(&name, &digest))
}

/// From another repository that the caller may read; the engine's store, if there is one beside.
async fn mount_blob(call: &Call, name: &Name, digest: Digest) -> Result<bool, Failure> {
    let registry = call.shared.registry.clone();
    let target = name.clone();
    let from = call.query.get("from").map(Name::parse).transpose()?;
    if from.as_ref().is_some_and(|from| !call.may(from, Action::Pull)) {
        return Ok(false);
    }
    let (rules, identity) = (call.rules.clone(), call.identity.clone());
    call.blocking(move || {
        let may_read = |name: &Name| identity.may(&rules, name, Action::Pull);
        let mounted = match &from {
            Some(from) => registry.mount(&target, from, &digest)?,
            None => registry.mount_from_any(&target, &digest, may_read)?,
        };
        Ok::<_, Error>(mounted || registry.mount_from_engine(&target, &digest, may_read)?)
    })
    .await
}

async fn take(call: &Call, name: &Name, id: &str) -> Result<Upload, Failure> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let (registry, name, id) = (call.shared.registry.clone(), name.clone(), id.to_owned());
        let taken = call.blocking(move || match registry.take_upload(&name, &id) {
            Err(Error::UploadBusy) => Ok(None),
            other => other.map(Some),
        });
        if let Some(upload) = taken.await? {
            return Ok(upload);
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(Error::UploadBusy.into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// `GET /v2/<name>/blobs/uploads/<id>`
pub(crate) async fn status(call: &Call, name: Name, id: String) -> Answer {
    call.require(&name, Action::Push)?;
    let upload = take(call, &name, &id).await?;
    Ok(state(StatusCode::NO_CONTENT, &name, &upload))
}

/// `DELETE /v2/<name>/blobs/uploads/<id>`
pub(crate) async fn cancel(call: &Call, name: Name, id: String) -> Answer {
    call.require(&name, Action::Push)?;
    let upload = take(call, &name, &id).await?;
    call.blocking(move || upload.cancel()).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// Appends the request's body, which must be what its `Content-Range` and `Content-Length` say.
async fn append(call: &mut Call, name: &Name, mut upload: Upload) -> Result<Upload, Failure> {
    let begun = upload.offset();
    let invalid = |detail: &str| Failure::from(Error::UploadInvalid { detail: detail.to_owned() });
    let mut announced = None;
    if let Some(header) = call.header("content-range") {
        let (first, last) =
            parse_content_range(header).ok_or_else(|| invalid("Content-Range is not <first>-<last>"))?;
        if first != begun {
            let failure = Failure::from(Error::RangeInvalid { offset: begun });
            return Err(failure
                .with("Range", format!("0-{}", begun.saturating_sub(1)))
                .with("Location", location(name, &upload)));
        }
        let length = last - first + 1;
        let declared = call.header("content-length").and_then(|text| text.parse::<u64>().ok());
        if let Some(declared) = declared
            && declared != length
        {
            return Err(Error::SizeInvalid { expected: length, actual: declared }.into());
        }
        announced = Some(length);
    }
    let Some(body) = call.body.take() else { return Ok(upload) };
    let received = match receive::into_upload(&call.shared, body, &mut upload, announced).await {
        Ok(received) => received,
        Err(failure) if failure.code == "SIZE_INVALID" => {
            call.blocking(move || upload.rewind(begun)).await?;
            return Err(failure);
        }
        Err(failure) => return Err(failure),
    };
    if let Some(expected) = announced
        && received != expected
    {
        call.blocking(move || upload.rewind(begun)).await?;
        return Err(Error::SizeInvalid { expected, actual: received }.into());
    }
    Ok(upload)
}

/// `PATCH /v2/<name>/blobs/uploads/<id>`: the next piece.
pub(crate) async fn patch(call: &mut Call, name: Name, id: String) -> Answer {
    allowed(call, &name).await?;
    let upload = take(call, &name, &id).await?;
    let upload = append(call, &name, upload).await?;
    Ok(state(StatusCode::ACCEPTED, &name, &upload))
}

/// `PUT /v2/<name>/blobs/uploads/<id>?digest=<digest>`: perhaps a last piece, and the end.
pub(crate) async fn put(call: &mut Call, name: Name, id: String) -> Answer {
    allowed(call, &name).await?;
    let missing = || Error::DigestInvalid { detail: "the parameter digest is missing".to_owned() };
    let digest = Digest::parse(call.query.get("digest").ok_or_else(missing)?)?;
    let upload = take(call, &name, &id).await?;
    let upload = append(call, &name, upload).await?;
    call.blocking(move || upload.finish(&digest)).await?;
    Ok(created(&name, &digest))
}
