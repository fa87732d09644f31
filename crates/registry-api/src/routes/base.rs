//! Is it a registry, is it well, what has it done?

use hyper::StatusCode;
use registry::access::Principal;
use serde_json::json;

use crate::admission::Challenge;
use crate::dispatch::{Answer, Call};
use crate::reply::{self, Response};

/// `GET /v2/`: clients learn here whether and how to log in, so whoever has not is told so even where much is open to
/// him.
pub(crate) fn version(call: &Call) -> Answer {
    if call.shared.passwords.is_some() && !call.rules.is_open() && call.headers.get("authorization").is_none() {
        return Err(Challenge::new(&call.shared, &call.headers, &call.peer).failure(
            None,
            None,
            "authentication required",
        ));
    }
    Ok(reply::json(StatusCode::OK, &json!({})))
}

/// `GET /healthz`: can it read and write?
pub(crate) async fn health(call: &Call) -> Answer {
    let registry = call.shared.registry.clone();
    let writable = tokio::task::spawn_blocking(move || registry.is_writable()).await.unwrap_or(false);
    let (status, text) = match writable {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "read-only"),
    };
    Ok(reply::json(status, &json!({"status": text})))
}

/// `GET /metrics`: to whoever is near, or has logged in.
pub(crate) fn metrics(call: &Call) -> Response {
    let near = call.peer.address.ip().is_loopback();
    if call.shared.passwords.is_some() && !near && call.identity.principal == Principal::Anonymous {
        let challenge = Challenge::new(&call.shared, &call.headers, &call.peer);
        return challenge.failure(None, None, "authentication required").into_response();
    }
    reply::bytes(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", call.shared.metrics.render())
}
