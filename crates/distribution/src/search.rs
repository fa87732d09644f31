//! `docker search`: the v1 search API, which docker.io and some registries have, and the catalogue for those that have not.

use std::sync::atomic::AtomicBool;

use oci::Reference;
use oci::reference::DEFAULT_DOMAIN;
use serde::Deserialize;

use crate::auth::AuthConfig;
use crate::endpoint::Endpoint;
use crate::pull::watched;
use crate::registry::Registry;
use crate::session::{Purpose, Session};
use crate::tags::{pages, read};
use crate::url::encode_query;
use crate::{Error, Result};

/// Where docker.io is searched.
const DEFAULT_INDEX: &str = "index.docker.io";
/// Largest answer, in bytes.
const ANSWER_LIMIT: u64 = 4 << 20;

/// One repository that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// How many like it.
    pub star_count: i64,
    /// Of docker.io's own.
    pub is_official: bool,
    /// Built by docker.io; not in use any more.
    pub is_automated: bool,
}

/// Searches for `term`, which may begin with a registry (`host:5000/term`). At most `limit` results.
pub fn search(
    registry: &Registry,
    term: &str,
    limit: usize,
    auth: Option<AuthConfig>,
    cancel: &AtomicBool,
) -> Result<Vec<Found>> {
    let (domain, words) = split_term(term);
    let reference = Reference { domain: domain.to_owned(), path: words.to_owned(), tag: None, digest: None };
    let mut session = Session::new(registry, &reference, auth, Purpose::Look, cancel);
    session.scopes.push("registry:catalog:*".to_owned());
    let mut endpoint = registry.push_endpoint(&reference)?;
    if domain == DEFAULT_DOMAIN {
        endpoint.authority = DEFAULT_INDEX.to_owned();
    }
    let found = watched(&session, || match by_index(&session, &endpoint, words, limit) {
        Err(Error::Status { .. } | Error::Protocol { .. }) if domain != DEFAULT_DOMAIN => {
            by_catalogue(&session, &endpoint, words, limit)
        }
        result => result,
    })?;
    Ok(found
        .into_iter()
        .take(limit)
        .map(|one| Found {
            name: crate::error::printable(&one.name),
            description: one.description.as_deref().map(crate::error::printable),
            ..one
        })
        .collect())
}

fn by_index(session: &Session<'_>, endpoint: &Endpoint, words: &str, limit: usize) -> Result<Vec<Found>> {
    #[derive(Deserialize)]
    struct Results {
        #[serde(default)]
        results: Vec<Found>,
    }
    let path = format!("/v1/search?q={}&n={limit}", encode_query(words));
    let answer = session.get(endpoint, &path, &[("X-Docker-Token", "true".to_owned())])?;
    let wrong =
        |detail: String| Error::Protocol { method: "Get", url: format!("{}/v1/search", endpoint.authority), detail };
    let bytes = read(answer, ANSWER_LIMIT).map_err(|error| wrong(error.to_string()))?;
    let results: Results =
        serde_json::from_slice(&bytes).map_err(|error| wrong(crate::error::printable(&error.to_string())))?;
    Ok(results.results)
}

/// Names that contain the words; a registry that keeps its catalogue to itself is searched in vain, and says so.
fn by_catalogue(session: &Session<'_>, endpoint: &Endpoint, words: &str, limit: usize) -> Result<Vec<Found>> {
    #[derive(Deserialize)]
    struct Page {
        #[serde(default)]
        repositories: Option<Vec<String>>,
    }
    let names =
        pages(session, endpoint, "/v2/_catalog?n=1000".to_owned(), |page: Page| page.repositories.unwrap_or_default())?;
    let words = words.to_lowercase();
    let hits = names.into_iter().filter(|name| name.to_lowercase().contains(&words));
    Ok(hits.take(limit).map(|name| Found { name, ..Found::default() }).collect())
}

/// The registry and the words. Only what looks like a host is one, as in a reference.
fn split_term(term: &str) -> (&str, &str) {
    match term.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => match host {
            "docker.io" | "index.docker.io" => (DEFAULT_DOMAIN, rest.strip_prefix("library/").unwrap_or(rest)),
            host => (host, rest),
        },
        _ => (DEFAULT_DOMAIN, term.strip_prefix("library/").unwrap_or(term)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms() {
        for (term, expect) in [
            ("nginx", ("docker.io", "nginx")),
            ("user/app", ("docker.io", "user/app")),
            ("library/httpd", ("docker.io", "httpd")),
            ("docker.io/library/httpd", ("docker.io", "httpd")),
            ("localhost:5000/app", ("localhost:5000", "app")),
            ("r.example/a/b", ("r.example", "a/b")),
        ] {
            assert_eq!(split_term(term), expect, "{term}");
        }
    }
}
