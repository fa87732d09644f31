//! Answers to challenges: basic credentials, or a bearer token from the server that the challenge names.
//! Specification: distribution `auth/token.md` and `auth/oauth.md`.

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use oci::Digest;
use serde::Deserialize;

use crate::challenge::Challenge;
use crate::endpoint::Endpoint;
use crate::session::{Ask, Session, without_query};
use crate::transport::{Method, Payload};
use crate::url::{Scheme, Url, encode_query};
use crate::words::{Words, read_error};
use crate::{Error, Result};

/// Largest answer of a token server, in bytes.
const TOKEN_LIMIT: u64 = 1 << 20;
/// How long a token is good when the server does not say (auth/token.md).
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// A token is not used any more this long before its end.
const MARGIN: Duration = Duration::from_secs(10);
const CLIENT_ID: &str = "hoist";

/// Tokens by server, service, scope and user.
#[derive(Default)]
pub(crate) struct TokenCache(Mutex<HashMap<Digest, (String, Instant)>>);

impl TokenCache {
    fn get(&self, key: &Digest) -> Option<String> {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        tokens.retain(|_, (_, end)| *end > now);
        tokens.get(key).map(|(token, _)| token.clone())
    }

    fn put(&self, key: Digest, token: &str, life: Duration) {
        let Some(life) = life.checked_sub(MARGIN) else { return };
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // An end beyond what the clock can hold is a server's nonsense, not worth keeping.
        if let Some(end) = Instant::now().checked_add(life) {
            tokens.insert(key, (token.to_owned(), end));
        }
    }

    fn forget(&self, key: &Digest) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// The `Authorization` value that should satisfy one of the challenges. `refused` is the value that did not.
pub(crate) fn authorization(
    session: &Session<'_>,
    endpoint: &Endpoint,
    url: &Url,
    challenges: &[Challenge],
    refused: Option<&str>,
    words: &Words,
) -> Result<String> {
    let unauthorized = |detail: String| Error::Unauthorized { method: "Get", url: without_query(url), detail };
    let auth = session.auth.as_ref().filter(|_| !endpoint.mirror);

    if let Some(bearer) = challenges.iter().find(|challenge| challenge.scheme == "bearer") {
        if let Some(auth) = auth.filter(|auth| !auth.registrytoken.is_empty()) {
            may_send(session, url)?;
            let value = format!("Bearer {}", auth.registrytoken);
            return if refused == Some(value.as_str()) { Err(unauthorized(words.text())) } else { Ok(value) };
        }
        let realm = bearer.get("realm").and_then(Url::parse).ok_or_else(|| Error::Protocol {
            method: "Get",
            url: without_query(url),
            detail: "bearer challenge without a usable realm".into(),
        })?;
        let grant = Grant {
            realm,
            service: bearer.get("service").unwrap_or_default().to_owned(),
            scopes: session.scopes.clone(),
            basic: auth.and_then(|auth| auth.basic()),
            refresh: auth.map(|auth| auth.identitytoken.clone()).filter(|token| !token.is_empty()),
        };
        // Docker names the registry in this text, not the token server.
        let token = grant.token(session, refused).map_err(|error| match error {
            Error::Unauthorized { detail, .. } => {
                let end = url.path.find("/v2/").map_or(0, |at| at + 4);
                let url = Url { path: url.path[..end].to_owned(), ..url.clone() };
                Error::Unauthorized { method: "Get", url: url.to_string(), detail }
            }
            other => other,
        })?;
        return Ok(format!("Bearer {token}"));
    }
    if challenges.iter().any(|challenge| challenge.scheme == "basic") {
        let value =
            auth.and_then(|auth| auth.basic()).ok_or_else(|| unauthorized("no basic auth credentials".into()))?;
        may_send(session, url)?;
        if refused == Some(value.as_str()) {
            return Err(unauthorized("unauthorized: incorrect username or password".into()));
        }
        return Ok(value);
    }
    let text = words.text();
    Err(unauthorized(if text.is_empty() { "unauthorized: authentication required".into() } else { text }))
}

/// Credentials go over HTTPS, or to hosts that were declared insecure.
fn may_send(session: &Session<'_>, url: &Url) -> Result<()> {
    if url.scheme == Scheme::Https || session.registry.is_insecure(&url.authority) {
        return Ok(());
    }
    Err(Error::Protocol {
        method: "Get",
        url: without_query(url),
        detail: "refused to send credentials over plain http".into(),
    })
}

/// What is needed for a token.
struct Grant {
    realm: Url,
    service: String,
    scopes: Vec<String>,
    basic: Option<String>,
    refresh: Option<String>,
}

impl Grant {
    fn key(&self) -> Digest {
        let parts = [
            self.realm.to_string(),
            self.service.clone(),
            self.scopes.join(" "),
            self.basic.clone().unwrap_or_default(),
            self.refresh.clone().unwrap_or_default(),
        ];
        Digest::of(parts.join("\0").as_bytes())
    }

    fn token(&self, session: &Session<'_>, refused: Option<&str>) -> Result<String> {
        let cache = &session.registry.tokens;
        let key = self.key();
        if let Some(token) = cache.get(&key) {
            if refused != Some(format!("Bearer {token}").as_str()) {
                return Ok(token);
            }
            cache.forget(&key);
        }
        may_send(session, &self.realm)?;
        let (token, life) = self.ask(session)?;
        cache.put(key, &token, life);
        Ok(token)
    }

    fn ask(&self, session: &Session<'_>) -> Result<(String, Duration)> {
        let insecure = session.registry.is_insecure(&self.realm.authority);
        let form = self.refresh.as_ref().map(|refresh| {
            format!(
                "grant_type=refresh_token&refresh_token={}&service={}&scope={}&client_id={CLIENT_ID}",
                encode_query(refresh),
                encode_query(&self.service),
                encode_query(&self.scopes.join(" "))
            )
        });
        let ask = match &form {
            Some(form) => Ask {
                method: Method::Post,
                url: self.realm.clone(),
                headers: vec![("Content-Type", "application/x-www-form-urlencoded".into())],
                authorization: None,
                payload: Payload::Bytes(form.as_bytes()),
                insecure,
            },
            None => {
                let mut url = self.realm.clone();
                let mut separator = if url.path.contains('?') { '&' } else { '?' };
                if session.offline
                    && let Some((user, _)) = session.auth.as_ref().and_then(|auth| auth.user_and_password())
                {
                    url.path.push_str(&format!(
                        "{separator}account={}&client_id={CLIENT_ID}&offline_token=true",
                        encode_query(&user)
                    ));
                    separator = '&';
                }
                let scopes = self.scopes.iter().map(|scope| ("scope", scope));
                for (name, value) in [("service", &self.service)].into_iter().chain(scopes) {
                    if !value.is_empty() {
                        url.path.push_str(&format!("{separator}{name}={}", encode_query(value)));
                        separator = '&';
                    }
                }
                let authorization = self.basic.clone();
                Ask { method: Method::Get, url, headers: Vec::new(), authorization, payload: Payload::None, insecure }
            }
        };
        let attempts = session.registry.config.max_download_attempts;
        let answer = session.exchange(&ask, attempts)?.map_err(|failure| failure.into_error(session))?.answer;
        if !answer.status().is_success() {
            if answer.status().as_u16() == 401 || answer.status().as_u16() == 403 {
                let words = read_error(answer);
                let detail = match (words.code.is_empty(), words.message.is_empty()) {
                    (true, true) if self.basic.is_some() => "unauthorized: incorrect username or password".into(),
                    (true, true) => "unauthorized: authentication required".into(),
                    (true, false) => format!("unauthorized: {}", words.message),
                    _ => words.text(),
                };
                return Err(Error::Unauthorized { method: ask.method.title(), url: without_query(&ask.url), detail });
            }
            return Err(session.translate(ask.method, &ask.url, answer));
        }
        let Tokens { access, life, refresh } = parse(answer.into_body().into_reader())
            .map_err(|detail| Error::Protocol { method: ask.method.title(), url: without_query(&ask.url), detail })?;
        if let Some(refresh) = refresh.filter(|_| session.offline) {
            session.keep_identity(refresh);
        }
        Ok((access, life))
    }
}

/// What a token server gave.
#[derive(Debug, PartialEq)]
struct Tokens {
    access: String,
    life: Duration,
    refresh: Option<String>,
}

fn parse(answer: impl Read) -> Result<Tokens, String> {
    #[derive(Deserialize)]
    struct Document {
        #[serde(default)]
        token: Option<String>,
        #[serde(default)]
        access_token: Option<String>,
        #[serde(default)]
        expires_in: Option<u64>,
        #[serde(default)]
        refresh_token: Option<String>,
    }
    let mut bytes = Vec::new();
    answer.take(TOKEN_LIMIT).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let document: Document =
        serde_json::from_slice(&bytes).map_err(|_| "unable to decode token response".to_owned())?;
    let token = [document.token, document.access_token]
        .into_iter()
        .flatten()
        .find(|token| !token.is_empty())
        .ok_or("authorization server did not include a token in the response")?;
    let refresh = document.refresh_token.filter(|token| !token.is_empty());
    let graphic = |token: &String| token.bytes().all(|b| b.is_ascii_graphic());
    if !graphic(&token) || !refresh.iter().all(graphic) {
        return Err("token with characters that do not belong".into());
    }
    let life = document.expires_in.map_or(DEFAULT_LIFE, Duration::from_secs);
    Ok(Tokens { access: token, life, refresh })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_documents() {
        let read = |json: &str| parse(json.as_bytes()).map(|tokens| (tokens.access, tokens.life));
        assert_eq!(read(r#"{"token":"t","expires_in":300}"#), Ok(("t".into(), Duration::from_secs(300))));
        assert_eq!(read(r#"{"token":"","access_token":"a"}"#), Ok(("a".into(), DEFAULT_LIFE)));
        for bad in ["", "{}", r#"{"token":"a\r\nX: y"}"#, r#"{"token":null}"#, "[1]"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cache_ends() {
        let cache = TokenCache::default();
        let key = Digest::of(b"k");
        cache.put(key, "t", Duration::from_secs(5));
        assert_eq!(cache.get(&key), None, "shorter than the margin");
        cache.put(key, "t", Duration::from_secs(u64::MAX));
        assert_eq!(cache.get(&key), None, "beyond the clock");
        cache.put(key, "t", Duration::from_secs(60));
        assert_eq!(cache.get(&key), Some("t".into()));
        cache.forget(&key);
        assert_eq!(cache.get(&key), None);
    }
}
