//! `POST /containers/{id}/kill`: a signal to the container's first process. It does not queue behind other requests: a
//! stop that waits can be cut short.

use std::sync::Arc;
use std::time::Duration;

use shim_api::{ProcessRef, ToShim};

use super::pause;
use super::wait::{Condition, subscribe};
use super::{Container, Phase, not_running, publish};
use crate::{Engine, Error, Kind, Result};

/// The kernel ends a killed process at once, unless it is in the middle of I/O.
pub(super) const AFTER_KILL: Duration = Duration::from_secs(10);

/// Sends a signal, SIGKILL when none is named.
pub fn kill(engine: &Engine, id: &str, signal_name: Option<&str>) -> Result<()> {
    let number = match signal_name.filter(|text| !text.is_empty()) {
        Some(text) => api::signal::parse(text)?,
        None => sys::signal::SIGKILL,
    };
    let container = engine.containers.find(id)?;
    let record = container.snapshot();
    if number == sys::signal::SIGKILL || number == record.stop_signal() {
        container.update(|record| record.state.stopped_by_user = true);
    }
    let ended = subscribe(&container, Condition::NotRunning);
    signal(engine, &container, number)
        .map_err(|error| Error { message: format!("cannot kill container: {id}: {}", error.message), ..error })?;
    // As with Docker, a killed container is not running any more when the answer comes.
    if number == sys::signal::SIGKILL {
        ended.recv_for(AFTER_KILL);
    }
    Ok(())
}

/// Sends a signal to a living container and tells of it.
pub(super) fn signal(engine: &Engine, container: &Arc<Container>, number: i32) -> Result<()> {
    let run = container.running()?;
    let paused = container.snapshot().state.phase == Phase::Paused;
    let sent = run.request(|request| ToShim::Signal { request, process: ProcessRef::Init, signal: number, all: false });
    if let Err(error) = sent {
        // The process ended before the signal came; its end is on the way, or the shim's: that one answers no more.
        let gone = error.kind == Kind::Conflict || container.run().is_none_or(|now| now.has_ended()) || run.has_ended();
        let errno = std::error::Error::source(&error)
            .and_then(|source| source.downcast_ref::<std::io::Error>())
            .and_then(std::io::Error::raw_os_error);
        use rustix::io::Errno;
        let ended = [Errno::SRCH, Errno::PIPE, Errno::CONNRESET, Errno::NOTCONN];
        if gone || ended.iter().any(|ended| errno == Some(ended.raw_os_error())) {
            return Err(not_running(&container.id));
        }
        return Err(error.with_kind(Kind::System));
    }
    publish(engine, &container.snapshot(), "kill", &[("signal", number.to_string())]);
    // A frozen process gets its signal when it is thawed.
    if paused {
        pause::thaw(engine, container)?;
    }
    Ok(())
}
