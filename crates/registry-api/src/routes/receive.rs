//! Bodies of requests.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Incoming;
use registry::Upload;

use crate::error::Failure;
use crate::server::Shared;

/// A body that did not come to its end: nobody is there to read it.
fn cut() -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID", "the body ended too early").with("Connection", "close")
}

async fn frame(body: &mut Incoming, idle: Duration) -> Result<Option<Bytes>, Failure> {
    loop {
        match tokio::time::timeout(idle, body.frame()).await {
            Err(_) => return Err(Failure::slow()),
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err(cut()),
            Ok(Some(Ok(frame))) => {
                // Trailers are nobody's business.
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// A whole body of at most `limit` bytes.
pub(crate) async fn small(shared: &Shared, mut body: Incoming, limit: u64) -> Result<Bytes, Failure> {
    let too_large = || {
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID", format!("the limit is {limit} bytes"))
            .with("Connection", "close")
    };
    let mut whole = BytesMut::new();
    while let Some(data) = frame(&mut body, shared.settings.idle).await? {
        if (whole.len() + data.len()) as u64 > limit {
            return Err(too_large());
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// Appends a body to an upload, at most `limit` bytes of it. What came before an error stays.
///
/// Hashing and writing to the page cache is done right here: to hand the bytes to another thread would cost more than
/// it saves, and there are more threads than processors for the moments when the disk makes a write wait.
pub(crate) async fn into_upload(
    shared: &Shared,
    mut body: Incoming,
    upload: &mut Upload,
    limit: Option<u64>,
) -> Result<u64, Failure> {
    let mut received = 0;
    while let Some(data) = frame(&mut body, shared.settings.idle).await? {
        received += data.len() as u64;
        if let Some(limit) = limit
            && received > limit
        {
            return Err(registry::Error::SizeInvalid { expected: limit, actual: received }.into());
        }
        upload.write(&data)?;
        shared.metrics.received.fetch_add(data.len() as u64, std::sync::atomic::Ordering::Relaxed);
    }
    Ok(received)
}
