//! What `hoist registry gc` and `du` ask a server for. The names begin with an underscore, where no repository's can
//! (distribution-spec, "extensions").

use std::time::Duration;

use hyper::StatusCode;
use registry::GcOptions;
use registry::access::{Action, Principal};
use serde_json::json;

use crate::admission::Challenge;
use crate::dispatch::{Answer, Call};
use crate::error::Failure;
use crate::reply;

/// Shortest grace that protects a push of the moment.
const SHORTEST: Duration = Duration::from_secs(120);

/// What is listed depends on who asks: where there are users, a client that says nothing is told to log in, or to fetch
/// a token for nobody.
pub(crate) fn require_word(call: &Call) -> Result<(), Failure> {
    if call.shared.passwords.is_some() && call.headers.get("authorization").is_none() {
        let challenge = Challenge::new(&call.shared, &call.headers, &call.peer);
        return Err(challenge.failure(Some("registry:catalog:*"), None, "authentication required"));
    }
    Ok(())
}

/// Who may delete in every repository may also collect, if his token was asked for that.
fn require_all(call: &Call) -> Result<(), Failure> {
    if call.identity.may_collect(&call.rules) {
        return Ok(());
    }
    let by_rule = call.rules.allows_everywhere(&call.identity.principal, Action::Delete);
    if call.shared.passwords.is_some() && (by_rule || call.identity.principal == Principal::Anonymous) {
        let challenge = Challenge::new(&call.shared, &call.headers, &call.peer);
        return Err(challenge.failure(Some("registry:gc:*"), None, "authentication required"));
    }
    Err(Failure::denied("only who may delete in every repository may do this"))
}

/// `POST /v2/_hoist/gc?grace=SECONDS&untagged=1&dry-run=1`
pub(crate) async fn collect(call: &Call) -> Answer {
    require_all(call)?;
    if call.shared.settings.read_only {
        return Err(Failure::unsupported("this registry is read-only"));
    }
    let mut options = GcOptions {
        untagged: call.query.get("untagged").is_some(),
        dry_run: call.query.get("dry-run").is_some(),
        ..GcOptions::default()
    };
    if let Some(grace) = call.query.get("grace") {
        let seconds: u64 = grace
            .parse()
            .map_err(|_| Failure::new(StatusCode::BAD_REQUEST, "UNSUPPORTED", "grace is not a number of seconds"))?;
        options.grace = Duration::from_secs(seconds);
        if !options.grace.is_zero() {
            options.grace = options.grace.max(SHORTEST);
        }
        options.uploads = options.uploads.min(options.grace);
    }
    let Ok(_permit) = call.shared.chores.try_acquire() else {
        return Err(Failure::new(
            StatusCode::TOO_MANY_REQUESTS,
            "TOOMANYREQUESTS",
            "garbage is being collected already",
        ));
    };
    let registry = call.shared.registry.clone();
    let collected = call.blocking(move || registry.gc(&options)).await?;
    Ok(reply::json(
        StatusCode::OK,
        &json!({
            "repositories": collected.repositories,
            "manifests": collected.manifests,
            "blobs": collected.blobs,
            "uploads": collected.uploads,
            "bytes": collected.bytes,
        }),
    ))
}

/// `GET /v2/_hoist/du`: of what the caller may pull.
pub(crate) async fn usage(call: &Call) -> Answer {
    require_word(call)?;
    let Ok(_permit) = call.shared.chores.try_acquire() else {
        return Err(Failure::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "somebody else is counting"));
    };
    let (registry, rules, identity) = (call.shared.registry.clone(), call.rules.clone(), call.identity.clone());
    let usage =
        call.blocking(move || registry.usage(|name| rules.allows(&identity.principal, name, Action::Pull))).await?;
    let rows: Vec<_> = usage
        .iter()
        .map(|usage| {
            json!({
                "name": usage.name.as_str(),
                "manifests": usage.manifests,
                "tags": usage.tags,
                "blobs": usage.blobs,
                "bytes": usage.bytes,
                "own": usage.own,
                "uploads": usage.uploads,
                "uploadBytes": usage.upload_bytes,
            })
        })
        .collect();
    Ok(reply::json(StatusCode::OK, &json!({"repositories": rows})))
}
