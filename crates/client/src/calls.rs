//! Calls side by side on one hijacked connection: what `hoist build` and the daemon say to one another.
//!
//! ```text
//!  Calls::call ──▶ Call (send, end, receive)          ours, odd numbers
//!  reader thread ──Open──▶ a thread per call ──▶ serve  the daemon's, even numbers
//! ```
//!
//! The protocol is `session::frame`'s.

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Write};
use std::net::Shutdown;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use session::Malformed;
use session::frame::{self, HEAD, Head, Kind, MAX_CALLS, Opening, WINDOW};
use session::wire::{Message, fields};

use crate::{Hijacked, Socket};

/// The code of a call that was given up.
const CANCELLED: u32 = 1;
/// The code of a call that the other side cannot answer any more.
const UNAVAILABLE: u32 = 14;

/// How a call ended, if not well: `google.rpc.Status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Ended {
    /// gRPC's code.
    pub code: u32,
    /// For people.
    pub message: String,
    /// Types and their contents.
    pub details: Vec<(String, Vec<u8>)>,
}

impl Ended {
    /// A call ends with this.
    pub fn new(code: u32, message: impl Into<String>) -> Ended {
        Ended { code, message: message.into(), details: Vec::new() }
    }

    fn gone() -> Ended {
        Ended::new(UNAVAILABLE, "the connection to the daemon broke off")
    }

    fn read(payload: &[u8]) -> Result<Ended, Malformed> {
        let mut ended = Ended::default();
        for field in fields(payload) {
            match field? {
                (1, value) => ended.code = u32::try_from(value.number()).unwrap_or(u32::MAX),
                (2, value) => ended.message = value.text()?,
                (3, value) => {
                    let (mut url, mut content) = (String::new(), Vec::new());
                    for field in fields(value.bytes()) {
                        match field? {
                            (1, value) => url = value.text()?,
                            (2, value) => content = value.bytes().to_vec(),
                            _ => {}
                        }
                    }
                    ended.details.push((url, content));
                }
                _ => {}
            }
        }
        Ok(ended)
    }
}

impl From<Malformed> for Ended {
    fn from(error: Malformed) -> Ended {
        Ended::new(3, error.0)
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Ended {
        Ended::new(2, error.to_string())
    }
}

/// Bytes of small messages that wait for one another at most.
const BATCH: usize = 32 * 1024;

/// Answers the daemon's calls, each on a thread of its own.
pub type Serve = dyn Fn(&Opening, &Call) -> Result<(), Ended> + Send + Sync;

/// One connection.
#[derive(Debug, Clone)]
pub struct Calls(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    writer: Mutex<Writer>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct Writer {
    socket: Socket,
    /// Frames that are not sent yet.
    waiting: Vec<u8>,
}

impl Writer {
    fn flush(&mut self) -> Result<(), Ended> {
        let sent = self.socket.write_all(&self.waiting).map_err(|_| Ended::gone());
        self.waiting.clear();
        sent
    }
}

#[derive(Debug, Default)]
struct State {
    calls: HashMap<u32, Half>,
    next: u32,
    gone: bool,
}

/// What is known of a call.
#[derive(Debug)]
struct Half {
    queue: std::collections::VecDeque<Vec<u8>>,
    /// What the other side may still send.
    left: u32,
    /// What was taken out and not given back yet.
    owed: u32,
    /// What may still be sent.
    credit: u32,
    /// No more messages come; with how the call ended, if it has.
    ended: Option<Result<(), Ended>>,
    /// Nobody listens any more.
    over: bool,
}

/// One call.
#[derive(Debug)]
pub struct Call {
    calls: Calls,
    number: u32,
}

impl Calls {
    /// Makes a connection carry calls.
    pub fn open(connection: Hijacked, serve: Arc<Serve>) -> io::Result<Calls> {
        let writer = Writer { socket: connection.writer()?, waiting: Vec::new() };
        let state = State { next: 1, ..State::default() };
        let calls =
            Calls(Arc::new(Shared { writer: Mutex::new(writer), state: Mutex::new(state), changed: Condvar::new() }));
        let reading = calls.clone();
        thread::Builder::new().name("calls".into()).spawn(move || {
            // Why it broke off is what the calls that wait are told.
            let _ = reading.read(connection, &serve);
            let mut state = reading.state();
            state.gone = true;
            for half in state.calls.values_mut() {
                half.over = true;
                half.ended.get_or_insert_with(|| Err(Ended::gone()));
            }
            drop(state);
            reading.0.changed.notify_all();
        })?;
        Ok(calls)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: std::sync::MutexGuard<'a, State>) -> std::sync::MutexGuard<'a, State> {
        self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> std::sync::MutexGuard<'_, Writer> {
        self.0.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, call: u32, kind: Kind, payload: &[u8]) -> Result<(), Ended> {
        let mut writer = self.writer();
        frame::write(&mut writer.waiting, call, kind, payload)?;
        writer.flush()
    }

    /// Calls the daemon.
    pub fn call(&self, method: &str, message: &[u8]) -> Result<Call, Ended> {
        let number = {
            let mut state = self.state();
            if state.gone {
                return Err(Ended::gone());
            }
            let number = state.next;
            state.next += 2;
            state.calls.insert(number, Half::new());
            number
        };
        let call = Call { calls: self.clone(), number };
        let opening = Opening { method: method.to_owned(), metadata: Vec::new() };
        self.send(number, Kind::Open, opening.to_message().as_ref())?;
        call.send(message)?;
        self.send(number, Kind::End, &[])?;
        Ok(call)
    }

    /// Gives the connection up; everything that waits ends.
    pub fn close(&self) {
        // It may be gone already.
        let _ = self.writer().socket.shutdown(Shutdown::Both);
    }

    fn read(&self, connection: Hijacked, serve: &Arc<Serve>) -> io::Result<()> {
        let mut connection = BufReader::with_capacity(BATCH, connection);
        loop {
            let mut head = [0; HEAD];
            connection.read_exact(&mut head)?;
            let head = Head::read(head).map_err(io::Error::other)?;
            let mut payload = vec![0; head.length];
            connection.read_exact(&mut payload)?;
            self.take(head, payload, serve)?;
            self.0.changed.notify_all();
        }
    }

    fn take(&self, head: Head, payload: Vec<u8>, serve: &Arc<Serve>) -> io::Result<()> {
        let mut state = self.state();
        if head.kind == Kind::Open {
            let opening = Opening::read(&payload).map_err(io::Error::other)?;
            if head.call % 2 == 1 || state.calls.len() >= MAX_CALLS {
                return Err(io::Error::other("a call that cannot be"));
            }
            state.calls.insert(head.call, Half::new());
            drop(state);
            let call = Call { calls: self.clone(), number: head.call };
            let serve = Arc::clone(serve);
            thread::Builder::new().name("serve".into()).spawn(move || {
                let outcome = serve(&opening, &call);
                call.finish(outcome);
            })?;
            return Ok(());
        }
        // What is for a call that is over is dropped.
        let Some(half) = state.calls.get_mut(&head.call) else { return Ok(()) };
        match head.kind {
            Kind::Message => {
                let left = half.left.checked_sub(frame::cost(payload.len()));
                half.left = left.ok_or_else(|| io::Error::other("more than the window lets through"))?;
                half.queue.push_back(payload);
            }
            Kind::End => drop(half.ended.get_or_insert(Ok(()))),
            Kind::Status => {
                let ended = Ended::read(&payload).map_err(io::Error::other)?;
                half.ended = Some(if ended.code == 0 { Ok(()) } else { Err(ended) });
                half.over = true;
            }
            Kind::Reset => {
                half.ended = Some(Err(Ended::new(CANCELLED, "context canceled")));
                half.over = true;
            }
            Kind::Credit => {
                let credit = frame::credit(&payload).map_err(io::Error::other)?;
                half.credit = half.credit.saturating_add(credit).min(WINDOW);
            }
            Kind::Open => {}
        }
        Ok(())
    }
}

impl Half {
    fn new() -> Half {
        Half {
            queue: std::collections::VecDeque::new(),
            left: WINDOW,
            owed: 0,
            credit: WINDOW,
            ended: None,
            over: false,
        }
    }
}

impl Call {
    /// Sends a message; waits where the other side does not read.
    pub fn send(&self, message: &[u8]) -> Result<(), Ended> {
        self.send_soon(message)?;
        self.flush()
    }

    /// [`Call::send`] with the messages that come next, up to [`BATCH`]; whoever stops sending flushes.
    pub fn send_soon(&self, message: &[u8]) -> Result<(), Ended> {
        let cost = frame::cost(message.len());
        let mut flushed = false;
        let mut state = self.calls.state();
        loop {
            let half = state.calls.get_mut(&self.number).ok_or_else(Ended::gone)?;
            if half.over {
                let why = half.ended.clone().and_then(Result::err);
                return Err(why.unwrap_or_else(|| Ended::new(CANCELLED, "context canceled")));
            }
            if half.credit >= cost {
                half.credit -= cost;
                break;
            }
            if flushed {
                state = self.calls.wait(state);
            } else {
                // Credit comes for what has arrived alone.
                drop(state);
                self.flush()?;
                flushed = true;
                state = self.calls.state();
            }
        }
        drop(state);
        let mut writer = self.calls.writer();
        frame::write(&mut writer.waiting, self.number, Kind::Message, message)?;
        if writer.waiting.len() >= BATCH { writer.flush() } else { Ok(()) }
    }

    /// Sends what waits.
    pub fn flush(&self) -> Result<(), Ended> {
        self.calls.writer().flush()
    }

    /// The next message; `None` when no more come and all went well.
    pub fn receive(&self) -> Result<Option<Vec<u8>>, Ended> {
        let mut state = self.calls.state();
        loop {
            let half = state.calls.get_mut(&self.number).ok_or_else(Ended::gone)?;
            if let Some(message) = half.queue.pop_front() {
                half.owed += frame::cost(message.len());
                let due = frame::due(half.owed, !half.queue.is_empty());
                if let Some(due) = due {
                    half.left += due;
                    half.owed = 0;
                }
                drop(state);
                if let Some(due) = due {
                    self.calls.send(self.number, Kind::Credit, &due.to_be_bytes())?;
                }
                return Ok(Some(message));
            }
            if let Some(ended) = &half.ended {
                return ended.clone().map(|()| None);
            }
            state = self.calls.wait(state);
        }
    }

    /// The only message of a call's answer.
    pub fn answer(&self) -> Result<Vec<u8>, Ended> {
        let message = self.receive()?;
        while self.receive()?.is_some() {}
        Ok(message.unwrap_or_default())
    }

    fn finish(&self, outcome: Result<(), Ended>) {
        let ended = outcome.err().unwrap_or_default();
        let message = Message::new().number(1, ended.code.into()).bytes(2, &ended.message);
        // The daemon may be gone.
        let _ = self.calls.send(self.number, Kind::Status, message.as_ref());
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let half = self.calls.state().calls.remove(&self.number);
        // Ours that is not at its end: nobody listens any more.
        if self.number % 2 == 1 && half.is_some_and(|half| !half.over) {
            let _ = self.calls.send(self.number, Kind::Reset, &[]);
        }
    }
}
