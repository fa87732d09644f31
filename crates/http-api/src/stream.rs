//! Answers that go on for long, each from a thread of its own.
//!
//! ```text
//!  thread: engine's iterator ──bounded queue──▶ body ──chunks──▶ client
//!             ▲                                   │
//!             └────────────── cancel ◀────────────┘ dropped: the client is gone
//! ```
//! These threads are not of the blocking pool: a thousand waiting clients must not keep `start` from being worked on.

use crate::reply::{Body, BrokeOff, Download, OnDrop, Outcome, Source, stream};
use api::image::Progress;
use bytes::Bytes;
use engine::Error;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use std::io;
use std::thread;
use tokio::sync::mpsc;

/// Items that wait for the client.
const QUEUE: usize = 16;

/// Stack of a thread that only waits and forwards.
const SMALL_STACK: usize = 128 * 1024;

/// Stack of a thread that pulls or loads.
const WORK_STACK: usize = 2 * 1024 * 1024;

/// Sends bytes; false: the client is gone.
pub(crate) struct Sink(mpsc::Sender<Bytes>);

impl Sink {
    pub fn send(&self, bytes: impl Into<Bytes>) -> bool {
        self.0.blocking_send(bytes.into()).is_ok()
    }

    /// A document and a line feed.
    pub fn send_json(&self, document: &impl Serialize) -> bool {
        self.send(line(document, b"\n"))
    }
}

/// A document and what ends it.
pub(crate) fn line(document: &impl Serialize, end: &[u8]) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(document).unwrap_or_default();
    bytes.extend_from_slice(end);
    bytes
}

fn spawn(name: &str, stack: usize, work: impl FnOnce() + Send + 'static) -> engine::Result<()> {
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(stack)
        .spawn(work)
        .map(drop)
        .map_err(|error| Error::system("start a thread", error))
}

/// An answer whose header goes out at once; `work` fills it. `cancel` ends `work` when the client is gone.
pub(crate) fn lasting(
    name: &str,
    media_type: &'static str,
    cancel: impl FnOnce() + Send + 'static,
    work: impl FnOnce(Sink) + Send + 'static,
) -> Outcome {
    let (sender, receiver) = mpsc::channel(QUEUE);
    spawn(name, SMALL_STACK, move || work(Sink(sender)))?;
    Ok(stream(media_type, Source { receiver, first: None, _on_drop: OnDrop::new(cancel) }).into())
}

/// Where a [`whole`] answer begins: before that, an error is its status; later it breaks the answer off.
pub(crate) struct Begin<H> {
    head: tokio::sync::oneshot::Sender<engine::Result<H>>,
    sender: mpsc::Sender<Result<Bytes, BrokeOff>>,
}

impl<H> Begin<H> {
    /// Lets the answer go out, with what `head` says.
    pub fn begin(self, head: H) -> Pieces {
        // A client that is gone is noticed by the first piece.
        let _ = self.head.send(Ok(head));
        Pieces { sender: self.sender, piece: Vec::new() }
    }
}

/// An answer of unknown length that arrives whole or breaks off. `work` begins it and fills it.
pub(crate) async fn whole<H: Send + 'static>(
    name: &str,
    work: impl FnOnce(&mut Option<Begin<H>>) -> engine::Result<()> + Send + 'static,
) -> engine::Result<(H, Body)> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let (head, headed) = tokio::sync::oneshot::channel();
    let failure = sender.clone();
    spawn(name, WORK_STACK, move || {
        let mut begin = Some(Begin { head, sender });
        let outcome = work(&mut begin);
        match (outcome, begin) {
            (Ok(()), _) => {}
            (Err(error), Some(begin)) => drop(begin.head.send(Err(error))),
            (Err(error), None) => {
                tracing::debug!("after the answer began: {}", error.full_text());
                let _ = failure.blocking_send(Err(BrokeOff));
            }
        }
    })?;
    match headed.await {
        Ok(head) => Ok((head?, Body::Download(Download { receiver, first: None }))),
        Err(_) => Err(Error::new(engine::Kind::System, "the answer ended before it began")),
    }
}

/// Docker's messages, one per line. An error before the first message is the answer's status; later it is a message.
pub(crate) async fn messages(
    name: &str,
    cancel: impl FnOnce() + Send + 'static,
    work: impl FnOnce(&mut dyn FnMut(Progress)) -> engine::Result<()> + Send + 'static,
) -> Outcome {
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    let (fail, failure) = tokio::sync::oneshot::channel();
    spawn(name, WORK_STACK, move || {
        let mut began = false;
        let result = work(&mut |message| {
            began = true;
            // A client that is gone cancels; until then the messages go nowhere.
            let _ = sender.blocking_send(Bytes::from(line(&message, b"\r\n")));
        });
        match result {
            Err(error) if began => {
                tracing::debug!("after the answer began: {}", error.full_text());
                let _ = sender.blocking_send(Bytes::from(line(&Progress::error(error.full_text()), b"\r\n")));
            }
            Err(error) => drop(fail.send(error)),
            Ok(()) => {}
        }
    })?;
    let on_drop = OnDrop::new(cancel);
    let first = receiver.recv().await;
    if first.is_none()
        && let Ok(error) = failure.await
    {
        return Err(error);
    }
    Ok(stream("application/json", Source { receiver, first, _on_drop: on_drop }).into())
}

/// Bytes on their way into a download, in pieces of a good size.
pub(crate) struct Pieces {
    sender: mpsc::Sender<Result<Bytes, BrokeOff>>,
    piece: Vec<u8>,
}

/// Bytes that are sent at once.
const PIECE: usize = 256 * 1024;

impl io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            self.piece.reserve_exact(PIECE);
        }
        let count = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..count]);
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut self.piece));
        self.sender.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// A body that `work` writes on a thread of its own. An error before the first piece is the answer's status; later the
/// connection is cut. A client that is gone is an error of writing.
pub(crate) async fn download(
    name: &str,
    media_type: &'static str,
    work: impl FnOnce(&mut dyn io::Write) -> engine::Result<()> + Send + 'static,
) -> Outcome {
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    let (fail, failure) = tokio::sync::oneshot::channel();
    spawn(name, WORK_STACK, move || {
        let mut pieces = Pieces { sender, piece: Vec::new() };
        let flushed =
            |pieces: &mut Pieces| io::Write::flush(pieces).map_err(|error| Error::system("send the answer", error));
        if let Err(error) = work(&mut pieces).and_then(|()| flushed(&mut pieces)) {
            tracing::debug!("a download broke off: {}", error.full_text());
            // One of the two arrives: the status if nothing was sent yet, else the cut.
            drop(fail.send(error));
            let _ = pieces.sender.blocking_send(Err(BrokeOff));
        }
    })?;
    let first = match receiver.recv().await {
        Some(Ok(first)) => Some(first),
        _ => match failure.await {
            Ok(error) => return Err(error),
            // Nothing to say, and said so.
            Err(_) => None,
        },
    };
    let mut response = crate::reply::Response::new(Body::Download(Download { receiver, first }));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    Ok(response.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::{Reply, Response};
    use http_body_util::BodyExt;

    fn response(outcome: Outcome) -> Response {
        match outcome {
            Ok(Reply::Response(response)) => response,
            _ => panic!("no response"),
        }
    }

    async fn text(outcome: Outcome) -> String {
        let bytes = response(outcome).into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn errors_before_and_after_the_first_message() {
        let early = messages("t", || (), |_| Err(Error::not_found("no such thing"))).await;
        assert_eq!(early.err().unwrap().message, "no such thing");
        let late = messages(
            "t",
            || (),
            |emit| {
                emit(Progress::status("Pulling"));
                Err(Error::not_found("gone"))
            },
        );
        assert_eq!(
            text(late.await).await,
            "{\"status\":\"Pulling\"}\r\n{\"errorDetail\":{\"message\":\"gone\"},\"error\":\"gone\"}\r\n"
        );
        assert_eq!(text(messages("t", || (), |_| Ok(())).await).await, "");
    }

    #[tokio::test]
    async fn downloads_are_whole_or_cut() {
        let refused = download("t", "application/x-tar", |_| Err(Error::not_found("no such image"))).await;
        assert_eq!(refused.err().unwrap().message, "no such image");
        let whole = download("t", "application/x-tar", |out| {
            out.write_all(&[b'x'; 3 * PIECE + 5]).map_err(|error| Error::system("write", error))
        });
        assert_eq!(text(whole.await).await.len(), 3 * PIECE + 5);
        let broken = download("t", "application/x-tar", |out| {
            out.write_all(&[b'x'; 2 * PIECE]).map_err(|error| Error::system("write", error))?;
            Err(Error::not_found("half of it"))
        });
        assert_eq!(response(broken.await).into_body().collect().await.err(), Some(BrokeOff));
        assert_eq!(text(download("t", "application/x-tar", |_| Ok(())).await).await, "");
    }

    #[tokio::test]
    async fn a_dropped_answer_cancels() {
        let (cancel, cancelled) = tokio::sync::oneshot::channel();
        let (sent, refused) = tokio::sync::oneshot::channel();
        let (go, wait) = std::sync::mpsc::channel();
        let outcome = lasting(
            "t",
            "text/plain",
            move || cancel.send(()).expect("the test listens"),
            move |sink| {
                wait.recv().unwrap();
                let _ = sent.send(sink.send("x"));
            },
        );
        drop(response(outcome));
        cancelled.await.unwrap();
        go.send(()).unwrap();
        assert!(!refused.await.unwrap());
    }
}
