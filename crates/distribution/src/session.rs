//! One pull's or push's conversation with its registries: credentials, redirects, second attempts, and the way to stop it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use oci::Reference;
use ureq::Body;
use ureq::http::{Response, StatusCode};

use crate::auth::AuthConfig;
use crate::endpoint::{Endpoint, SchemeRule};
use crate::error::printable;
use crate::registry::Registry;
use crate::transport::{Fault, FaultKind, Method, Payload, Transport};
use crate::url::{Scheme, Url};
use crate::words::read_error;
use crate::{Error, Result, challenge, token};

/// Longest chain of redirects, as Go's client.
const REDIRECTS: usize = 10;
/// Longest wait that a server may ask for with `Retry-After`.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(10);

/// One request, credentials decided.
#[derive(Clone)]
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// Sent to this origin only.
    pub(crate) authorization: Option<String>,
    pub(crate) payload: Payload<'a>,
    /// The host may be spoken to without verified TLS.
    pub(crate) insecure: bool,
}

/// Head and body; the body is not read yet.
pub(crate) type Answer = Response<Body>;

/// An answer and the address that gave it, after redirects.
pub(crate) struct Reached {
    pub(crate) answer: Answer,
    pub(crate) url: Url,
}

/// What a session is for: it decides which rights are asked for and how a refusal reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Pull,
    Push,
    /// Neither: a search, a look at the registry, a check of credentials.
    Look,
}

/// Where a request goes.
#[derive(Clone, Copy)]
pub(crate) enum To<'a> {
    /// Under the endpoint; begins with `/v2/`.
    Path(&'a str),
    /// An address that the endpoint gave, for an upload. Credentials go there only if it is the endpoint's own.
    Location(&'a Url),
}

/// A request to an endpoint, without credentials.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) to: To<'a>,
    pub(crate) headers: &'a [(&'static str, String)],
    pub(crate) payload: Payload<'a>,
    /// Attempts in all, for what passes.
    pub(crate) attempts: u32,
}

pub(crate) struct Session<'r> {
    pub(crate) registry: &'r Registry,
    pub(crate) reference: &'r Reference,
    pub(crate) auth: Option<AuthConfig>,
    pub(crate) purpose: Purpose,
    /// Rights that a token server is asked for: `repository:library/httpd:pull`.
    pub(crate) scopes: Vec<String>,
    /// Ask for a refresh token as well.
    pub(crate) offline: bool,
    /// The refresh token that came.
    identity: Mutex<String>,
    transport: Transport,
    /// `Authorization` values that were accepted, by `host[:port]`.
    authorizations: Mutex<HashMap<String, String>>,
    cancel: &'r AtomicBool,
    stopped: Mutex<bool>,
    stop: Condvar,
}

impl<'r> Session<'r> {
    pub(crate) fn new(
        registry: &'r Registry,
        reference: &'r Reference,
        auth: Option<AuthConfig>,
        purpose: Purpose,
        cancel: &'r AtomicBool,
    ) -> Session<'r> {
        let scopes = match purpose {
            Purpose::Pull => vec![format!("repository:{}:pull", reference.path)],
            Purpose::Push => vec![format!("repository:{}:pull,push", reference.path)],
            Purpose::Look => Vec::new(),
        };
        Session {
            registry,
            reference,
            auth: auth.filter(|auth| !auth.is_empty()),
            purpose,
            scopes,
            offline: false,
            identity: Mutex::default(),
            transport: Transport::new(registry.config.clone()),
            authorizations: Mutex::default(),
            cancel,
            stopped: Mutex::new(false),
            stop: Condvar::new(),
        }
    }

    /// The refresh token that a token server gave, or an empty text.
    pub(crate) fn identity(&self) -> String {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps a refresh token for the caller.
    pub(crate) fn keep_identity(&self, token: String) {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// Did the caller ask to stop?
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    /// Ends all transfers of this pull, from any thread.
    pub(crate) fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.notify_all();
        self.transport.shut_down();
    }

    /// `Err(Cancelled)` once stopped or cancelled.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_cancelled() || *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(Error::Cancelled);
        }
        Ok(())
    }

    /// Waits, unless stopped.
    pub(crate) fn pause(&self, time: Duration) -> Result<()> {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.stop.wait_timeout_while(stopped, time, |stopped| !*stopped));
        self.check()
    }

    /// The wait before attempt number `attempt` (1 is the first repetition).
    pub(crate) fn backoff(&self, attempt: u32) -> Duration {
        self.registry.config.backoff.saturating_mul(1 << attempt.saturating_sub(1).min(6))
    }

    /// GET under an endpoint, with credentials when it asks for them. The answer is a success (2xx).
    pub(crate) fn get(&self, endpoint: &Endpoint, path: &str, headers: &[(&'static str, String)]) -> Result<Answer> {
        let attempts = self.registry.config.max_download_attempts;
        let to = To::Path(path);
        let request = Request { method: Method::Get, to, headers, payload: Payload::None, attempts };
        let Reached { answer, url } = self.send(endpoint, request)?;
        if answer.status().is_success() { Ok(answer) } else { Err(self.translate(Method::Get, &url, answer)) }
    }

    /// Asks an endpoint, with credentials when it wants them. The answer may have any status but 401, which is an error.
    pub(crate) fn send(&self, endpoint: &Endpoint, request: Request<'_>) -> Result<Reached> {
        let mut challenged = false;
        if let Some(options) = &endpoint.options {
            self.transport.learn(&endpoint.authority, options);
        }
        loop {
            let authorization =
                self.authorizations.lock().unwrap_or_else(PoisonError::into_inner).get(&endpoint.authority).cloned();
            let Reached { answer, url } = match request.to {
                To::Path(path) => self.send_by_scheme(endpoint, path, request, authorization.clone())?,
                To::Location(url) => self.send_to(endpoint, url, request, authorization.clone())?,
            };
            if answer.status() != StatusCode::UNAUTHORIZED {
                return Ok(Reached { answer, url });
            }
            // Only the registry itself may ask for credentials. A host that it redirects to could name a token server
            // of its own and be sent the password (CVE-2020-15157).
            let own = url.same_origin(&endpoint.url(url.scheme, ""));
            if challenged || !own {
                return Err(self.translate(request.method, &url, answer));
            }
            challenged = true;
            let challenges = challenge::parse(&join_challenges(&answer));
            let words = read_error(answer);
            let value = token::authorization(self, endpoint, &url, &challenges, authorization.as_deref(), &words)?;
            let mut known = self.authorizations.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(endpoint.authority.clone(), value);
        }
    }

    /// To an address that the endpoint gave.
    fn send_to(
        &self,
        endpoint: &Endpoint,
        url: &Url,
        request: Request<'_>,
        authorization: Option<String>,
    ) -> Result<Reached> {
        let own = url.same_origin(&endpoint.url(url.scheme, ""));
        let ask = Ask {
            method: request.method,
            url: url.clone(),
            headers: request.headers.to_vec(),
            authorization: authorization.filter(|_| own && (url.scheme == Scheme::Https || endpoint.insecure)),
            payload: request.payload,
            insecure: if own { endpoint.insecure } else { self.registry.is_insecure(&url.authority) },
        };
        self.exchange(&ask, request.attempts)?.map_err(|failure| failure.into_error(self))
    }

    /// The scheme in use for an endpoint.
    pub(crate) fn scheme(&self, endpoint: &Endpoint) -> Scheme {
        match endpoint.rule {
            SchemeRule::Fixed(scheme) => scheme,
            SchemeRule::HttpsThenHttp => self.registry.known_scheme(&endpoint.authority).unwrap_or(Scheme::Https),
        }
    }

    /// HTTPS or HTTP, whichever the endpoint's rule and experience say.
    fn send_by_scheme(
        &self,
        endpoint: &Endpoint,
        path: &str,
        request: Request<'_>,
        authorization: Option<String>,
    ) -> Result<Reached> {
        let attempts = request.attempts;
        let ask = |scheme: Scheme| Ask {
            method: request.method,
            url: endpoint.url(scheme, path),
            headers: request.headers.to_vec(),
            // Plain HTTP carries credentials only where the administrator said that this is fine.
            authorization: authorization.clone().filter(|_| scheme == Scheme::Https || endpoint.insecure),
            payload: request.payload,
            insecure: endpoint.insecure,
        };
        let run = |scheme: Scheme, attempts: u32| -> Result<Result<Reached, Failure>> {
            self.exchange(&ask(scheme), attempts)
        };
        let finish = |result: Result<Reached, Failure>| result.map_err(|failure| failure.into_error(self));
        let scheme = match endpoint.rule {
            SchemeRule::Fixed(scheme) => return finish(run(scheme, attempts)?),
            SchemeRule::HttpsThenHttp => self.registry.known_scheme(&endpoint.authority),
        };
        if let Some(scheme) = scheme {
            let result = run(scheme, attempts)?;
            if result.is_err() {
                self.registry.learn_scheme(&endpoint.authority, None);
            }
            return finish(result);
        }
        let result = match run(Scheme::Https, 1)? {
            Err(failure) if failure.fault.kind.suggests_plain_http() && failure.url.authority == endpoint.authority => {
                tracing::debug!(host = endpoint.authority, reason = failure.fault.text, "no TLS, trying plain HTTP");
                let result = run(Scheme::Http, attempts)?;
                if result.is_ok() {
                    self.registry.learn_scheme(&endpoint.authority, Some(Scheme::Http));
                }
                return finish(result);
            }
            result => result,
        };
        if result.is_ok() {
            self.registry.learn_scheme(&endpoint.authority, Some(Scheme::Https));
        }
        // The first try was for TLS alone; what passes is asked for as often as elsewhere.
        match result {
            Ok(reached) if is_passing(reached.answer.status()) => finish(run(Scheme::Https, attempts)?),
            result => finish(result),
        }
    }

    /// Asks, follows redirects, and asks again after a passing failure, at most `attempts` times in all. The answer may
    /// have any status but a redirect.
    pub(crate) fn exchange(&self, ask: &Ask<'_>, attempts: u32) -> Result<Result<Reached, Failure>> {
        let mut attempt = 0;
        loop {
            self.check()?;
            attempt += 1;
            let result = self.follow(ask)?;
            let wait = match &result {
                Ok(Reached { answer, .. }) if is_passing(answer.status()) => retry_after(answer),
                Err(failure) if failure.fault.kind.is_passing() => None,
                _ => return Ok(result),
            };
            if attempt >= attempts {
                return Ok(result);
            }
            tracing::debug!(url = %without_query(&ask.url), attempt, "asking again");
            self.pause(wait.unwrap_or_default().min(RETRY_AFTER_LIMIT).max(self.backoff(attempt)))?;
        }
    }

    fn follow(&self, ask: &Ask<'_>) -> Result<Result<Reached, Failure>> {
        let mut url = ask.url.clone();
        let mut authorization = ask.authorization.clone();
        let mut insecure = ask.insecure;
        for _ in 0..=REDIRECTS {
            let mut headers = ask.headers.clone();
            if let Some(value) = &authorization {
                headers.push(("Authorization", value.clone()));
            }
            let answer = match self.transport.exchange(ask.method, &url, &headers, ask.payload, !insecure)? {
                Ok(answer) => answer,
                Err(fault) => {
                    self.check()?;
                    return Ok(Err(Failure { method: ask.method, url, fault }));
                }
            };
            if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(Ok(Reached { answer, url }));
            }
            let refuse =
                |detail: String| Err(Error::Protocol { method: ask.method.title(), url: without_query(&url), detail });
            if !matches!(ask.method, Method::Get | Method::Head) {
                return refuse("refused a redirect of a request that changes something".into());
            }
            let location = answer.headers().get("Location").and_then(|value| value.to_str().ok()).unwrap_or_default();
            let Some(next) = url.join(location) else {
                return refuse(format!("redirect to an address that is not used: {:?}", printable(location)));
            };
            if url.scheme == Scheme::Https && next.scheme == Scheme::Http && !ask.insecure {
                return refuse(format!("refused a redirect from https to http: {}", without_query(&next)));
            }
            if !next.same_origin(&url) {
                authorization = None;
                insecure = self.registry.is_insecure(&next.authority);
            }
            url = next;
        }
        Err(Error::Protocol {
            method: ask.method.title(),
            url: without_query(&ask.url),
            detail: format!("stopped after {REDIRECTS} redirects"),
        })
    }

    /// The error that a status and a registry's words stand for.
    pub(crate) fn translate(&self, method: Method, url: &Url, answer: Answer) -> Error {
        let status = answer.status();
        let scope = insufficient_scope(&answer);
        let words = read_error(answer);
        let reference = Box::new(self.reference.clone());
        let detail = words.text();
        if self.purpose == Purpose::Push && matches!(status.as_u16(), 401 | 403) {
            return Error::Refused {
                detail: match (scope, status.as_u16()) {
                    (Some(scope), _) => scope,
                    _ if !detail.is_empty() => detail,
                    (None, 401) => "unauthorized: authentication required".into(),
                    _ => "denied: requested access to the resource is denied".into(),
                },
            };
        }
        match (words.code.as_str(), status.as_u16()) {
            ("TOOMANYREQUESTS", _) | (_, 429) => Error::TooManyRequests {
                detail: if words.message.is_empty() { "too many requests".into() } else { words.message },
            },
            (_, 401) if scope.is_some() => Error::Denied { reference, detail: scope.unwrap_or_default() },
            ("DENIED", _) | (_, 403) => {
                let detail = if words.code == "DENIED" || !detail.is_empty() {
                    detail
                } else {
                    "denied: requested access to the resource is denied".into()
                };
                Error::Denied { reference, detail }
            }
            ("NAME_UNKNOWN", _) => Error::RepositoryNotFound { reference, detail },
            ("UNAUTHORIZED", _) | (_, 401) => {
                let detail = if detail.is_empty() { "unauthorized: authentication required".into() } else { detail };
                // Once a token was given and still is not enough, the user lacks the right, or the repository.
                let authorized = self
                    .authorizations
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get(&url.authority)
                    .is_some_and(|value| value.starts_with("Bearer "));
                if authorized {
                    Error::Denied { reference, detail }
                } else {
                    Error::Unauthorized { method: method.title(), url: without_query(url), detail }
                }
            }
            ("MANIFEST_UNKNOWN" | "NOT_FOUND", _) | (_, 404) if url.path.contains("/manifests/") => {
                let detail = if detail.is_empty() { "manifest unknown: manifest unknown".into() } else { detail };
                Error::NotFound { reference, detail }
            }
            _ => Error::Status { method: method.title(), url: without_query(url), status: status.to_string(), detail },
        }
    }
}

/// No answer to a request.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    method: Method,
    url: Url,
    pub(crate) fault: Fault,
}

impl Failure {
    pub(crate) fn into_error(self, session: &Session<'_>) -> Error {
        if self.fault.kind == FaultKind::Stopped || session.is_cancelled() {
            return Error::Cancelled;
        }
        // Docker asks the base address first, so that is what people find in their searches.
        let url = match self.url.path.find("/v2/") {
            Some(at) => Url { path: self.url.path[..at + 4].to_owned(), ..self.url }.to_string(),
            None => without_query(&self.url),
        };
        Error::Unreachable { method: self.method.title(), url, reason: self.fault.text }
    }
}

/// An address without its query, which may carry a signature.
pub(crate) fn without_query(url: &Url) -> String {
    let path = url.path.split('?').next().unwrap_or_default().to_owned();
    Url { path, ..url.clone() }.to_string()
}

fn is_passing(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT || status.is_server_error()
}

fn retry_after(answer: &Answer) -> Option<Duration> {
    answer.headers().get("Retry-After")?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn join_challenges(answer: &Answer) -> String {
    let values = answer.headers().get_all("WWW-Authenticate");
    values.iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(", ")
}

/// The token is good, but not for this (RFC 6750 section 3.1).
fn insufficient_scope(answer: &Answer) -> Option<String> {
    let challenges = challenge::parse(&join_challenges(answer));
    let refusal = challenges.iter().find(|challenge| challenge.get("error") == Some("insufficient_scope"))?;
    let description = refusal.get("error_description").map(printable).filter(|text| !text.is_empty());
    Some(format!("denied: {}", description.as_deref().unwrap_or("requested access to the resource is denied")))
}
