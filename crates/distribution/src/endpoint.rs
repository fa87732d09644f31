//! Where an image may be fetched from: mirrors first, then the registry itself.

use std::sync::Arc;

use oci::Reference;
use oci::reference::DEFAULT_DOMAIN;

use crate::config::{Insecure, is_insecure};
use crate::hosts::{Host, Options};
use crate::url::{Scheme, Url};
use crate::{Error, Result};

/// Where docker.io lives.
const DEFAULT_HOST: &str = "registry-1.docker.io";

/// How the scheme is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SchemeRule {
    /// This one only.
    Fixed(Scheme),
    /// HTTPS without verification, then plain HTTP; for insecure registries.
    HttpsThenHttp,
}

/// One server with the registry API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// `host[:port]`.
    pub(crate) authority: String,
    /// What comes before `/v2/`: empty, or `/prefix`.
    pub(crate) prefix: String,
    pub(crate) rule: SchemeRule,
    /// May be spoken to without verified TLS.
    pub(crate) insecure: bool,
    /// A mirror gets no credentials.
    pub(crate) mirror: bool,
    /// The prefix takes the place of `/v2`.
    pub(crate) override_path: bool,
    /// May be asked what a tag means.
    pub(crate) resolve: bool,
    /// From a hosts file: certificates and headers.
    pub(crate) options: Option<Arc<Options>>,
}

impl Endpoint {
    /// Reads a mirror's address.
    pub(crate) fn mirror(text: &str, insecure: &[Insecure]) -> Result<Endpoint> {
        let invalid =
            |detail: &str| Error::Option { option: "registry mirror", value: text.into(), detail: detail.into() };
        let url = Url::parse(text.trim())
            .ok_or_else(|| invalid("not an address like https://mirror.example (without user information)"))?;
        if url.path.contains('?') {
            return Err(invalid("it has a query"));
        }
        Ok(Endpoint {
            insecure: url.scheme == Scheme::Http || is_insecure(insecure, &url.authority),
            rule: SchemeRule::Fixed(url.scheme),
            prefix: url.path.trim_end_matches('/').to_owned(),
            authority: url.authority,
            mirror: true,
            override_path: false,
            resolve: true,
            options: None,
        })
    }

    /// A server of a hosts file. `own`: it is the registry itself, which gets its credentials.
    pub(crate) fn of_host(host: &Host, own: bool, insecure: &[Insecure]) -> Endpoint {
        Endpoint {
            insecure: host.is_http() || host.options.skip_verify || is_insecure(insecure, &host.url.authority),
            rule: SchemeRule::Fixed(host.url.scheme),
            prefix: host.url.path.trim_end_matches('/').to_owned(),
            authority: host.url.authority.clone(),
            mirror: !own,
            override_path: host.override_path,
            resolve: host.resolve,
            options: Some(Arc::new(host.options.clone())),
        }
    }

    /// The registry that a reference names.
    pub(crate) fn upstream(reference: &Reference, insecure: &[Insecure]) -> Endpoint {
        let authority = match reference.domain.as_str() {
            DEFAULT_DOMAIN => DEFAULT_HOST.to_owned(),
            domain => domain.to_ascii_lowercase(),
        };
        let insecure = is_insecure(insecure, &authority);
        Endpoint {
            rule: if insecure { SchemeRule::HttpsThenHttp } else { SchemeRule::Fixed(Scheme::Https) },
            authority,
            prefix: String::new(),
            insecure,
            mirror: false,
            override_path: false,
            resolve: true,
            options: None,
        }
    }

    /// An address under this endpoint; `path` begins with `/v2/`.
    pub(crate) fn url(&self, scheme: Scheme, path: &str) -> Url {
        let path = match (self.override_path, path.strip_prefix("/v2")) {
            (true, Some(rest)) => rest,
            _ => path,
        };
        Url { scheme, authority: self.authority.clone(), path: format!("{}{path}", self.prefix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_and_upstreams() {
        let mirror = Endpoint::mirror("https://M.example/cache/", &[]).unwrap();
        assert_eq!(mirror.url(Scheme::Https, "/v2/").to_string(), "https://m.example/cache/v2/");
        assert!(!mirror.insecure);
        for bad in ["m.example", "ftp://m", "https://u:p@m/", "https://m/?x"] {
            assert!(Endpoint::mirror(bad, &[]).is_err(), "{bad}");
        }
        let upstream = |text: &str| Endpoint::upstream(&Reference::parse(text).unwrap(), &[]);
        assert_eq!(upstream("httpd").authority, "registry-1.docker.io");
        assert_eq!(upstream("httpd").rule, SchemeRule::Fixed(Scheme::Https));
        assert_eq!(upstream("127.0.0.1:5000/x").rule, SchemeRule::HttpsThenHttp);
        assert_eq!(upstream("HOST/x").authority, "host");
    }
}
