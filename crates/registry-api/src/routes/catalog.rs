//! Lists of repositories and of tags, in pages.

use hyper::StatusCode;
use registry::access::Action;
use registry::{Error, Name};
use serde_json::json;

use crate::dispatch::{Answer, Call};
use crate::error::Failure;
use crate::query::encode;
use crate::reply::{self, With};

/// What one answer has when nobody says how much he wants, and at most.
const PAGE: usize = 100_000;

/// `n`, if it is a number.
fn limit(call: &Call) -> Result<usize, Failure> {
    match call.query.get("n").map(str::parse::<usize>) {
        None => Ok(PAGE),
        Some(Ok(count)) => Ok(count.min(PAGE)),
        Some(Err(_)) => {
            Err(Failure::new(StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID", "n is not a number of entries"))
        }
    }
}

/// `GET /v2/_catalog`: what the caller may pull.
pub(crate) async fn repositories(call: &Call) -> Answer {
    super::chores::require_word(call)?;
    let limit = limit(call)?;
    let last = call.query.get("last").map(str::to_owned);
    let (registry, rules, identity) = (call.shared.registry.clone(), call.rules.clone(), call.identity.clone());
    let engine = super::cached::engine_names(call);
    let (names, more) = call
        .blocking(move || {
            // A token for the catalog has no scopes for repositories: the rules alone decide.
            let may_see = |name: &Name| rules.allows(&identity.principal, name, Action::Pull);
            let (mut names, mut more) = registry.catalog(last.as_deref(), limit, may_see)?;
            names.extend(
                engine
                    .into_iter()
                    .filter(|name| may_see(name) && last.as_deref().is_none_or(|last| name.as_str() > last)),
            );
            names.sort_unstable();
            names.dedup();
            if names.len() > limit {
                names.truncate(limit);
                more = true;
            }
            Ok::<_, Error>((names, more))
        })
        .await?;
    let names: Vec<&str> = names.iter().map(Name::as_str).collect();
    let mut response = reply::json(StatusCode::OK, &json!({"repositories": names}));
    if let (true, Some(last)) = (more, names.last()) {
        response = response.with("Link", &format!("</v2/_catalog?n={limit}&last={}>; rel=\"next\"", encode(last)));
    }
    Ok(response)
}

/// `GET /v2/<name>/tags/list`
pub(crate) async fn tags(call: &Call, name: Name) -> Answer {
    call.require(&name, Action::Pull)?;
    let limit = limit(call)?;
    let last = call.query.get("last").map(str::to_owned);
    let unknown = || Error::NameUnknown { name: name.to_string() };
    let listed = call.shared.registry.repository(&name).ok().filter(|repository| repository.is_listed());
    let (tags, more) = match listed {
        Some(repository) => {
            let (tags, more) = repository.tags(last.as_deref(), limit);
            (tags.iter().map(ToString::to_string).collect(), more)
        }
        None => {
            let mut tags: Vec<String> = super::cached::engine_tags(call, &name).ok_or_else(unknown)?;
            tags.retain(|tag| last.as_ref().is_none_or(|last| tag > last));
            let more = tags.len() > limit;
            tags.truncate(limit);
            (tags, more)
        }
    };
    let mut response = reply::json(StatusCode::OK, &json!({"name": name.as_str(), "tags": tags}));
    if let (true, Some(last)) = (more, tags.last()) {
        response =
            response.with("Link", &format!("</v2/{name}/tags/list?n={limit}&last={}>; rel=\"next\"", encode(last)));
    }
    Ok(response)
}
