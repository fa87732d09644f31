//! A file from the web, for `docker import URL`.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use oci::Reference;
use ureq::BodyReader;

use crate::registry::Registry;
use crate::session::{Ask, Purpose, Session, without_query};
use crate::transport::{Method, Payload};
use crate::url::Url;
use crate::{Error, Result};

/// A body while it comes; it ends with an error once it is cancelled or shorter than announced.
pub struct Download {
    body: BodyReader<'static>,
    left: Option<u64>,
    cancel: Arc<AtomicBool>,
}

/// Asks for an http or https address, without credentials; proxies and authorities are those for registries.
pub fn download(registry: &Registry, address: &str, cancel: &Arc<AtomicBool>) -> Result<Download> {
    let url = Url::parse(address).ok_or_else(|| Error::Option {
        option: "address",
        value: address.to_owned(),
        detail: "not an http or https address without user information".into(),
    })?;
    let reference = Reference { domain: url.authority.clone(), path: String::new(), tag: None, digest: None };
    let session = Session::new(registry, &reference, None, Purpose::Look, cancel);
    let ask = Ask {
        method: Method::Get,
        url: url.clone(),
        headers: Vec::new(),
        authorization: None,
        payload: Payload::None,
        insecure: registry.is_insecure(&url.authority),
    };
    let attempts = registry.config.max_download_attempts;
    let answer = session.exchange(&ask, attempts)?.map_err(|failure| failure.into_error(&session))?.answer;
    if !answer.status().is_success() {
        return Err(Error::Status {
            method: "Get",
            url: without_query(&url),
            status: answer.status().to_string(),
            detail: String::new(),
        });
    }
    let left = answer.body().content_length();
    Ok(Download { body: answer.into_body().into_reader(), left, cancel: Arc::clone(cancel) })
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download").field("left", &self.left).finish_non_exhaustive()
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(io::Error::other("context canceled"));
        }
        let count = self.body.read(buffer)?;
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(count as u64);
            if count == 0 && *left > 0 && !buffer.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(count)
    }
}
