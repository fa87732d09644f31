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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::{Body, Reply, Response};
    use crate::socket::Socket;
    use std::io::Read;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    /// Sends a request to a handler that reads at most `limit` bytes of the body and answers with how many these were.
    async fn count(request: Vec<u8>, limit: u64) -> String {
        let (client, server) = UnixStream::pair().unwrap();
        let handle = move |request: hyper::Request<Incoming>| async move {
            let upload = Upload::new(Some(request.into_body()));
            let read = move || {
                let mut bytes = Vec::new();
                upload
                    .take(limit)
                    .read_to_end(&mut bytes)
                    .map(|count| (count, bytes.iter().map(|b| u64::from(*b)).sum::<u64>()))
            };
            let text = match tokio::task::spawn_blocking(read).await.unwrap() {
                Ok((count, sum)) => format!("{count} {sum}"),
                Err(error) => error.kind().to_string(),
            };
            Reply::Response(Response::new(Body::from(text.into_bytes())))
        };
        let (_keep, ending) = tokio::sync::watch::channel(false);
        let task = tokio::spawn(async move { crate::connection::serve(Socket::Unix(server), handle, ending).await });
        let (mut read, mut write) = client.into_split();
        let sender = tokio::spawn(async move {
            write.write_all(&request).await.unwrap();
            write
        });
        let mut answer = Vec::new();
        let mut byte = [0; 256];
        while !answer.ends_with(b"\n") {
            match read.read(&mut byte).await.unwrap() {
                0 => break,
                count => answer.extend_from_slice(&byte[..count]),
            }
            if answer.windows(4).any(|window| window == b"\r\n\r\n") && !answer.ends_with(b"\r\n\r\n") {
                break;
            }
        }
        drop((sender.await.unwrap(), read));
        task.await.unwrap();
        String::from_utf8(answer).unwrap().rsplit("\r\n").next().unwrap().to_owned()
    }

    fn request(size: usize) -> Vec<u8> {
        let mut bytes = format!("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n").into_bytes();
        bytes.resize(bytes.len() + size, 1);
        bytes
    }

    #[tokio::test]
    async fn whole_bodies() {
        assert_eq!(count(request(3_000_000), u64::MAX).await, "3000000 3000000");
        assert_eq!(count(request(0), u64::MAX).await, "0 0");
        let chunked = b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n\x01\x01\x01\r\n2\r\n\x02\x02\r\n0\r\n\r\n";
        assert_eq!(count(chunked.to_vec(), u64::MAX).await, "5 7");
    }

    #[tokio::test]
    async fn a_reader_that_stops_early_still_answers() {
        assert_eq!(count(request(3_000_000), 10).await, "10 10");
    }
}
