//! What the registry has, and what it can take from another of its repositories.

use oci::Descriptor;

use super::Push;
use super::upload::Start;
use crate::session::{Request, To};
use crate::transport::{Method, Payload};
use crate::url::{Url, encode_query};
use crate::{Error, Result};

impl Push<'_> {
    fn attempts(&self) -> u32 {
        self.session.registry.config.max_download_attempts
    }

    /// Does the repository have this blob?
    pub(super) fn has(&self, blob: &Descriptor) -> Result<bool> {
        let path = format!("/v2/{}/blobs/{}", self.session.reference.path, blob.digest);
        let request = Request {
            method: Method::Head,
            to: To::Path(&path),
            headers: &[],
            payload: Payload::None,
            attempts: self.attempts(),
        };
        let reached = self.session.send(self.endpoint, request)?;
        match reached.answer.status().as_u16() {
            200..=299 => Ok(true),
            // Some registries forbid the look where they allow the upload.
            403..=405 => Ok(false),
            _ => Err(self.session.translate(Method::Head, &reached.url, reached.answer)),
        }
    }

    /// Asks for a mount from the first repository that will give one, else for a place to upload to.
    pub(super) fn start(&self, blob: &Descriptor, origins: &[String]) -> Result<Start> {
        for origin in origins {
            let query = format!("?mount={}&from={}", encode_query(&blob.digest.to_string()), encode_query(origin));
            let start = self.begin(&query)?;
            // A registry that could not mount has begun an upload instead; it is used when no other origin is left.
            match start {
                Start::Mounted(_) => return Ok(Start::Mounted(origin.clone())),
                Start::At(url) if Some(origin) == origins.last() => return Ok(Start::At(url)),
                Start::At(_) => {}
            }
        }
        self.begin("")
    }

    pub(super) fn begin(&self, query: &str) -> Result<Start> {
        let path = format!("/v2/{}/blobs/uploads/{query}", self.session.reference.path);
        let request = Request {
            method: Method::Post,
            to: To::Path(&path),
            headers: &[],
            payload: Payload::Bytes(&[]),
            attempts: self.attempts(),
        };
        let reached = self.session.send(self.endpoint, request)?;
        match reached.answer.status().as_u16() {
            201 => Ok(Start::Mounted(String::new())),
            202 => {
                let location = self.location(&reached.url, &reached.answer)?;
                Ok(Start::At(location))
            }
            _ => Err(self.session.translate(Method::Post, &reached.url, reached.answer)),
        }
    }

    /// Where the registry wants the next request of an upload.
    pub(super) fn location(&self, from: &Url, answer: &crate::session::Answer) -> Result<Url> {
        let text = answer.headers().get("Location").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let wrong =
            |detail: String| Error::Protocol { method: "Post", url: crate::session::without_query(from), detail };
        let mut url = match text {
            "" => return Err(wrong("no location for the upload".into())),
            text => from.join(text).ok_or_else(|| {
                wrong(format!("upload location that is not used: {:?}", crate::error::printable(text)))
            })?,
        };
        if from.scheme == crate::url::Scheme::Https && url.scheme == crate::url::Scheme::Http {
            // Registries behind a proxy that ends TLS know themselves by http; the way there is the same as before.
            if url.host() == from.host() && !self.endpoint.insecure {
                url = Url { scheme: from.scheme, authority: from.authority.clone(), ..url };
            } else if !self.endpoint.insecure {
                return Err(wrong(format!("refused to upload over http: {}", crate::session::without_query(&url))));
            }
        }
        Ok(url)
    }
}
