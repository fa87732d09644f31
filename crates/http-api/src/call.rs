//! One request, as handlers see it.

use crate::query::Query;
use crate::version::Version;
use bytes::{Bytes, BytesMut};
use engine::{Engine, Error};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, UPGRADE};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// Largest document that a client may send.
pub(crate) const MAX_DOCUMENT: usize = 4 * 1024 * 1024;

/// A request on its way to a handler.
pub(crate) struct Call {
    pub engine: Arc<Engine>,
    pub builder: Arc<build::Builder>,
    pub buildkit: Arc<buildkit_api::Door>,
    pub version: Version,
    /// What the pattern's `{…}` stand for, in order.
    pub arguments: Vec<String>,
    pub query: Query,
    pub headers: HeaderMap,
    /// The document, for handlers that do not read the body themselves.
    pub body: Bytes,
    /// The body, for those that do.
    pub upload: Option<Incoming>,
}

impl Call {
    /// The first `{…}`.
    pub fn name(&self) -> &str {
        self.arguments.first().map_or("", String::as_str)
    }

    /// The document. Without one: its default.
    pub fn document<T: DeserializeOwned + Default>(&self) -> engine::Result<T> {
        if self.body.is_empty() {
            return Ok(T::default());
        }
        let media_type = self.headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"));
        let essence = media_type.map(|text| text.split(';').next().unwrap_or("").trim());
        if let Some(other) = essence.filter(|text| !text.eq_ignore_ascii_case("application/json")) {
            return Err(Error::invalid(format!(
                "unsupported Content-Type header ({other}): must be 'application/json'"
            )));
        }
        // A list would be taken for the fields in their order.
        if self.body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
            return Err(Error::invalid("invalid JSON: a list in the place of an object"));
        }
        serde_json::from_slice(&self.body).map_err(|error| Error::invalid(format!("invalid JSON: {error}")))
    }

    /// A document that has to be there.
    pub fn required<T: DeserializeOwned + Default>(&self) -> engine::Result<T> {
        if self.body.is_empty() {
            return Err(Error::invalid("invalid JSON: got EOF while reading request body"));
        }
        self.document()
    }

    /// Reads the body into [`Call::body`].
    pub async fn read_body(&mut self) -> engine::Result<()> {
        let Some(mut upload) = self.upload.take() else { return Ok(()) };
        let mut bytes = BytesMut::new();
        while let Some(frame) = upload.frame().await {
            let frame = frame.map_err(|error| Error::invalid(format!("read the request's body: {error}")))?;
            let Some(data) = frame.data_ref() else { continue };
            if bytes.len() + data.len() > MAX_DOCUMENT {
                return Err(Error::invalid(format!("the request's body is larger than {MAX_DOCUMENT} bytes")));
            }
            bytes.extend_from_slice(data);
        }
        self.body = bytes.freeze();
        Ok(())
    }

    /// The client wants the connection after the answer, and says so.
    pub fn wants_upgrade(&self) -> Option<&'static str> {
        self.headers.contains_key(UPGRADE).then_some("tcp")
    }
}
