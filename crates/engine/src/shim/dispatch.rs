//! The thread that listens to all shims.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread;

use rustix::event::epoll;
use rustix::io::Errno;
use shim_api::FromShim;

use super::{Run, SPAWNER, WAKE};
use crate::Engine;
use crate::container;

/// Messages of one wake-up of the thread.
const BATCH: usize = 64;

/// Starts the thread. It ends with the engine.
pub(crate) fn start_thread(engine: &Arc<Engine>) -> std::io::Result<()> {
    let epoll = rustix::io::fcntl_dupfd_cloexec(&engine.shims.epoll, 0)?;
    let engine = Arc::downgrade(engine);
    thread::Builder::new().name("shims".to_owned()).spawn(move || listen(&epoll, &engine))?;
    Ok(())
}

fn listen(epoll: &std::os::fd::OwnedFd, engine: &Weak<Engine>) {
    let mut buffer = vec![0; shim_api::MAX_MESSAGE];
    let mut events: Vec<epoll::Event> = Vec::with_capacity(BATCH);
    loop {
        events.clear();
        match epoll::wait(epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => {
                tracing::error!(%errno, "the shims cannot be listened to any more");
                return;
            }
        }
        let Some(engine) = engine.upgrade() else { return };
        for event in &events {
            match event.data.u64() {
                WAKE => return,
                SPAWNER => engine.shims.spawner.revive(&engine.shims),
                token => {
                    let run = engine.shims.runs().get(&token).cloned();
                    if let Some(run) = run {
                        take_messages(&engine, &run, &mut buffer);
                    }
                }
            }
        }
    }
}

/// Handles whatever a shim has said so far. What it said before it did something that a client can see (closing a
/// stream) is known after this.
pub(crate) fn drain(engine: &Engine, run: &Arc<Run>) {
    take_messages(engine, run, &mut vec![0; shim_api::MAX_MESSAGE]);
}

fn take_messages(engine: &Engine, run: &Arc<Run>, buffer: &mut [u8]) {
    let _order = run.receiving.lock().unwrap_or_else(|poison| poison.into_inner());
    loop {
        match sys::socket::receive(&run.socket, buffer) {
            Ok((0, _)) => return closed(engine, run),
            Ok((length, _)) => match serde_json::from_slice(&buffer[..length]) {
                Ok(message) => handle(engine, run, message),
                Err(error) => tracing::warn!(container = run.container.short(), %error, "the shim sent something odd"),
            },
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
            Err(error) => {
                tracing::debug!(container = run.container.short(), %error, "the shim's socket");
                return closed(engine, run);
            }
        }
    }
}

fn closed(engine: &Engine, run: &Arc<Run>) {
    engine.shims.forget(run);
    run.set_closed();
    engine.execs.shim_ended(engine, &run.container);
    if !run.ended.swap(true, Ordering::AcqRel) {
        let run = Arc::clone(run);
        engine.workers.submit(move |engine| container::lost(engine, &run));
    }
}

fn handle(engine: &Engine, run: &Arc<Run>, message: FromShim) {
    match message {
        FromShim::Hello { state, execs, exit: None, .. } => container::greeted(engine, run, state.as_ref(), &execs),
        // Execs that outlive the first process (without a pid namespace of their own) are killed now; the shim tells how
        // each of them ended before it closes the socket.
        FromShim::Exited { exit } | FromShim::Hello { exit: Some(exit), .. } => {
            if !run.ended.swap(true, Ordering::AcqRel) {
                let run = Arc::clone(run);
                engine.workers.submit(move |engine| container::exited(engine, &run, &exit));
            }
        }
        FromShim::Done { request, errno } => {
            let slot = run.requests.lock().unwrap_or_else(|poison| poison.into_inner()).remove(&request);
            if let Some(slot) = slot {
                slot.bring(errno);
            }
        }
        FromShim::ExecStarted { id, pid } => engine.execs.started(&id, pid),
        FromShim::ExecFailed { id, message, exit_code } => engine.execs.failed(&id, message, exit_code),
        FromShim::ExecExited { id, exit_code } => engine.execs.exited(engine, &id, exit_code),
        FromShim::LogFinished => engine.tidier.look(&run.container),
        FromShim::LogLost { entries } => {
            tracing::warn!(
                container = run.container.short(),
                entries,
                "entries of its log were lost: the disk is full"
            );
        }
        // Answers that the one who asked takes itself; here they are late or twice.
        FromShim::Started { .. } | FromShim::Failed { .. } | FromShim::Network => {
            tracing::debug!(container = run.container.short(), "a message out of turn");
        }
    }
}
