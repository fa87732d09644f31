//! Are these credentials good? Asked of the registry's base address, `/v2/`.

use std::sync::atomic::AtomicBool;

use oci::Reference;
use oci::reference::DEFAULT_DOMAIN;

use crate::auth::AuthConfig;
use crate::pull::watched;
use crate::registry::Registry;
use crate::session::{Purpose, Session};
use crate::{Error, Result};

/// Checks credentials against the registry in `auth.serveraddress` (docker.io when empty). Gives a refresh token if the
/// registry's token server hands one out, to be kept in the place of the password; else an empty text.
///
/// # Errors
/// [`Error::Unauthorized`] when they are wrong.
pub fn login(registry: &Registry, auth: AuthConfig, cancel: &AtomicBool) -> Result<String> {
    let reference = Reference { domain: domain_of(&auth.serveraddress)?, path: String::new(), tag: None, digest: None };
    let mut session = Session::new(registry, &reference, Some(auth), Purpose::Look, cancel);
    session.offline = true;
    let endpoint = registry.push_endpoint(&reference)?;
    watched(&session, || session.get(&endpoint, "/v2/", &[]).map(drop))?;
    Ok(session.identity())
}

/// `https://index.docker.io/v1/` and nothing are docker.io; else what is between scheme and path.
pub(crate) fn domain_of(server: &str) -> Result<String> {
    let bare = server.trim();
    let bare = bare.strip_prefix("https://").or_else(|| bare.strip_prefix("http://")).unwrap_or(bare);
    let host = bare.split('/').next().unwrap_or_default();
    match host {
        "" | "docker.io" | "index.docker.io" | "registry-1.docker.io" => Ok(DEFAULT_DOMAIN.to_owned()),
        host if crate::url::Url::parse(&format!("https://{host}/")).is_some() => Ok(host.to_owned()),
        _ => Err(Error::Option { option: "registry", value: server.to_owned(), detail: "not a host name".into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers() {
        for (server, domain) in [
            ("", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("docker.io", "docker.io"),
            ("r.example", "r.example"),
            ("http://r.example:5000/v2/", "r.example:5000"),
            ("localhost:5000", "localhost:5000"),
        ] {
            assert_eq!(domain_of(server).unwrap(), domain, "{server}");
        }
        for bad in ["u:p@host", "a b", "host:port"] {
            assert!(domain_of(bad).is_err(), "{bad}");
        }
    }
}
