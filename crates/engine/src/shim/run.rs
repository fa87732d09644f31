//! The link to one shim: what is sent, and who waits for which answer.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shim_api::{FromShim, ToShim};

use crate::id::ContainerId;
use crate::{Error, Kind, Result};

/// A shim answers within milliseconds; after this long it is taken for stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// The answer of a shim that is gone: no errno.
const GONE: i32 = -1;

/// A value that one thread waits for and another brings.
#[derive(Debug)]
pub(crate) struct Slot<T> {
    value: Mutex<Option<T>>,
    brought: Condvar,
}

impl<T> Default for Slot<T> {
    fn default() -> Slot<T> {
        Slot { value: Mutex::new(None), brought: Condvar::new() }
    }
}

impl<T> Slot<T> {
    pub fn bring(&self, value: T) {
        *self.value.lock().unwrap_or_else(|poison| poison.into_inner()) = Some(value);
        self.brought.notify_all();
    }

    /// `None` when it does not come in time.
    pub fn wait(&self, timeout: Duration) -> Option<T> {
        let deadline = Instant::now() + timeout;
        let mut value = self.value.lock().unwrap_or_else(|poison| poison.into_inner());
        loop {
            if let Some(value) = value.take() {
                return Some(value);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            (value, _) = self.brought.wait_timeout(value, left).unwrap_or_else(|poison| poison.into_inner());
        }
    }
}

/// One life of a container: from its start to the end of its shim.
#[derive(Debug)]
pub(crate) struct Run {
    pub token: u64,
    pub container: ContainerId,
    pub(super) socket: OwnedFd,
    /// Of the contract, as the shim knows it.
    version: AtomicU32,
    /// Held while messages are taken and handled, so that their order is kept.
    pub(super) receiving: Mutex<()>,
    /// The exit was taken note of: whatever comes after does not count.
    pub(super) ended: AtomicBool,
    /// The socket is closed: the shim has ended.
    closed: Mutex<bool>,
    on_closed: Condvar,
    next_request: AtomicU64,
    pub(super) requests: Mutex<HashMap<u64, Arc<Slot<i32>>>>,
}

impl Run {
    pub(super) fn new(token: u64, container: ContainerId, socket: OwnedFd) -> Run {
        Run {
            token,
            container,
            socket,
            version: AtomicU32::new(shim_api::VERSION),
            receiving: Mutex::new(()),
            ended: AtomicBool::new(false),
            closed: Mutex::new(false),
            on_closed: Condvar::new(),
            next_request: AtomicU64::new(1),
            requests: Mutex::default(),
        }
    }

    /// What the shim said of itself: one that an older daemon started may be older than this one.
    pub fn set_version(&self, version: u32) {
        self.version.store(version, Ordering::Release);
    }

    /// Sends a message. Waits a while for a shim that does not read.
    ///
    /// # Errors
    /// Of kind `NotImplemented` when the shim is of a version that does not have the message.
    pub fn send(&self, message: &ToShim, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        let version = self.version.load(Ordering::Acquire);
        if message.since() > version {
            let (id, known) = (self.container.short(), shim_api::VERSION);
            let text = format!(
                "the shim of container {id}, which an older hoist started (protocol {version}, this daemon has {known}), \
                 cannot do this until the container is restarted"
            );
            return Err(Error::new(Kind::NotImplemented, text));
        }
        let bytes = serde_json::to_vec(message).map_err(|error| Error::system("write a message to the shim", error))?;
        let failed = |error: io::Error| Error::system("talk to the container's shim", error);
        for _ in 0..2 {
            match sys::socket::send(&self.socket, &bytes, descriptors) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait_for(self.socket.as_fd(), PollFlags::OUT, PATIENCE).map_err(failed)?;
                }
                // It ended with its container, and the news is on its way.
                Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                    return Err(crate::container::not_running(&self.container));
                }
                outcome => return outcome.map_err(failed),
            }
        }
        Err(failed(io::ErrorKind::TimedOut.into()))
    }

    /// Receives one message before [`super::Shims::listen`]; `None` at the shim's end.
    pub fn receive(&self, buffer: &mut [u8], timeout: Duration) -> Result<Option<FromShim>> {
        Ok(self.receive_with(buffer, timeout)?.map(|(message, _)| message))
    }

    /// [`Run::receive`], with the descriptors that come along.
    pub fn receive_with(&self, buffer: &mut [u8], timeout: Duration) -> Result<Option<(FromShim, Vec<OwnedFd>)>> {
        let failed = |error: io::Error| Error::system("hear from the container's shim", error);
        let deadline = Instant::now() + timeout;
        loop {
            match sys::socket::receive(&self.socket, buffer) {
                Ok((0, _)) => return Ok(None),
                Ok((length, descriptors)) => match serde_json::from_slice(&buffer[..length]) {
                    Ok(message) => return Ok(Some((message, descriptors))),
                    // A newer shim's, of which an older daemon knows nothing.
                    Err(error) => {
                        tracing::warn!(container = self.container.short(), %error, "the shim sent something odd");
                    }
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let left = deadline.checked_duration_since(Instant::now());
                    let left = left.ok_or_else(|| failed(io::ErrorKind::TimedOut.into()))?;
                    wait_for(self.socket.as_fd(), PollFlags::IN, left).map_err(failed)?;
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Sends a request and waits for its answer, an errno.
    pub fn request(&self, message: impl FnOnce(u64) -> ToShim) -> Result<()> {
        let request = self.next_request.fetch_add(1, Ordering::Relaxed);
        let slot = Arc::new(Slot::default());
        let requests = || self.requests.lock().unwrap_or_else(|poison| poison.into_inner());
        requests().insert(request, Arc::clone(&slot));
        // Nobody answers who is gone already; who goes later is noticed by `set_closed`.
        if *self.closed.lock().unwrap_or_else(|poison| poison.into_inner()) {
            slot.bring(GONE);
        }
        let outcome = self.send(&message(request), &[]).map(|()| slot.wait(PATIENCE));
        requests().remove(&request);
        match outcome? {
            Some(0) => Ok(()),
            Some(GONE) => Err(Error::conflict(format!("container {} is not running", self.container))),
            Some(errno) => Err(Error::system("ask the container's shim", io::Error::from_raw_os_error(errno))),
            None => Err(Error::system("ask the container's shim", io::Error::from(io::ErrorKind::TimedOut))),
        }
    }

    pub(super) fn set_closed(&self) {
        *self.closed.lock().unwrap_or_else(|poison| poison.into_inner()) = true;
        self.on_closed.notify_all();
        let mut requests = self.requests.lock().unwrap_or_else(|poison| poison.into_inner());
        requests.drain().for_each(|(_, slot)| slot.bring(GONE));
    }

    /// Waits for the shim's end, which follows its last message; false when that takes longer.
    pub fn wait_closed(&self, timeout: Duration) -> bool {
        let closed = self.closed.lock().unwrap_or_else(|poison| poison.into_inner());
        let waited = self.on_closed.wait_timeout_while(closed, timeout, |closed| !*closed);
        *waited.unwrap_or_else(|poison| poison.into_inner()).0
    }

    /// Whether its end was taken note of.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

fn wait_for(fd: BorrowedFd<'_>, flags: PollFlags, timeout: Duration) -> io::Result<()> {
    let timeout = Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    };
    match poll(&mut [PollFd::from_borrowed_fd(fd, flags)], Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shim of the first version is asked for what that has; the rest is refused at once, and not waited for.
    #[test]
    fn older_shims() {
        let (ours, theirs) = sys::socket::seqpacket_pair().unwrap();
        let run = Run::new(1, ContainerId::random(), ours);
        run.set_version(1);
        let address = ([127, 0, 0, 1], 80).into();
        let refused = run.request(|request| ToShim::Release { request, protocol: 6, address }).unwrap_err();
        assert_eq!(refused.kind, Kind::NotImplemented);
        assert!(refused.full_text().contains("protocol 1, this daemon has 2"), "{}", refused.full_text());
        run.send(&ToShim::Start, &[]).unwrap();
        run.set_version(2);
        run.send(&ToShim::Release { request: 1, protocol: 6, address }, &[]).unwrap();
        let mut buffer = [0; 256];
        let mut hear = || {
            let (length, _) = sys::socket::receive(&theirs, &mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        assert_eq!(hear(), "\"Start\"");
        assert_eq!(hear(), r#"{"Release":{"request":1,"protocol":6,"address":"127.0.0.1:80"}}"#);
    }

    /// What an older daemon does not know is left unheard.
    #[test]
    fn newer_shims() {
        let (ours, theirs) = sys::socket::seqpacket_pair().unwrap();
        let run = Run::new(1, ContainerId::random(), ours);
        for message in [r#"{"Dreamt":{"of":"sheep"}}"#, r#"{"LogLost":{"entries":3,"why":"disk"}}"#] {
            sys::socket::send(&theirs, message.as_bytes(), &[]).unwrap();
        }
        let heard = run.receive(&mut vec![0; 4096], Duration::from_secs(5)).unwrap();
        assert!(matches!(heard, Some(FromShim::LogLost { entries: 3 })), "{heard:?}");
    }
}
