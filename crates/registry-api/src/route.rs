//! From a method and a path to what is asked for.

use registry::{Digest, Error, Name, Reference};

use crate::query::decode;

/// A route with its values. Names and digests have been checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Route {
    Base,
    Catalog,
    Token,
    Search,
    SearchPing,
    Health,
    Metrics,
    /// `POST /v2/_hoist/gc`
    Collect,
    /// `GET /v2/_hoist/du`
    Usage,
    Uploads {
        name: Name,
    },
    Upload {
        name: Name,
        id: String,
    },
    Blob {
        name: Name,
        digest: Digest,
    },
    Manifest {
        name: Name,
        reference: Reference,
    },
    Tags {
        name: Name,
    },
    Referrers {
        name: Name,
        digest: Digest,
    },
}

/// Why there is none.
#[derive(Debug)]
pub(crate) enum Missing {
    NoRoute,
    Invalid(Error),
}

impl Route {
    pub fn find(path: &str) -> Result<Route, Missing> {
        match path {
            "/v2" | "/v2/" => return Ok(Route::Base),
            "/v2/_catalog" => return Ok(Route::Catalog),
            "/v2/_hoist/gc" => return Ok(Route::Collect),
            "/v2/_hoist/du" => return Ok(Route::Usage),
            "/v1/search" => return Ok(Route::Search),
            "/v1/_ping" => return Ok(Route::SearchPing),
            "/token" => return Ok(Route::Token),
            "/metrics" => return Ok(Route::Metrics),
            "/healthz" | "/health" => return Ok(Route::Health),
            _ => {}
        }
        let rest = path.strip_prefix("/v2/").ok_or(Missing::NoRoute)?;
        let name = |text: &str| Name::parse(text).map_err(Missing::Invalid);
        let digest = |text: &str| Digest::parse(&decode(text)).map_err(Missing::Invalid);
        if let Some(before) = rest.strip_suffix("/blobs/uploads/").or_else(|| rest.strip_suffix("/blobs/uploads")) {
            return Ok(Route::Uploads { name: name(before)? });
        }
        if let Some(before) = rest.strip_suffix("/tags/list") {
            return Ok(Route::Tags { name: name(before)? });
        }
        let (before, last) = rest.rsplit_once('/').ok_or(Missing::NoRoute)?;
        if let Some(before) = before.strip_suffix("/blobs/uploads") {
            return Ok(Route::Upload { name: name(before)?, id: last.to_owned() });
        }
        if let Some(before) = before.strip_suffix("/blobs") {
            return Ok(Route::Blob { name: name(before)?, digest: digest(last)? });
        }
        if let Some(before) = before.strip_suffix("/manifests") {
            let reference = Reference::parse(&decode(last)).map_err(Missing::Invalid)?;
            return Ok(Route::Manifest { name: name(before)?, reference });
        }
        if let Some(before) = before.strip_suffix("/referrers") {
            return Ok(Route::Referrers { name: name(before)?, digest: digest(last)? });
        }
        Err(Missing::NoRoute)
    }

    /// For metrics and the log.
    pub fn label(&self) -> &'static str {
        match self {
            Route::Base => "base",
            Route::Catalog => "catalog",
            Route::Token => "token",
            Route::Search | Route::SearchPing => "search",
            Route::Health => "health",
            Route::Metrics => "metrics",
            Route::Collect => "gc",
            Route::Usage => "du",
            Route::Uploads { .. } | Route::Upload { .. } => "upload",
            Route::Blob { .. } => "blob",
            Route::Manifest { .. } => "manifest",
            Route::Tags { .. } => "tags",
            Route::Referrers { .. } => "referrers",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let hex = "a".repeat(64);
        let digest = format!("sha256:{hex}");
        let name = |route: &Route| match route {
            Route::Uploads { name } | Route::Upload { name, .. } | Route::Blob { name, .. } => name.to_string(),
            Route::Manifest { name, .. } | Route::Tags { name } | Route::Referrers { name, .. } => name.to_string(),
            _ => String::new(),
        };
        let label = |path: &str| match Route::find(path) {
            Ok(route) => format!("{} {}", route.label(), name(&route)).trim().to_owned(),
            Err(Missing::NoRoute) => "none".to_owned(),
            Err(Missing::Invalid(error)) => match error {
                Error::NameInvalid { .. } => "name".to_owned(),
                Error::DigestInvalid { .. } => "digest".to_owned(),
                _ => "reference".to_owned(),
            },
        };
        for (path, expect) in [
            ("/v2/".to_owned(), "base"),
            ("/v2/a/b/blobs/uploads/".into(), "upload a/b"),
            ("/v2/a/b/blobs/uploads/x".into(), "upload a/b"),
            (format!("/v2/a/blobs/{digest}"), "blob a"),
            (format!("/v2/a/blobs/sha256%3A{hex}"), "blob a"),
            ("/v2/a/manifests/latest".into(), "manifest a"),
            ("/v2/blobs/uploads/manifests/x".into(), "manifest blobs/uploads"),
            (format!("/v2/a/referrers/{digest}"), "referrers a"),
            ("/v2/tags/tags/list".into(), "tags tags"),
            ("/v2/a/../b/tags/list".into(), "name"),
            ("/v2/A/tags/list".into(), "name"),
            ("/v2/a%2f..%2fb/tags/list".into(), "name"),
            ("/v2/a/blobs/sha256:..".into(), "digest"),
            ("/v2/a/manifests/..".into(), "reference"),
            ("/v2/a/manifests/%2e%2e%2fx".into(), "reference"),
            ("/v2/a".into(), "none"),
            ("/v3/".into(), "none"),
            ("/".into(), "none"),
            (String::new(), "none"),
        ] {
            assert_eq!(label(&path), expect, "{path}");
        }
    }
}
