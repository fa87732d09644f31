//! Bodies of answers: bytes, a piece of a file, or what another thread fetches.
//!
//! A file's bytes do not pass through hyper. Hyper gets *markers*, slices of one zeroed allocation with the right
//! length; the stream below recognises them by their address and sends the file in their place. Files queue up in the
//! order of their answers, as the markers do.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc;

/// Largest marker in bytes: what one system call sends.
const MARKER: usize = 1 << 20;

/// Zeroes that nobody reads; the kernel gives no memory for them.
fn zeroes() -> &'static [u8] {
    static ZEROES: OnceLock<&'static [u8]> = OnceLock::new();
    ZEROES.get_or_init(|| Box::leak(vec![0; MARKER].into_boxed_slice()))
}

/// Is it a marker?
pub(crate) fn is_marker(slice: &[u8]) -> bool {
    !slice.is_empty() && zeroes().as_ptr_range().contains(&slice.as_ptr())
}

/// A piece of a body.
pub(crate) enum Piece {
    Bytes(Bytes),
    /// So many bytes of the next file of the queue.
    Marker(usize),
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        match self {
            Piece::Bytes(bytes) => bytes.remaining(),
            Piece::Marker(left) => *left,
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Piece::Bytes(bytes) => bytes.chunk(),
            Piece::Marker(left) => &zeroes()[..*left],
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Piece::Bytes(bytes) => bytes.advance(count),
            Piece::Marker(left) => *left -= count,
        }
    }
}

/// A file on its way.
pub(crate) struct Sending {
    pub file: File,
    pub offset: u64,
    pub left: u64,
}

/// Files of one connection, in the order of their answers.
#[derive(Clone, Default)]
pub(crate) struct Queue(Arc<Mutex<VecDeque<Sending>>>);

impl Queue {
    pub fn lock(&self) -> MutexGuard<'_, VecDeque<Sending>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer's body.
pub(crate) enum Body {
    Bytes(Bytes),
    File {
        queue: Queue,
        sending: Option<Sending>,
        left: u64,
    },
    /// Bytes as they come, so many in all.
    Stream {
        pieces: mpsc::Receiver<io::Result<Bytes>>,
        left: u64,
    },
}

impl Body {
    pub fn empty() -> Body {
        Body::Bytes(Bytes::new())
    }

    /// `length` bytes of a file.
    pub fn file(queue: &Queue, file: File, offset: u64, length: u64) -> Body {
        Body::File { queue: queue.clone(), sending: Some(Sending { file, offset, left: length }), left: length }
    }

    pub fn length(&self) -> u64 {
        match self {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File { left, .. } | Body::Stream { left, .. } => *left,
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Piece;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Piece>>>> {
        match self.get_mut() {
            Body::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(Piece::Bytes(std::mem::take(bytes)))))),
            Body::File { left: 0, .. } => Poll::Ready(None),
            Body::File { queue, sending, left } => {
                if let Some(sending) = sending.take() {
                    queue.lock().push_back(sending);
                }
                let now = MARKER.min(usize::try_from(*left).unwrap_or(MARKER));
                *left -= now as u64;
                Poll::Ready(Some(Ok(Frame::data(Piece::Marker(now)))))
            }
            Body::Stream { pieces, left } => match std::task::ready!(pieces.poll_recv(cx)) {
                Some(Ok(bytes)) => {
                    *left = left.saturating_sub(bytes.len() as u64);
                    Poll::Ready(Some(Ok(Frame::data(Piece::Bytes(bytes)))))
                }
                Some(Err(error)) => Poll::Ready(Some(Err(error))),
                None if *left > 0 => Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
                None => Poll::Ready(None),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.length() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length())
    }
}
