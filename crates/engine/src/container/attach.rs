//! Joining clients to a container's streams: now if it runs, else as soon as it starts.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use shim_api::{AttachStreams, ProcessRef, ToShim};

use super::log::{LogsOptions, log_stream};
use super::{Container, Phase, lock, publish};
use crate::shim::Run;
use crate::{Engine, Error, Result};

/// What a client wants of the streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// First what the log has.
    pub logs: bool,
    /// The streams as they are from now on.
    pub stream: bool,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// For clients that let the daemon look for them; ours look themselves.
    pub detach_keys: String,
}

/// A client's end.
#[derive(Debug)]
pub struct Stream {
    /// `SOCK_STREAM`: what comes out of it goes to the client as it is, what the client sends goes in. Shutting down the
    /// sending side ends the process's standard input.
    pub socket: OwnedFd,
    /// The process has a terminal: raw bytes instead of frames.
    pub tty: bool,
}

/// A client that came before the start.
#[derive(Debug)]
pub(super) struct Pending {
    streams: AttachStreams,
    socket: OwnedFd,
}

/// Most clients that can wait for one container's start.
const MAX_PENDING: usize = 64;

/// `POST /containers/{id}/attach`.
pub fn attach(engine: &Engine, id: &str, options: &AttachOptions) -> Result<Stream> {
    let container = engine.containers.find(id)?;
    let record = container.snapshot();
    if record.state.phase == Phase::Paused {
        return Err(Error::conflict(format!("container {id} is paused, unpause the container before attach")));
    }
    if record.state.phase == Phase::Restarting {
        return Err(Error::conflict(format!("container {id} is restarting, wait until the container is running")));
    }
    let (ours, theirs) = sys::socket::stream_pair().map_err(|error| Error::system("make a stream", error))?;
    publish(engine, &record, "attach", &[]);
    let streams = AttachStreams {
        stdin: options.stdin && record.config.open_stdin,
        stdout: options.stdout,
        stderr: options.stderr,
    };
    let stream = Stream { socket: ours, tty: record.config.tty };
    if !options.logs {
        if options.stream {
            join(&container, streams, theirs)?;
        }
        return Ok(stream);
    }
    // The log's entries come before what is said from now on; a slow client must not hold this thread.
    let wanted = LogsOptions { stdout: options.stdout, stderr: options.stderr, ..LogsOptions::default() };
    let log = log_stream(engine, &container, &wanted)?;
    let go_on = options.stream;
    std::thread::Builder::new()
        .name("attach-logs".to_owned())
        .stack_size(256 * 1024)
        .spawn(move || {
            let mut socket = File::from(theirs);
            for chunk in log {
                match chunk {
                    Ok(chunk) if socket.write_all(&chunk).is_ok() => {}
                    _ => return,
                }
            }
            if go_on {
                let _ = join(&container, streams, socket.into());
            }
        })
        .map_err(|error| Error::system("start a thread", error))?;
    Ok(stream)
}

/// A client has typed the keys and is gone.
pub fn detached(engine: &Engine, id: &str) {
    // Without the container there is nobody to tell about.
    if let Ok(container) = engine.containers.find(id) {
        publish(engine, &container.snapshot(), "detach", &[]);
    }
}

/// Hands the socket to the shim, or keeps it for the start.
fn join(container: &Container, streams: AttachStreams, socket: OwnedFd) -> Result<()> {
    let mut pending = lock(&container.pending);
    match container.run().filter(|run| !run.has_ended()) {
        Some(run) => {
            drop(pending);
            send(&run, streams, &socket)
        }
        None => {
            pending.retain(|waiting| !has_hung_up(&waiting.socket));
            if pending.len() >= MAX_PENDING {
                return Err(Error::conflict("too many clients wait for the container's start"));
            }
            pending.push(Pending { streams, socket });
            Ok(())
        }
    }
}

/// Hands over those who waited; the link becomes the container's at the same moment. They are given back, to be kept
/// until it is sure that the shim has them.
pub(super) fn hand_over(container: &Container, run: &Arc<Run>) -> (Vec<Pending>, Result<()>) {
    let mut pending = lock(&container.pending);
    let waiting = std::mem::take(&mut *pending);
    let outcome = waiting.iter().try_for_each(|client| send(run, client.streams, &client.socket));
    *lock(&container.run) = Some(Arc::clone(run));
    (waiting, outcome)
}

/// They wait again: nobody has them.
pub(super) fn take_back(container: &Container, waiting: Vec<Pending>) {
    lock(&container.pending).extend(waiting);
}

/// Those who waited hear the end: the container could not be started, or is removed.
pub(super) fn dismiss(container: &Container) {
    lock(&container.pending).clear();
}

fn send(run: &Run, streams: AttachStreams, socket: &OwnedFd) -> Result<()> {
    let AttachStreams { stdin, stdout, stderr } = streams;
    run.send(&ToShim::Attach { process: ProcessRef::Init, stdin, stdout, stderr }, &[socket.as_fd()])
}

fn has_hung_up(socket: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(socket, PollFlags::empty())];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|_| fds[0].revents().contains(PollFlags::HUP))
}
