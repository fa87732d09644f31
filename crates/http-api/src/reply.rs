//! Answers: a status with a document, a stream, or a connection that stops being HTTP.

use crate::takeover::Takeover;
use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::{Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

pub(crate) type Response = hyper::Response<Body>;

/// What a handler answers.
pub(crate) enum Reply {
    Response(Response),
    /// The rest of the connection belongs to a container's process.
    Takeover(Box<Takeover>),
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        Self::Response(response)
    }
}

/// What a handler gives back.
pub(crate) type Outcome = engine::Result<Reply>;

/// Body of an answer.
pub(crate) enum Body {
    /// Known from the start.
    Whole(Option<Bytes>),
    /// Comes bit by bit; chunked on the wire.
    Stream(Source),
    /// The same for content whose end matters: it may break off.
    Download(Download),
}

/// A download's source. Dropping it ends whoever fills it, since nobody takes the bytes any more.
pub(crate) struct Download {
    pub receiver: mpsc::Receiver<Result<Bytes, BrokeOff>>,
    /// Sent before what comes from the receiver.
    pub first: Option<Bytes>,
}

/// The source of a download failed after it had begun: the connection is cut, so that nobody takes what came for whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BrokeOff;

impl std::fmt::Display for BrokeOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the answer broke off")
    }
}

impl std::error::Error for BrokeOff {}

/// Where a streamed body comes from. Dropping it (the client is gone, or all was sent) runs its guard.
pub(crate) struct Source {
    pub receiver: mpsc::Receiver<Bytes>,
    /// Sent before what comes from the receiver.
    pub first: Option<Bytes>,
    pub _on_drop: OnDrop,
}

/// Runs when it is dropped.
#[derive(Default)]
pub(crate) struct OnDrop(Option<Box<dyn FnOnce() + Send>>);

impl OnDrop {
    pub fn new(action: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(action)))
    }
}

impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some(action) = self.0.take() {
            action();
        }
    }
}

impl Body {
    pub const fn empty() -> Self {
        Self::Whole(None)
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Whole(Some(Bytes::from(bytes)))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(source) => match source.first.take() {
                Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
                None => source.receiver.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
            },
            Self::Download(source) => match source.first.take() {
                Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
                None => source.receiver.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Stream(_) | Self::Download(_) => SizeHint::default(),
        }
    }
}

/// A document, as Go's encoder writes it: with a line feed at the end.
pub(crate) fn json(status: StatusCode, document: &impl Serialize) -> Response {
    let mut bytes = Vec::with_capacity(1024);
    if let Err(error) = serde_json::to_writer(&mut bytes, document) {
        // Only maps with keys that are not strings cannot be written, and there are none.
        tracing::error!("write a document: {error}");
    }
    bytes.push(b'\n');
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A document with 200.
pub(crate) fn ok(document: &impl Serialize) -> Outcome {
    Ok(json(StatusCode::OK, document).into())
}

/// A document with 201.
pub(crate) fn created(document: &impl Serialize) -> Outcome {
    Ok(json(StatusCode::CREATED, document).into())
}

/// A status alone.
pub(crate) fn status(status: StatusCode) -> Outcome {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    Ok(response.into())
}

/// 204: done.
pub(crate) fn no_content() -> Outcome {
    status(StatusCode::NO_CONTENT)
}

/// A streamed body with 200.
pub(crate) fn stream(media_type: &'static str, source: Source) -> Response {
    let mut response = Response::new(Body::Stream(source));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
