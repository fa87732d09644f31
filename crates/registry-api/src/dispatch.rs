//! From a request to its route, and what every answer gets.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use hyper::body::{Body as _, Incoming};
use hyper::{HeaderMap, Method, StatusCode};
use registry::Name;
use registry::access::{Action, Rules};

use crate::admission::{Challenge, Identity};
use crate::body::Body;
use crate::connection::Peer;
use crate::error::Failure;
use crate::log::Line;
use crate::query::Query;
use crate::reply::{Response, With, header};
use crate::route::{Missing, Route};
use crate::routes;
use crate::server::{Gauge, Shared};

pub(crate) type Answer = Result<Response, Failure>;

/// A request, ready for a handler.
pub(crate) struct Call {
    pub shared: Arc<Shared>,
    pub method: Method,
    pub headers: HeaderMap,
    pub query: Query,
    pub peer: Peer,
    pub identity: Identity,
    pub rules: Arc<Rules>,
    /// Taken by the handler that reads it.
    pub body: Option<Incoming>,
}

impl Call {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// May the caller do it?
    pub fn may(&self, name: &Name, action: Action) -> bool {
        self.identity.may(&self.rules, name, action)
    }

    /// Ends the request unless the caller may do it.
    pub fn require(&self, name: &Name, action: Action) -> Result<(), Failure> {
        if action != Action::Pull && self.shared.settings.read_only {
            return Err(Failure::unsupported("this registry is read-only"));
        }
        if self.may(name, action) {
            return Ok(());
        }
        Err(Challenge::new(&self.shared, &self.headers, &self.peer).refuse(&self.identity, &self.rules, name, action))
    }

    /// Runs what may wait for the disk.
    pub async fn blocking<T, E>(&self, work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, Failure>
    where
        T: Send + 'static,
        E: Into<Failure> + Send + 'static,
    {
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result.map_err(Into::into),
            Err(error) => {
                tracing::error!(%error, "a request's thread failed");
                Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "the registry failed; its log says why"))
            }
        }
    }
}

/// Answers one request.
pub(crate) async fn dispatch(shared: Arc<Shared>, request: hyper::Request<Incoming>, peer: Peer) -> Response {
    let begun = Instant::now();
    let _flying = Gauge::raise(&shared, |metrics| &metrics.in_flight);
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let has_body = !body.is_end_stream();
    let route = Route::find(&path);
    let label = route.as_ref().map_or("none", Route::label);
    let mut user = String::new();
    let mut unread = has_body;
    let answer = match route {
        Err(Missing::NoRoute) => Err(Failure::not_found()),
        Err(Missing::Invalid(error)) => Err(error.into()),
        Ok(route) => match shared.identify(&head.headers, &peer).await {
            Err(failure) => Err(failure),
            Ok(identity) => {
                identity.name().clone_into(&mut user);
                let mut call = Call {
                    rules: shared.rules.get(),
                    shared: Arc::clone(&shared),
                    method: head.method.clone(),
                    headers: head.headers.clone(),
                    query: Query::parse(head.uri.query().unwrap_or("")),
                    peer: peer.clone(),
                    identity,
                    body: Some(body),
                };
                let answer = routes::answer(&mut call, route).await;
                unread = has_body && (call.body.is_some() || answer.is_err());
                answer
            }
        },
    };
    let mut response = answer.unwrap_or_else(Failure::into_response);
    if unread {
        // What was not read cannot be skipped: the connection ends, and lingers so that the answer arrives.
        peer.unread.store(true, Ordering::Relaxed);
        response = response.with("Connection", "close");
    }
    response = response
        .with("Docker-Distribution-Api-Version", "registry/2.0")
        .with("X-Content-Type-Options", "nosniff")
        .with("Server", concat!("hoist/", env!("CARGO_PKG_VERSION")));
    let bytes = response.body().length();
    if head.method == Method::HEAD {
        if !response.headers().contains_key("content-length") {
            response = response.with("Content-Length", &bytes.to_string());
        }
        *response.body_mut() = Body::empty();
    }
    let status = response.status();
    let sent = if head.method == Method::HEAD { 0 } else { bytes };
    shared.metrics.sent.fetch_add(sent, Ordering::Relaxed);
    shared.metrics.request(label, method_label(&head.method), status.as_u16(), begun.elapsed());
    if shared.settings.access_log {
        let agent = header(&head.headers, "user-agent").unwrap_or("");
        Line {
            method: &head.method,
            path: &path,
            status,
            bytes: sent,
            took: begun.elapsed(),
            user: &user,
            agent,
            peer: &peer,
        }
        .write();
    }
    response
}

/// Clients can make up methods, but not rows of the metrics.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "OTHER",
    }
}
