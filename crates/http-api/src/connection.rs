//! One client's connection: HTTP by hyper, until a handler takes it over.
//!
//! ```text
//!  request ─▶ handler ─▶ response ─▶ request …            (keep-alive)
//!                  └───▶ takeover: what hyper would answer is swallowed, the socket is pumped
//! ```
//! hyper gives a connection away only for requests with an `Upgrade` header, and then not with Docker's reason phrase.
//! Clients that hijack without the header are served too, so the connection is taken from hyper by our own hand: from
//! the moment a handler answers with a takeover, nothing that hyper writes reaches the socket.

use crate::reply::{Body, Reply, Response};
use crate::socket::Socket;
use crate::takeover::Takeover;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::watch;

/// On every answer.
pub(crate) const HEADERS: [(&str, &str); 4] = [
    ("Api-Version", api::VERSION),
    ("Docker-Experimental", "false"),
    ("Ostype", "linux"),
    ("Server", concat!("Hoist/", env!("CARGO_PKG_VERSION"), " (linux)")),
];

/// Header bytes of a request, and what is buffered of a body.
const BUFFER: usize = 128 * 1024;

/// Header fields of a request.
const MAX_HEADERS: usize = 128;

/// A client may be silent that long between requests, or in the middle of a header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(300);

/// At the end of the daemon, requests that are being worked on get that long.
const GRACE: Duration = Duration::from_secs(3);

/// What the parts of one connection share.
#[derive(Default)]
pub(crate) struct State {
    taken: AtomicBool,
    takeover: Mutex<Option<Box<Takeover>>>,
    /// The answer lasts as long as the client likes; the daemon's end does not wait for it.
    lasting: AtomicBool,
}

impl State {
    fn take(&self) -> Option<Box<Takeover>> {
        self.takeover.lock().unwrap_or_else(|poison| poison.into_inner()).take()
    }

    /// Keeps the takeover for [`serve`]; hyper gets something to swallow.
    fn taken_over(&self, takeover: Box<Takeover>) -> Response {
        *self.takeover.lock().unwrap_or_else(|poison| poison.into_inner()) = Some(takeover);
        self.taken.store(true, Ordering::Release);
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response
    }

    /// Headers of every answer, and a note of what kind of answer it is.
    fn finish(&self, reply: Reply) -> Response {
        let mut response = match reply {
            Reply::Response(response) => response,
            Reply::Takeover(takeover) => return self.taken_over(takeover),
        };
        self.lasting.store(matches!(response.body(), Body::Stream(_)), Ordering::Relaxed);
        for (name, value) in HEADERS {
            if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
                response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
            }
        }
        response
    }
}

/// The socket as hyper sees it.
struct Guarded {
    socket: Socket,
    state: Arc<State>,
}

impl Guarded {
    fn is_taken(&self) -> bool {
        self.state.taken.load(Ordering::Acquire)
    }
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_taken() {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.get_mut().socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_taken() {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_taken() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

/// Serves a client until it goes, or `ending` turns true.
pub(crate) async fn serve<H, F>(socket: Socket, handle: H, mut ending: watch::Receiver<bool>)
where
    H: Fn(hyper::Request<Incoming>) -> F,
    F: Future<Output = Reply>,
{
    let state = Arc::new(State::default());
    let io = TokioIo::new(Guarded { socket, state: Arc::clone(&state) });
    let service = service_fn(|request| {
        let (answer, state) = (handle(request), Arc::clone(&state));
        Box::pin(async move { Ok::<_, Infallible>(state.finish(answer.await)) })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER)
        .max_headers(MAX_HEADERS)
        .title_case_headers(true)
        .serve_connection(io, service);
    let served = tokio::select! {
        biased;
        served = poll_fn(|cx| connection.poll_without_shutdown(cx)) => Some(served),
        _ = ending.wait_for(|ending| *ending) => None,
    };
    let served = match served {
        Some(served) => served,
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            let rest = tokio::time::timeout(
                GRACE,
                poll_fn(|cx| {
                    let rest = connection.poll_without_shutdown(cx);
                    // Nobody waits for an answer that has no end.
                    if rest.is_pending() && state.lasting.load(Ordering::Relaxed) { Poll::Ready(Ok(())) } else { rest }
                }),
            );
            match rest.await {
                Ok(served) => served,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!("connection: {error}");
        return;
    }
    let parts = connection.into_parts();
    let mut socket = parts.io.into_inner().socket;
    let result = match state.take() {
        Some(takeover) => {
            let kept = takeover.stream.try_clone();
            tokio::select! {
                result = takeover.run(socket, parts.read_buf) => result,
                _ = ending.wait_for(|ending| *ending) => {
                    // Closed by the end of this process and not before: that is how a shim tells a daemon that ends,
                    // which its container outlives, from a client that goes and ends its input.
                    std::mem::forget(kept);
                    Ok(())
                }
            }
        }
        None => socket.shutdown().await,
    };
    if let Err(error) = result {
        tracing::debug!("connection: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::takeover::RAW_STREAM;
    use http_body_util::BodyExt;
    use std::os::fd::OwnedFd;
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;

    /// A server whose `/attach` is taken over by one end of a socket pair, and that else answers with the path.
    fn start(ending: watch::Receiver<bool>) -> (UnixStream, UnixStream, tokio::task::JoinHandle<()>) {
        let (client, server) = UnixStream::pair().unwrap();
        let (ours, process) = UnixStream::pair().unwrap();
        let ours = Arc::new(Mutex::new(Some(OwnedFd::from(ours.into_std().unwrap()))));
        let handle = move |request: hyper::Request<Incoming>| {
            let ours = Arc::clone(&ours);
            async move {
                let path = request.uri().path().to_owned();
                let upgrade = request.headers().contains_key("upgrade").then_some("tcp");
                request.into_body().collect().await.unwrap();
                match path.as_str() {
                    "/attach" => Reply::Takeover(Box::new(Takeover {
                        stream: ours.lock().unwrap().take().unwrap(),
                        detach: None,
                        media_type: RAW_STREAM,
                        upgrade,
                        frame: false,
                        websocket: None,
                    })),
                    "/hang" => std::future::pending().await,
                    _ => Reply::Response(Response::new(Body::from(path.into_bytes()))),
                }
            }
        };
        let task = tokio::spawn(async move { serve(Socket::Unix(server), handle, ending).await });
        (client, process, task)
    }

    async fn read_until(client: &mut UnixStream, end: &str) -> String {
        let mut text = Vec::new();
        while !text.ends_with(end.as_bytes()) {
            let mut byte = [0];
            assert_eq!(client.read(&mut byte).await.unwrap(), 1, "{}", String::from_utf8_lossy(&text));
            text.push(byte[0]);
        }
        String::from_utf8(text).unwrap()
    }

    async fn hijack(request: &str, first_line: &str) {
        let (_keep, ending) = watch::channel(false);
        let (mut client, mut process, task) = start(ending);
        client.write_all(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert!(read_until(&mut client, "/first").await.contains("Api-Version: 1.51\r\n"));
        // Some of the input comes right behind the request.
        client.write_all(format!("{request}early").as_bytes()).await.unwrap();
        let head = read_until(&mut client, "\r\n\r\n").await;
        assert!(head.starts_with(first_line), "{head}");
        client.write_all(b" late").await.unwrap();
        client.shutdown().await.unwrap();
        let mut input = String::new();
        process.read_to_string(&mut input).await.unwrap();
        assert_eq!(input, "early late");
        process.write_all(b"output").await.unwrap();
        drop(process);
        let mut output = String::new();
        client.read_to_string(&mut output).await.unwrap();
        assert_eq!(output, "output");
        drop(client);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn hijack_with_upgrade() {
        hijack(
            "POST /attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 101 UPGRADED\r\n",
        )
        .await;
    }

    #[tokio::test]
    async fn hijack_without_upgrade() {
        hijack("POST /attach HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\n").await;
    }

    #[tokio::test]
    async fn hijack_with_a_body() {
        hijack(
            "POST /attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 2\r\n\r\n{}",
            "HTTP/1.1 101 UPGRADED\r\n",
        )
        .await;
    }

    #[tokio::test]
    async fn the_end_of_the_daemon() {
        let (end, ending) = watch::channel(false);
        let (mut client, _process, task) = start(ending);
        client.write_all(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        read_until(&mut client, "/x").await;
        end.send(true).unwrap();
        // An idle connection ends at once.
        task.await.unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn too_large_a_header() {
        let (_keep, ending) = watch::channel(false);
        let (mut client, _process, task) = start(ending);
        let line = format!("GET /x HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(2 * BUFFER));
        // The server may close before all of it is written.
        let _ = client.write_all(line.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
        task.await.unwrap();
    }
}
