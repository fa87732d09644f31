//! The messages of a call: on an HTTP/2 stream (five bytes of prefix, then the message), or in frames.
//!
//! Source: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.

use bytes::{Buf, Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use std::future::poll_fn;

use crate::frames;
use crate::status::{Code, Status};

/// The largest message, which is also what BuildKit's own parts take from one another.
pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// What HTTP/2 lets the other side send before it waits, for each stream and for the connection.
pub const WINDOW: u32 = 4 * 1024 * 1024;

/// Messages as they come.
#[derive(Debug)]
pub enum Incoming {
    /// Over HTTP/2.
    Http2(Body),
    /// In frames.
    Frames(frames::Receiver),
}

/// A body of HTTP/2.
#[derive(Debug)]
pub struct Body {
    stream: RecvStream,
    buffer: BytesMut,
    ended: bool,
}

impl Incoming {
    /// Messages of a body.
    #[must_use]
    pub fn new(stream: RecvStream) -> Incoming {
        Incoming::Http2(Body { stream, buffer: BytesMut::new(), ended: false })
    }

    /// The next one; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        match self {
            Incoming::Http2(body) => body.next().await,
            Incoming::Frames(receiver) => receiver.next().await,
        }
    }

    /// How the other side says it ended, once [`Incoming::next`] gave `None`.
    pub async fn trailers(&mut self) -> Result<(), Status> {
        let Incoming::Http2(body) = self else { return Ok(()) };
        match body.stream.trailers().await? {
            Some(trailers) => Status::from_trailers(&trailers).map_or(Ok(()), Err),
            None => Ok(()),
        }
    }
}

impl Body {
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.whole()? {
                return Ok(Some(message));
            }
            if self.ended {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(Status::invalid("a message that breaks off")),
                };
            }
            match self.stream.data().await {
                None => self.ended = true,
                Some(data) => {
                    let data = data?;
                    self.stream.flow_control().release_capacity(data.len())?;
                    self.buffer.extend_from_slice(&data);
                }
            }
        }
    }

    fn whole(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(prefix) = self.buffer.first_chunk::<5>() else { return Ok(None) };
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        if prefix[0] != 0 {
            return Err(Status::unsupported("a compressed message"));
        }
        if length > MAX_MESSAGE {
            return Err(Status::new(
                Code::ResourceExhausted,
                format!("received message larger than max ({length} vs. {MAX_MESSAGE})"),
            ));
        }
        if self.buffer.len() < 5 + length {
            self.buffer.reserve(5 + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(5);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

/// Messages to the other side.
#[derive(Debug)]
pub enum Outgoing {
    /// Over HTTP/2.
    Http2(SendStream<Bytes>),
    /// In frames.
    Frames(frames::Sender),
}

impl Outgoing {
    /// Messages on a body.
    #[must_use]
    pub fn new(stream: SendStream<Bytes>) -> Outgoing {
        Outgoing::Http2(stream)
    }

    /// Sends one; waits where the other side does not read.
    pub async fn send(&mut self, message: &[u8]) -> Result<(), Status> {
        let stream = match self {
            Outgoing::Http2(stream) => stream,
            Outgoing::Frames(sender) => return sender.send(message).await,
        };
        let mut bytes = BytesMut::with_capacity(5 + message.len());
        bytes.extend_from_slice(&[0]);
        let length =
            u32::try_from(message.len()).map_err(|_| Status::new(Code::ResourceExhausted, "message too large"))?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(message);
        let mut bytes = bytes.freeze();
        while !bytes.is_empty() {
            stream.reserve_capacity(bytes.len());
            let granted = match poll_fn(|cx| stream.poll_capacity(cx)).await {
                None => return Err(Status::cancelled()),
                Some(granted) => granted?,
            };
            stream.send_data(bytes.split_to(granted.min(bytes.len())), false)?;
        }
        Ok(())
    }

    /// Nothing more comes from here; for callers.
    pub fn end(&mut self) -> Result<(), Status> {
        match self {
            Outgoing::Http2(stream) => Ok(stream.send_data(Bytes::new(), true)?),
            Outgoing::Frames(sender) => sender.end(),
        }
    }

    /// The call is over; for those who were called.
    pub fn finish(self, outcome: Result<(), Status>) {
        let mut stream = match self {
            Outgoing::Http2(stream) => stream,
            Outgoing::Frames(sender) => return sender.finish(outcome),
        };
        let trailers = match outcome {
            Ok(()) => Status::new(Code::Ok, "").trailers(),
            Err(status) => status.trailers(),
        };
        // The caller may be gone.
        let _ = stream.send_trailers(trailers);
    }

    /// Waits until the other side gives the stream up.
    pub async fn gone(&mut self) {
        match self {
            Outgoing::Http2(stream) => drop(poll_fn(|cx| stream.poll_reset(cx)).await),
            Outgoing::Frames(sender) => sender.gone().await,
        }
    }
}
