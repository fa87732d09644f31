//! `metrics-addr`: a port that answers `GET /metrics` and nothing else.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use engine::Engine;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode};
use tokio::sync::watch;

use crate::connection;
use crate::reply::{Body, Reply, Response};
use crate::socket::Socket;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Clients at the same time; a scraper needs one.
const AT_ONCE: usize = 16;

pub(crate) fn answer(engine: &Arc<Engine>) -> engine::Result<Response> {
    let mut response = Response::new(Body::from(engine::system::metrics(engine)?.into_bytes()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
    Ok(response)
}

/// Until `ending` turns true.
pub(crate) async fn serve(
    listener: TcpListener,
    engine: Arc<Engine>,
    mut ending: watch::Receiver<bool>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let room = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = ending.wait_for(|ending| *ending) => return Ok(()),
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(crate::server::PAUSE).await;
            continue;
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
        let engine = Arc::clone(&engine);
        let ending = ending.clone();
        tokio::spawn(async move {
            let handle = move |request: hyper::Request<hyper::body::Incoming>| page(Arc::clone(&engine), request);
            connection::serve(Socket::Tcp(stream), handle, ending).await;
            drop(place);
        });
    }
}

async fn page(engine: Arc<Engine>, request: hyper::Request<hyper::body::Incoming>) -> Reply {
    let plain = |status: StatusCode| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        response.into()
    };
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND);
    }
    if request.method() != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED);
    }
    match tokio::task::spawn_blocking(move || answer(&engine)).await {
        Ok(Ok(response)) => response.into(),
        Ok(Err(error)) => crate::error::answer(&error, "GET /metrics").into(),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR),
    }
}
