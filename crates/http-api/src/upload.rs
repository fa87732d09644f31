//! A request's body as something that blocking code reads.

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::io;
use tokio::sync::mpsc;

/// Frames that wait for the reader.
const QUEUE: usize = 16;

/// Read end; `Read` blocks, so it is for threads outside of the async runtime.
pub(crate) struct Upload {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Upload {
    /// Starts to forward the body. When the reader is dropped, the rest of the body is read and dropped, so that a client
    /// that is still sending gets to see the answer.
    pub fn new(body: Option<Incoming>) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        if let Some(body) = body {
            tokio::spawn(forward(body, sender));
        }
        Self { receiver, current: Bytes::new() }
    }
}

async fn forward(mut body: Incoming, sender: mpsc::Sender<io::Result<Bytes>>) {
    while let Some(frame) = body.frame().await {
        let item = match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(data)) => Ok(data),
            // Trailers.
            Ok(Err(_)) => continue,
            Err(error) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, error)),
        };
        let last = item.is_err();
        // Nobody reads any more: go on to the end all the same.
        let _ = sender.send(item).await;
        if last {
            return;
        }
    }
}

impl io::Read for Upload {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(bytes) => self.current = bytes?,
                None => return Ok(0),
            }
        }
        let count = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
