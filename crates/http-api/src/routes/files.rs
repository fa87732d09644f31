//! The files of containers: archives in and out, changes, export, commit.

use crate::call::Call;
use crate::reply::{Body, Outcome, Response, created, ok, status};
use crate::route::Handler::{Task, Work};
use crate::route::{Route, route};
use crate::stream::{download, whole};
use crate::upload::Upload;
use api::container::PathStat;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::{Error, container};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode};

pub(crate) static ROUTES: [Route; 6] = [
    route(Method::GET, "/containers/{id}/archive", Task(copy_out)),
    route(Method::HEAD, "/containers/{id}/archive", Work(path_stat)),
    route(Method::PUT, "/containers/{id}/archive", Task(copy_in)),
    route(Method::GET, "/containers/{id}/changes", Work(changes)),
    route(Method::GET, "/containers/{id}/export", Task(export)),
    route(Method::POST, "/commit", Work(commit)),
];

fn path(call: &Call) -> engine::Result<&str> {
    call.query.given("path").ok_or_else(|| Error::invalid("bad parameter: path cannot be empty"))
}

/// An answer with what is told of a path.
fn with_stat(stat: &PathStat, body: Body) -> Response {
    let mut response = Response::new(body);
    let json = serde_json::to_vec(stat).unwrap_or_default();
    if let Ok(value) = HeaderValue::try_from(STANDARD.encode(json)) {
        response.headers_mut().insert("X-Docker-Container-Path-Stat", value);
    }
    response
}

fn path_stat(call: &Call) -> Outcome {
    let stat = container::path_stat(&call.engine, call.name(), path(call)?)?;
    Ok(with_stat(&stat, Body::empty()).into())
}

fn copy_out(call: Call) -> crate::route::Task {
    Box::pin(async move {
        let path = path(&call)?.to_owned();
        let (stat, body) = whole("copy-out", move |begin| {
            container::copy_out(&call.engine, call.name(), &path, |stat| {
                begin.take().expect("it begins once").begin(stat)
            })
        })
        .await?;
        let mut response = with_stat(&stat, body);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
        Ok(response.into())
    })
}

fn copy_in(mut call: Call) -> crate::route::Task {
    Box::pin(async move {
        let request = container::CopyIn {
            path: path(&call)?.to_owned(),
            keep_kind: call.query.flag("noOverwriteDirNonDir"),
            container_user: call.query.flag("copyUIDGID"),
        };
        let mut upload = Upload::new(call.upload.take());
        tokio::task::spawn_blocking(move || container::copy_in(&call.engine, call.name(), &request, &mut upload))
            .await
            .map_err(|error| Error::system("copy into the container", error))??;
        status(StatusCode::OK)
    })
}

fn changes(call: &Call) -> Outcome {
    let changes = container::changes(&call.engine, call.name())?;
    // A Go slice that nothing was appended to.
    let changes: api::List<_> = if changes.is_empty() { api::List::default() } else { changes.into() };
    ok(&changes)
}

fn export(call: Call) -> crate::route::Task {
    Box::pin(async move {
        download("export", "application/octet-stream", move |sink| {
            container::export(&call.engine, call.name(), || sink)
        })
        .await
    })
}

fn commit(call: &Call) -> Outcome {
    let query = &call.query;
    let request = container::CommitRequest {
        repository: query.text("repo").to_owned(),
        tag: query.text("tag").to_owned(),
        author: query.text("author").to_owned(),
        comment: query.text("comment").to_owned(),
        pause: query.flag_or("pause", true),
        changes: query.all("changes").map(str::to_owned).collect(),
        config: if call.body.len() > 2 { Some(call.document()?) } else { None },
    };
    let id = container::commit(&call.engine, query.text("container"), &request)?;
    created(&api::container::CommitResponse { id })
}
