//! What `docker search HOST/term` asks for: the first version of the registry API, of which nothing else is left.

use hyper::StatusCode;
use registry::Name;
use registry::access::Action;
use serde_json::json;

use crate::dispatch::{Answer, Call};
use crate::reply::{self, Response, With};

/// Results of one answer, unless said otherwise, and at most.
const USUAL: usize = 25;
const MOST: usize = 100;

/// `GET /v1/_ping`
pub(crate) fn ping() -> Response {
    reply::json(StatusCode::OK, &json!({"standalone": true}))
        .with("X-Docker-Registry-Version", "0.0")
        .with("X-Docker-Registry-Standalone", "true")
}

/// `GET /v1/search?q=term&n=25`
pub(crate) async fn search(call: &Call) -> Answer {
    let term = call.query.get("q").unwrap_or("").to_owned();
    let limit = call.query.get("n").and_then(|n| n.parse::<usize>().ok()).unwrap_or(USUAL).clamp(1, MOST);
    let (registry, rules, identity) = (call.shared.registry.clone(), call.rules.clone(), call.identity.clone());
    let words = term.clone();
    let found = call
        .blocking(move || {
            let may_see = |name: &Name| rules.allows(&identity.principal, name, Action::Pull);
            registry.search(&words, limit, may_see)
        })
        .await?;
    let results: Vec<_> = found
        .iter()
        .map(|found| {
            json!({
                "name": found.name.as_str(),
                "description": found.description,
                "star_count": 0,
                "is_official": false,
                "is_automated": false,
                "is_trusted": false,
            })
        })
        .collect();
    Ok(reply::json(
        StatusCode::OK,
        &json!({
            "num_pages": 1,
            "num_results": results.len(),
            "page": 1,
            "page_size": limit,
            "query": term,
            "results": results,
        }),
    ))
}
