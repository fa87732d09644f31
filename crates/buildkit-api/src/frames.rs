//! `hoist build`'s connection: the same calls as over HTTP/2, in the frames of the crate `session`.
//!
//! ```text
//!  socket ── read loop ──▶ calls by number ──▶ Incoming (as much as its window lets the client send)
//!         ◀── write loop ◀── queue ◀────────── Outgoing (waits for credit)
//! ```

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use session::frame::{self, HEAD, Head, Kind, MAX_CALLS, Opening, WINDOW};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{Semaphore, mpsc};

use crate::status::{Code, Status};

/// Bytes that are read at once.
const BATCH: usize = 64 * 1024;

/// One connection.
#[derive(Debug, Clone)]
pub struct Frames(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Frames that go out; what waits here is bounded by the windows of the calls.
    out: mpsc::UnboundedSender<Vec<u8>>,
    calls: Mutex<HashMap<u32, Call>>,
    /// The next call of ours.
    next: AtomicU32,
}

#[derive(Debug)]
struct Call {
    queue: mpsc::UnboundedSender<Said>,
    /// What may still be sent; closed when the call is over.
    credit: Arc<Semaphore>,
    /// What the client may still send.
    left: u32,
}

/// What has come for a call.
#[derive(Debug)]
enum Said {
    Message(Bytes),
    End,
    Status(Status),
}

/// A call that the client has opened.
pub struct Opened {
    /// Method and metadata.
    pub opening: Opening,
    /// The client's messages.
    pub incoming: Receiver,
    /// The answers.
    pub outgoing: Sender,
}

/// Messages of a call.
#[derive(Debug)]
pub struct Receiver {
    frames: Frames,
    call: u32,
    queue: mpsc::UnboundedReceiver<Said>,
    /// What was taken out and not given back yet.
    owed: u32,
    ended: bool,
}

/// The way out of a call.
#[derive(Debug)]
pub struct Sender {
    frames: Frames,
    call: u32,
    credit: Arc<Semaphore>,
}

fn gone() -> Status {
    Status::new(Code::Unavailable, "the client is gone")
}

impl Frames {
    /// Makes a connection carry calls. The future lives as long as the connection; the client's calls come out of the channel.
    pub fn open(
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> (Frames, mpsc::Receiver<Opened>, impl Future<Output = ()> + Send) {
        let (out, mut queue) = mpsc::unbounded_channel::<Vec<u8>>();
        let frames = Frames(Arc::new(Shared { out, calls: Mutex::default(), next: AtomicU32::new(2) }));
        let (opened, calls) = mpsc::channel(MAX_CALLS);
        let (reader, mut writer) = tokio::io::split(io);
        let mut reader = BufReader::with_capacity(BATCH, reader);
        let here = frames.clone();
        let driven = async move {
            let reading = async { here.read(&mut reader, &opened).await };
            let writing = async {
                let mut frames = Vec::new();
                while queue.recv_many(&mut frames, MAX_CALLS).await > 0 {
                    match frames.as_slice() {
                        [only] => writer.write_all(only).await?,
                        several => writer.write_all(&several.concat()).await?,
                    }
                    frames.clear();
                }
                Ok(())
            };
            let ended: io::Result<()> = tokio::select! { ended = reading => ended, ended = writing => ended };
            if let Err(error) = ended {
                tracing::debug!(%error, "a build's connection");
            }
            for (_, call) in here.calls().drain() {
                call.credit.close();
            }
            // What was still to be said: the end of a build, above all.
            queue.close();
            while let Ok(bytes) = queue.try_recv() {
                if writer.write_all(&bytes).await.is_err() {
                    break;
                }
            }
        };
        (frames, calls, driven)
    }

    fn calls(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Call>> {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, call: u32, kind: Kind, payload: &[u8]) -> Result<(), Status> {
        let mut bytes = Vec::new();
        frame::write(&mut bytes, call, kind, payload)?;
        self.0.out.send(bytes).map_err(|_| gone())
    }

    async fn read(&self, reader: &mut (impl AsyncRead + Unpin), opened: &mpsc::Sender<Opened>) -> io::Result<()> {
        loop {
            let mut head = [0; HEAD];
            match reader.read_exact(&mut head).await {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                other => other?,
            };
            let head = Head::read(head).map_err(io::Error::other)?;
            let mut payload = vec![0; head.length];
            reader.read_exact(&mut payload).await?;
            if head.kind == Kind::Open {
                let opening = Opening::read(&payload).map_err(io::Error::other)?;
                if head.call.is_multiple_of(2) || self.calls().contains_key(&head.call) {
                    return Err(io::Error::other("a call with a number that it cannot have"));
                }
                if self.calls().len() >= MAX_CALLS {
                    return Err(io::Error::other("too many calls"));
                }
                let (incoming, outgoing) = self.begin(head.call);
                if opened.send(Opened { opening, incoming, outgoing }).await.is_err() {
                    return Ok(());
                }
                continue;
            }
            self.take(head, payload).map_err(io::Error::other)?;
        }
    }

    /// What is for a call that is over is dropped.
    fn take(&self, head: Head, payload: Vec<u8>) -> Result<(), Status> {
        let mut calls = self.calls();
        let Some(call) = calls.get_mut(&head.call) else { return Ok(()) };
        let mut over = false;
        // The receiver may be gone already.
        let _ = match head.kind {
            Kind::Message => {
                let left = call.left.checked_sub(frame::cost(payload.len()));
                call.left = left.ok_or_else(|| Status::invalid("a client that sends more than it may"))?;
                call.queue.send(Said::Message(payload.into()))
            }
            Kind::End => call.queue.send(Said::End),
            Kind::Status => {
                over = true;
                // Nothing in it: it went well.
                let status = match payload.as_slice() {
                    [] => Status::new(Code::Ok, ""),
                    payload => Status::from_message(payload)?,
                };
                call.queue.send(Said::Status(status))
            }
            Kind::Reset => {
                over = true;
                call.queue.send(Said::Status(Status::cancelled()))
            }
            Kind::Credit => {
                let credit = frame::credit(&payload)? as usize;
                if call.credit.available_permits() + credit > WINDOW as usize {
                    return Err(Status::invalid("a client that gives back more than it has got"));
                }
                call.credit.add_permits(credit);
                Ok(())
            }
            Kind::Open => Ok(()),
        };
        if over && let Some(call) = calls.remove(&head.call) {
            call.credit.close();
        }
        Ok(())
    }

    fn begin(&self, number: u32) -> (Receiver, Sender) {
        let (sender, queue) = mpsc::unbounded_channel();
        let credit = Arc::new(Semaphore::new(WINDOW as usize));
        self.calls().insert(number, Call { queue: sender, credit: Arc::clone(&credit), left: WINDOW });
        let receiver = Receiver { frames: self.clone(), call: number, queue, owed: 0, ended: false };
        (receiver, Sender { frames: self.clone(), call: number, credit })
    }

    /// Calls the client.
    pub fn call(&self, opening: &Opening) -> Result<(Sender, Receiver), Status> {
        let number = self.0.next.fetch_add(2, Ordering::Relaxed);
        let (receiver, sender) = self.begin(number);
        self.send(number, Kind::Open, opening.to_message().as_ref())?;
        Ok((sender, receiver))
    }
}

impl Receiver {
    /// The next message; `None` when no more come.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        if self.ended {
            return Ok(None);
        }
        match self.queue.recv().await {
            Some(Said::Message(message)) => {
                self.owed += frame::cost(message.len());
                if let Some(due) = frame::due(self.owed, !self.queue.is_empty()) {
                    self.owed = 0;
                    if let Some(call) = self.frames.calls().get_mut(&self.call) {
                        call.left += due;
                    }
                    // A client that is gone shows at the next message.
                    let _ = self.frames.send(self.call, Kind::Credit, &due.to_be_bytes());
                }
                Ok(Some(message))
            }
            Some(Said::End) => {
                self.ended = true;
                Ok(None)
            }
            Some(Said::Status(status)) => {
                self.ended = true;
                if status.code == Code::Ok { Ok(None) } else { Err(status) }
            }
            None => Err(gone()),
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // Of the client's calls the sender says the end.
        if self.call.is_multiple_of(2)
            && let Some(call) = self.frames.calls().remove(&self.call)
        {
            call.credit.close();
            let _ = self.frames.send(self.call, Kind::Reset, &[]);
        }
    }
}

impl Sender {
    /// Sends a message; waits where the client does not read.
    pub async fn send(&self, message: &[u8]) -> Result<(), Status> {
        let permits = self.credit.acquire_many(frame::cost(message.len())).await;
        permits.map_err(|_| Status::cancelled())?.forget();
        self.frames.send(self.call, Kind::Message, message)
    }

    /// No more messages come from here.
    pub fn end(&self) -> Result<(), Status> {
        self.frames.send(self.call, Kind::End, &[])
    }

    /// The call of the client is over.
    pub fn finish(&self, outcome: Result<(), Status>) {
        let status = outcome.err().unwrap_or_else(|| Status::new(Code::Ok, ""));
        if let Some(call) = self.frames.calls().remove(&self.call) {
            call.credit.close();
        }
        let _ = self.frames.send(self.call, Kind::Status, status.to_message().as_ref());
    }

    /// Waits until the call is over.
    pub async fn gone(&self) {
        // More than there ever is: only the end wakes it.
        while self.credit.acquire_many(2 * WINDOW).await.is_ok() {}
    }
}
