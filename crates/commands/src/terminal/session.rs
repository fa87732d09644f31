//! A hijacked stream between the daemon and our standard streams.
//!
//! ```text
//!  stdin ──thread──▶ socket ──▶ daemon          (end of stdin: half-close; detach keys: end)
//!  stdout, stderr ◀── caller's thread ◀── socket
//! ```

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use client::Hijacked;

use super::keys::{self, Watch};
use super::tty::RawMode;
use super::{demux, tty};
use crate::failure::{Failure, Outcome};

/// Which streams are attached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Streams {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    pub(crate) tty: bool,
}

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The daemon closed its side.
    Closed,
    /// The user typed the detach keys.
    Detached,
}

/// A running session; the terminal is raw while it lives, if it is one and is asked for.
pub(crate) struct Session {
    stream: Hijacked,
    streams: Streams,
    detached: Arc<AtomicBool>,
    raw: Option<RawMode>,
}

/// Our stdout or stderr, unbuffered.
pub(crate) fn raw_output(stream: impl AsFd) -> Outcome<File> {
    let fd = stream.as_fd().try_clone_to_owned();
    fd.map(File::from).map_err(|e| Failure::new(e.to_string()))
}

impl Session {
    /// Starts passing stdin on.
    pub(crate) fn start(stream: Hijacked, streams: Streams, detach_keys: &str) -> Outcome<Session> {
        let detached = Arc::new(AtomicBool::new(false));
        let mut raw = None;
        if streams.stdin {
            if streams.tty {
                raw = RawMode::enter();
            }
            let writer = stream.writer().map_err(|e| Failure::new(e.to_string()))?;
            let stdin = std::io::stdin().as_fd().try_clone_to_owned().map_err(|e| Failure::new(e.to_string()))?;
            let watch = streams.tty.then(|| {
                Watch::new(
                    Some(detach_keys)
                        .filter(|k| !k.is_empty())
                        .and_then(keys::parse)
                        .unwrap_or_else(|| keys::DEFAULT.to_vec()),
                )
            });
            let flag = Arc::clone(&detached);
            std::thread::Builder::new()
                .name("stdin".to_owned())
                .spawn(move || send_input(File::from(stdin), writer, watch, &flag))
                .map_err(|e| Failure::new(format!("cannot start a thread: {e}")))?;
        }
        Ok(Session { stream, streams, detached, raw })
    }

    /// Copies the output until the daemon closes it or the user detaches; restores the terminal.
    pub(crate) fn finish(mut self) -> Outcome<End> {
        let result = self.copy_output();
        drop(self.raw.take());
        if self.detached.load(Ordering::Acquire) {
            return Ok(End::Detached);
        }
        match result {
            Ok(()) => Ok(End::Closed),
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(Failure::silent(141)),
            Err(e) => Err(Failure::new(e.to_string())),
        }
    }

    fn copy_output(&mut self) -> io::Result<()> {
        let mut out = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
        if self.streams.tty {
            let mut buffer = vec![0u8; 32 * 1024];
            loop {
                match self.stream.read(&mut buffer) {
                    Ok(0) => return Ok(()),
                    Ok(count) if self.streams.stdout => out.write_all(&buffer[..count])?,
                    Ok(_) => {}
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                    Err(e) => return Err(e),
                }
            }
        }
        let mut err = File::from(std::io::stderr().as_fd().try_clone_to_owned()?);
        demux::copy(&mut self.stream, &mut out, &mut err)
    }

    /// True when the container's output comes to us.
    pub(crate) fn has_output(&self) -> bool {
        self.streams.stdout || self.streams.stderr
    }

    /// Ends without reading what is left; restores the terminal.
    pub(crate) fn abandon(mut self) {
        drop(self.raw.take());
    }
}

fn send_input(mut stdin: File, mut socket: client::Socket, mut watch: Option<Watch>, detached: &AtomicBool) {
    let mut buffer = vec![0u8; 32 * 1024];
    loop {
        let count = match stdin.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let sent = match &mut watch {
            None => socket.write_all(&buffer[..count]),
            Some(watch) => {
                let (bytes, leave) = watch.feed(&buffer[..count]);
                let sent = socket.write_all(&bytes);
                if leave {
                    detached.store(true, Ordering::Release);
                    // Wakes the thread that copies the output.
                    let _ = socket.shutdown(Shutdown::Both);
                    return;
                }
                sent
            }
        };
        if sent.is_err() {
            return;
        }
    }
    // The daemon may have closed first.
    let _ = socket.shutdown(Shutdown::Write);
}

/// Size of the terminal for a request, when stdout is one.
pub(crate) fn console_size() -> Option<(u16, u16)> {
    tty::stdout_is_terminal().then(tty::size)
}
