//! All tags of a repository, page by page.

use std::io::Read;
use std::sync::atomic::AtomicBool;

use oci::Reference;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::auth::AuthConfig;
use crate::endpoint::Endpoint;
use crate::pull::watched;
use crate::registry::Registry;
use crate::session::{Answer, Purpose, Session};
use crate::{Error, Result};

/// Largest page, in bytes.
const PAGE_LIMIT: u64 = 4 << 20;
/// Most entries of a list.
const LIMIT: usize = 100_000;

/// The tags of a repository, as the registry sorts them. What is no tag by the grammar is left out.
pub fn tags(
    registry: &Registry,
    reference: &Reference,
    auth: Option<AuthConfig>,
    cancel: &AtomicBool,
) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Page {
        #[serde(default)]
        tags: Option<Vec<String>>,
    }
    let session = Session::new(registry, reference, auth, Purpose::Pull, cancel);
    let endpoints = registry.endpoints(reference)?;
    watched(&session, || {
        let mut last = Error::Cancelled;
        for endpoint in &endpoints {
            let path = format!("/v2/{}/tags/list", reference.path);
            match pages(&session, endpoint, path, |page: Page| page.tags.unwrap_or_default()) {
                Ok(mut tags) => {
                    tags.retain(|tag| reference.with_tag(tag).is_some());
                    return Ok(tags);
                }
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(error) => last = error,
            }
        }
        Err(last)
    })
}

/// Follows `Link: <…>; rel="next"` to the end.
pub(crate) fn pages<P: DeserializeOwned>(
    session: &Session<'_>,
    endpoint: &Endpoint,
    first: String,
    entries: impl Fn(P) -> Vec<String>,
) -> Result<Vec<String>> {
    let mut path = first;
    let mut all = Vec::new();
    loop {
        let answer = session.get(endpoint, &path, &[])?;
        let wrong =
            |detail: String| Error::Protocol { method: "Get", url: format!("{}{path}", endpoint.authority), detail };
        let next = next_page(&answer);
        let page: P = serde_json::from_slice(&read(answer, PAGE_LIMIT).map_err(|error| wrong(error.to_string()))?)
            .map_err(|error| wrong(crate::error::printable(&error.to_string())))?;
        let some = entries(page);
        let progress = !some.is_empty();
        all.extend(some);
        if all.len() > LIMIT {
            return Err(wrong(format!("a list of more than {LIMIT} entries")));
        }
        match next.filter(|next| progress && *next != path) {
            Some(next) => path = next,
            None => return Ok(all),
        }
    }
}

/// The path of the next page. A link to another host is no page of this list.
fn next_page(answer: &Answer) -> Option<String> {
    let link = answer.headers().get("Link")?.to_str().ok()?;
    let (target, relation) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = relation.split(';').any(|part| matches!(part.trim(), "rel=\"next\"" | "rel=next"));
    let path = match target.find("://") {
        Some(scheme) => target[scheme + 3..].find('/').map(|slash| &target[scheme + 3 + slash..])?,
        None => target,
    };
    (is_next && path.starts_with("/v2/") && path.bytes().all(|byte| byte.is_ascii_graphic())).then(|| path.to_owned())
}

/// A whole answer of at most `limit` bytes.
pub(crate) fn read(answer: Answer, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    answer.into_body().into_reader().take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(std::io::Error::other(format!("more than {limit} bytes")));
    }
    Ok(bytes)
}
