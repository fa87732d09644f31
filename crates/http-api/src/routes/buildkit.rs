//! `/grpc` and `/session`: connections that become HTTP/2, for BuildKit's clients; `/hoist/build`: the same in frames, for ours.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use buildkit_api::Introduction;
use engine::{Error, Kind};
use hyper::Method;
use hyper::header::UPGRADE;

use crate::call::Call;
use crate::reply::Reply;
use crate::route::Handler::Task;
use crate::route::{Route, route};
use crate::takeover::Takeover;

pub(crate) static ROUTES: [Route; 3] = [
    route(Method::POST, "/grpc", Task(calls)),
    route(Method::POST, "/session", Task(session)),
    route(Method::POST, "/hoist/build", Task(frames)),
];

/// The name that clients give the protocol.
const PROTOCOL: &str = "h2c";

fn calls(call: Call) -> crate::route::Task {
    Box::pin(async move {
        let (ours, reply) = taken(&call, PROTOCOL)?;
        let stream = tokio::net::UnixStream::from_std(ours).map_err(failed)?;
        tokio::spawn(Arc::clone(&call.buildkit).serve_calls(stream));
        Ok(reply)
    })
}

fn session(call: Call) -> crate::route::Task {
    Box::pin(async move {
        let introduction = introduction(&call)?;
        let (ours, reply) = taken(&call, PROTOCOL)?;
        let stream = tokio::net::UnixStream::from_std(ours).map_err(failed)?;
        tokio::spawn(Arc::clone(&call.buildkit).serve_session(stream, introduction));
        Ok(reply)
    })
}

/// Calls and session of `hoist build` on one connection.
fn frames(call: Call) -> crate::route::Task {
    Box::pin(async move {
        let introduction = introduction(&call)?;
        let (ours, reply) = taken(&call, ::buildkit_api::PROTOCOL)?;
        let stream = tokio::net::UnixStream::from_std(ours).map_err(failed)?;
        tokio::spawn(Arc::clone(&call.buildkit).serve_build(stream, introduction));
        Ok(reply)
    })
}

/// What the client says of its session.
fn introduction(call: &Call) -> engine::Result<Introduction> {
    let header = |name: &str| call.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let methods = call.headers.get_all("X-Docker-Expose-Session-Grpc-Method").iter();
    let introduction = Introduction {
        id: header("X-Docker-Expose-Session-Uuid").to_owned(),
        shared_key: header("X-Docker-Expose-Session-Sharedkey").to_owned(),
        methods: methods.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect(),
    };
    let refused = call.buildkit.admit(&introduction);
    refused.map_err(|status| Error::new(Kind::InvalidParameter, status.to_string()))?;
    Ok(introduction)
}

fn failed(error: std::io::Error) -> Error {
    Error::system("take the connection", error)
}

/// Our end of the connection, and the answer that gives it to us.
fn taken(call: &Call, wanted: &'static str) -> engine::Result<(UnixStream, Reply)> {
    let protocol = call.headers.get(UPGRADE).map(|value| value.to_str().unwrap_or("?"));
    match protocol {
        Some(protocol) if protocol.eq_ignore_ascii_case(wanted) => {}
        Some(other) => return Err(Error::invalid(format!("protocol {other} not supported"))),
        None => return Err(Error::invalid("no upgrade proto in request")),
    }
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    ours.set_nonblocking(true).map_err(failed)?;
    let takeover = Takeover {
        stream: OwnedFd::from(theirs),
        detach: None,
        media_type: "",
        upgrade: Some(wanted),
        frame: false,
        websocket: None,
    };
    Ok((ours, Reply::Takeover(Box::new(takeover))))
}
