//! One client's connection: the socket as hyper sees it, and its end.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;

use crate::body::{Body, Queue, is_marker};

/// What is buffered of a body, and the limit of a head.
const BUFFER: usize = 256 << 10;
/// Header fields of a request.
const MAX_HEADERS: usize = 64;
/// A head must be here within this time; also how long a connection may idle between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a body that nobody wants is read on, so that the client gets to see why.
const LINGER: Duration = Duration::from_secs(2);
/// At the end of the server, requests in work get that long.
const GRACE: Duration = Duration::from_secs(5);
/// Bytes of a file that are encrypted at a time.
const TLS_PIECE: usize = 64 << 10;

/// The wire.
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What a handler knows of its connection.
#[derive(Clone)]
pub(crate) struct Peer {
    pub address: SocketAddr,
    pub tls: bool,
    pub queue: Queue,
    /// A request's body was not read to its end.
    pub unread: Arc<AtomicBool>,
}

/// The socket as hyper sees it: markers are sent as files, and a client that does not read is let go.
struct Stream {
    wire: Wire,
    queue: Queue,
    idle: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    piece: Vec<u8>,
}

impl Stream {
    fn poll_send(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let first = slices.iter().position(|slice| !slice.is_empty()).unwrap_or(slices.len());
        let slices = &slices[first..];
        let Some(head) = slices.first() else { return Poll::Ready(Ok(0)) };
        if is_marker(head) {
            return self.poll_send_file(cx, head.len());
        }
        let plain = slices.iter().position(|slice| is_marker(slice)).unwrap_or(slices.len());
        match &mut self.wire {
            Wire::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, &slices[..plain]),
            Wire::Tls(socket) => Pin::new(socket).poll_write_vectored(cx, &slices[..plain]),
        }
    }

    fn poll_send_file(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        let mut queue = self.queue.lock();
        let Some(sending) = queue.front_mut() else { return Poll::Ready(Err(io::ErrorKind::InvalidData.into())) };
        let most = most.min(usize::try_from(sending.left).unwrap_or(usize::MAX));
        let count = match &mut self.wire {
            Wire::Plain(socket) => loop {
                ready!(socket.poll_write_ready(cx))?;
                let mut offset = sending.offset;
                let sent = socket.try_io(Interest::WRITABLE, || {
                    Ok(rustix::fs::sendfile(&*socket, &sending.file, Some(&mut offset), most)?)
                });
                match sent {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    other => break other?,
                }
            },
            Wire::Tls(socket) => {
                self.piece.resize(TLS_PIECE, 0);
                let count = sending.file.read_at(&mut self.piece[..most.min(TLS_PIECE)], sending.offset)?;
                match count {
                    0 => 0,
                    _ => ready!(Pin::new(socket).poll_write(cx, &self.piece[..count]))?,
                }
            }
        };
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        sending.offset += count as u64;
        sending.left -= count as u64;
        if sending.left == 0 {
            queue.pop_front();
        }
        Poll::Ready(Ok(count))
    }

    /// Bounds how long `result` may be pending.
    fn limit<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let idle = self.idle;
        let sleep = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        match sleep.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            Wire::Tls(socket) => Pin::new(socket).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = this.poll_send(cx, slices);
        this.limit(cx, result)
    }

    /// Hyper must keep head and body apart, or it would copy markers.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = match &mut this.wire {
            Wire::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Wire::Tls(socket) => Pin::new(socket).poll_flush(cx),
        };
        this.limit(cx, result)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = match &mut this.wire {
            Wire::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Wire::Tls(socket) => Pin::new(socket).poll_shutdown(cx),
        };
        this.limit(cx, result)
    }
}

/// Serves a client until it goes, or `ending` turns true.
pub(crate) async fn serve<H, F>(wire: Wire, peer: Peer, idle: Duration, handle: H, mut ending: watch::Receiver<bool>)
where
    H: Fn(hyper::Request<Incoming>, Peer) -> F,
    F: Future<Output = hyper::Response<Body>>,
{
    let stream = Stream { wire, queue: peer.queue.clone(), idle, stalled: None, piece: Vec::new() };
    let unread = Arc::clone(&peer.unread);
    let service = service_fn(|request| {
        let answer = handle(request, peer.clone());
        Box::pin(async move { Ok::<_, Infallible>(answer.await) })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let served = tokio::select! {
        biased;
        served = poll_fn(|cx| connection.poll_without_shutdown(cx)) => Some(served),
        _ = ending.wait_for(|ending| *ending) => None,
    };
    let served = match served {
        Some(served) => served,
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            match tokio::time::timeout(GRACE, poll_fn(|cx| connection.poll_without_shutdown(cx))).await {
                Ok(served) => served,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!("connection: {error}");
        return;
    }
    let mut stream = connection.into_parts().io.into_inner();
    if stream.shutdown().await.is_ok() && unread.load(Ordering::Relaxed) {
        let _ = tokio::time::timeout(LINGER, swallow(&mut stream)).await;
    }
}

async fn swallow(stream: &mut Stream) {
    let mut scratch = vec![0; 64 << 10];
    while matches!(stream.read(&mut scratch).await, Ok(count) if count > 0) {}
}
