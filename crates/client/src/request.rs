//! What is asked for: method, path, query, headers, body.

use std::io::Read;

use crate::query_escape;

/// What follows the head of a request.
pub enum Body<'a> {
    /// Nothing.
    Empty,
    /// A JSON document.
    Json(Vec<u8>),
    /// Bytes of unknown length with their media type, sent chunked.
    Stream(&'static str, &'a mut dyn Read),
}

/// One request; the path has no version in front.
pub struct Request<'a> {
    pub(crate) method: &'static str,
    path: String,
    query: Vec<(&'static str, String)>,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Body<'a>,
    versioned: bool,
}

impl<'a> Request<'a> {
    /// A request without body.
    pub fn new(method: &'static str, path: impl Into<String>) -> Request<'a> {
        Request {
            method,
            path: path.into(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Body::Empty,
            versioned: true,
        }
    }
    /// GET.
    pub fn get(path: impl Into<String>) -> Request<'a> {
        Request::new("GET", path)
    }
    /// POST.
    pub fn post(path: impl Into<String>) -> Request<'a> {
        Request::new("POST", path)
    }
    /// DELETE.
    pub fn delete(path: impl Into<String>) -> Request<'a> {
        Request::new("DELETE", path)
    }
    /// Adds a query parameter.
    #[must_use]
    pub fn query(mut self, key: &'static str, value: impl Into<String>) -> Request<'a> {
        self.query.push((key, value.into()));
        self
    }
    /// Adds a query parameter when there is a value.
    #[must_use]
    pub fn query_some(self, key: &'static str, value: Option<impl Into<String>>) -> Request<'a> {
        match value {
            Some(value) => self.query(key, value),
            None => self,
        }
    }
    /// Adds `key=1` when `on`.
    #[must_use]
    pub fn query_if(self, key: &'static str, on: bool) -> Request<'a> {
        if on { self.query(key, "1") } else { self }
    }
    /// Adds a header; names as on the wire.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Request<'a> {
        self.headers.push((name, value.into()));
        self
    }
    /// Sends a JSON document.
    #[must_use]
    pub fn json(mut self, value: &impl serde::Serialize) -> Request<'a> {
        // Serialising maps with string keys and plain structs into memory has no way to fail.
        self.body = Body::Json(serde_json::to_vec(value).unwrap_or_default());
        self
    }
    /// Streams a body.
    #[must_use]
    pub fn stream(mut self, media_type: &'static str, from: &'a mut dyn Read) -> Request<'a> {
        self.body = Body::Stream(media_type, from);
        self
    }
    /// Leaves the API version out of the path.
    #[must_use]
    pub fn unversioned(mut self) -> Request<'a> {
        self.versioned = false;
        self
    }

    /// Path and query as they are sent.
    pub(crate) fn target(&self, version: &str) -> String {
        let mut target = String::with_capacity(self.path.len() + 64);
        if self.versioned {
            target.push_str("/v");
            target.push_str(version);
        }
        target.push_str(&self.path);
        let mut pairs: Vec<&(&str, String)> = self.query.iter().collect();
        pairs.sort_by_key(|pair| pair.0);
        for (i, (key, value)) in pairs.into_iter().enumerate() {
            target.push(if i == 0 { '?' } else { '&' });
            target.push_str(&query_escape(key));
            target.push('=');
            target.push_str(&query_escape(value));
        }
        target
    }
}
