//! The daemon itself.

use crate::call::Call;
use crate::reply::{Body, Outcome, Response, ok};
use crate::route::Handler::{Quick, Task, Work};
use crate::route::{Route, route};
use crate::stream::lasting;
use engine::system;
use hyper::Method;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, PRAGMA};

pub(crate) static ROUTES: [Route; 7] = [
    route(Method::GET, "/_ping", Quick(ping)),
    route(Method::HEAD, "/_ping", Quick(ping)),
    route(Method::GET, "/version", Quick(version)),
    route(Method::GET, "/metrics", Work(|call| Ok(crate::metrics::answer(&call.engine)?.into()))),
    route(Method::GET, "/info", Work(info)),
    route(Method::GET, "/events", Task(events)),
    route(Method::GET, "/system/df", Work(df)),
];

/// `Builder-Version: 2`: the docker client builds with BuildKit's API. `Swarm: inactive`: it asks no further.
fn ping(_: &Call) -> Outcome {
    let mut response = Response::new(Body::from(b"OK".to_vec()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert("Builder-Version", HeaderValue::from_static("2"));
    headers.insert("Swarm", HeaderValue::from_static("inactive"));
    Ok(response.into())
}

fn version(call: &Call) -> Outcome {
    ok(&system::version(&call.engine))
}

fn info(call: &Call) -> Outcome {
    ok(&system::info(&call.engine)?)
}

fn df(call: &Call) -> Outcome {
    let mut usage = system::df(&call.engine)?;
    usage.build_cache = super::build::known(call)?.into();
    ok(&usage)
}

fn events(call: Call) -> crate::route::Task {
    Box::pin(async move {
        let options = system::EventsOptions {
            since: api::timestamp::parse(call.query.text("since"))?,
            until: api::timestamp::parse(call.query.text("until"))?,
            filters: call.query.filters()?,
        };
        let events = system::events(&call.engine, options)?;
        let cancel = events.canceller();
        lasting(
            "events",
            "application/json",
            move || cancel.cancel(),
            move |sink| {
                while let Some(event) = events.recv() {
                    if !sink.send_json(&*event) {
                        return;
                    }
                }
            },
        )
    })
}
