//! From a request to its handler, and from what that says to an answer.

use crate::call::Call;
use crate::error::{answer, page_not_found};
use crate::query::{Query, decode};
use crate::reply::{Outcome, Reply};
use crate::route::{Handler, Route};
use crate::{compat, routes, version};
use buildkit_api::Door;
use bytes::Bytes;
use engine::{Engine, Error};
use hyper::body::Incoming;
use hyper::{Method, Request};
use std::sync::Arc;

/// Answers a request; never fails.
pub(crate) async fn dispatch(engine: Arc<Engine>, buildkit: Arc<Door>, request: Request<Incoming>) -> Reply {
    let what = format!("{} {}", request.method(), request.uri().path());
    match handle(engine, buildkit, request).await {
        Ok(reply) => {
            tracing::debug!("{what}");
            reply
        }
        Err(error) => answer(&error, &what).into(),
    }
}

async fn handle(engine: Arc<Engine>, buildkit: Arc<Door>, request: Request<Incoming>) -> Outcome {
    let (head, upload) = request.into_parts();
    if head.method == Method::OPTIONS {
        return crate::reply::status(hyper::StatusCode::OK);
    }
    let path = decode(head.uri.path(), false)?;
    let (version, path) = version::split(&path)?;
    let (route, arguments) = find(&head.method, path).ok_or_else(page_not_found)?;
    if version < route.since {
        let (method, since) = (&head.method, route.since);
        return Err(Error::invalid(format!("{method} {path} requires minimum API version {since}")));
    }
    let mut call = Call {
        engine,
        builder: buildkit.builder().clone(),
        buildkit,
        version,
        arguments,
        query: Query::parse(head.uri.query().unwrap_or(""))?,
        headers: head.headers,
        body: Bytes::new(),
        upload: Some(upload),
    };
    let reply = match route.handler {
        Handler::Quick(handler) => {
            call.read_body().await?;
            handler(&call)?
        }
        Handler::Work(handler) => {
            call.read_body().await?;
            tokio::task::spawn_blocking(move || handler(&call))
                .await
                .map_err(|error| Error::system("work on the request", error))??
        }
        Handler::Task(handler) => handler(call).await?,
    };
    Ok(compat::lower(version, route.pattern, reply))
}

/// The first row that has the method and whose pattern the path is of.
pub(crate) fn find(method: &Method, path: &str) -> Option<(&'static Route, Vec<String>)> {
    routes::TABLE
        .iter()
        .flat_map(|routes| routes.iter())
        .filter(|route| route.method == *method)
        .find_map(|route| Some((route, route.arguments(path)?)))
}
