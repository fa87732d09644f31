//! The handlers, and which method leads to which.

mod base;
mod blobs;
mod cached;
mod catalog;
mod chores;
mod manifests;
mod receive;
mod referrers;
mod search;
mod token;
mod uploads;

use hyper::Method;

use crate::dispatch::{Answer, Call};
use crate::error::Failure;
use crate::route::Route;

/// Answers a request of a known route.
pub(crate) async fn answer(call: &mut Call, route: Route) -> Answer {
    let reads = call.method == Method::GET || call.method == Method::HEAD;
    match (route, call.method.as_str()) {
        (Route::Base, _) if reads => base::version(call),
        (Route::Health, _) if reads => base::health(call).await,
        (Route::Metrics, _) if reads => Ok(base::metrics(call)),
        (Route::Catalog, _) if reads => catalog::repositories(call).await,
        (Route::Tags { name }, _) if reads => catalog::tags(call, name).await,
        (Route::Search, _) if reads => search::search(call).await,
        (Route::SearchPing, _) if reads => Ok(search::ping()),
        (Route::Token, "GET") => token::get(call).await,
        (Route::Token, "POST") => token::post(call).await,
        (Route::Collect, "POST") => chores::collect(call).await,
        (Route::Usage, "GET") => chores::usage(call).await,
        (Route::Referrers { name, digest }, _) if reads => referrers::list(call, name, digest).await,
        (Route::Blob { name, digest }, _) if reads => blobs::get(call, name, digest).await,
        (Route::Blob { name, digest }, "DELETE") => blobs::delete(call, name, digest).await,
        (Route::Manifest { name, reference }, _) if reads => manifests::get(call, name, reference).await,
        (Route::Manifest { name, reference }, "PUT") => manifests::put(call, name, reference).await,
        (Route::Manifest { name, reference }, "DELETE") => manifests::delete(call, name, reference).await,
        (Route::Uploads { name }, "POST") => uploads::begin(call, name).await,
        (Route::Upload { name, id }, "GET") => uploads::status(call, name, id).await,
        (Route::Upload { name, id }, "PATCH") => uploads::patch(call, name, id).await,
        (Route::Upload { name, id }, "PUT") => uploads::put(call, name, id).await,
        (Route::Upload { name, id }, "DELETE") => uploads::cancel(call, name, id).await,
        (_, method) => Err(Failure::unsupported(&format!("{method} here"))),
    }
}
