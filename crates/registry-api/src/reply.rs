//! Answers.

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use serde::Serialize;

use crate::body::Body;

pub(crate) type Response = hyper::Response<Body>;

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A document.
pub(crate) fn bytes(status: StatusCode, media_type: &str, bytes: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::Bytes(bytes.into()));
    *response.status_mut() = status;
    set(response.headers_mut(), CONTENT_TYPE.as_str(), media_type);
    response
}

/// A JSON document.
pub(crate) fn json(status: StatusCode, document: &impl Serialize) -> Response {
    let text = serde_json::to_vec(document).expect("answers are plain data");
    bytes(status, "application/json", text)
}

/// Sets a header; a value that cannot be one is left out.
pub(crate) fn set(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}

/// The same, in a chain.
pub(crate) trait With {
    fn with(self, name: &str, value: &str) -> Self;
}

impl With for Response {
    fn with(mut self, name: &str, value: &str) -> Response {
        set(self.headers_mut(), name, value);
        self
    }
}

/// A request's header as text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
