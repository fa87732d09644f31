//! `/exec`.

use crate::call::Call;
use crate::detach::{DetachKeys, Detaching};
use crate::reply::{Outcome, Reply, ok, status};
use crate::route::Handler::{Task, Work};
use crate::route::{Route, route};
use crate::takeover::{Takeover, media_type};
use engine::{Error, container};
use hyper::{Method, StatusCode};
use std::sync::Arc;

pub(crate) static ROUTES: [Route; 3] = [
    route(Method::POST, "/exec/{id}/start", Task(start)),
    route(Method::GET, "/exec/{id}/json", Work(inspect)),
    route(Method::POST, "/exec/{id}/resize", Work(resize)),
];

fn inspect(call: &Call) -> Outcome {
    let mut document = container::exec_inspect(&call.engine, call.name())?;
    document.detach_keys = DetachKeys::to_base64(&document.detach_keys)?;
    ok(&document)
}

fn resize(call: &Call) -> Outcome {
    let (height, width) = super::containers::size(call)?;
    container::exec_resize(&call.engine, call.name(), height, width)?;
    status(StatusCode::OK)
}

/// Detached: 200. Else the connection becomes the process's streams.
fn start(mut call: Call) -> crate::route::Task {
    Box::pin(async move {
        call.read_body().await?;
        let request: api::exec::StartRequest = call.document()?;
        let (upgrade, version, tty) = (call.wants_upgrade(), call.version, request.tty);
        let (engine, id) = (Arc::clone(&call.engine), call.name().to_owned());
        let started = tokio::task::spawn_blocking(move || {
            let keys = DetachKeys::parse(&container::exec_inspect(&call.engine, call.name())?.detach_keys)?;
            Ok::<_, Error>((container::exec_start(&call.engine, call.name(), &request)?, keys))
        });
        let (stream, keys) = started.await.map_err(|error| Error::system("start the exec", error))??;
        let Some(stream) = stream else { return status(StatusCode::OK) };
        Ok(Reply::Takeover(Box::new(Takeover {
            detach: stream.tty.then(|| Detaching::new(keys, move || container::exec_detached(&engine, &id))),
            media_type: media_type(tty, version),
            // As Docker does it, the request that starts it decides on the frames.
            frame: stream.tty && !tty,
            websocket: None,
            stream: stream.socket,
            upgrade,
        })))
    })
}
