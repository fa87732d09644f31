//! `POST /containers/{id}/stop`: a signal, patience, then SIGKILL.

use std::sync::Arc;
use std::time::Duration;

use api::container::DEFAULT_STOP_TIMEOUT;

use super::state::Change;
use super::wait::{Condition, subscribe};
use super::{Container, Phase, kill, persist, publish};
use crate::{Engine, Error, Kind, Result};

/// After SIGKILL only the kernel's own delay is left.
const AFTER_KILL: Duration = Duration::from_secs(30);

/// Stops a container. `signal`: else the container's own; `timeout` in seconds, -1 waits forever: else the container's.
pub fn stop(engine: &Engine, id: &str, signal: Option<&str>, timeout: Option<i64>) -> Result<()> {
    let container = engine.containers.find(id)?;
    let _operation = container.operate();
    stop_operating(engine, &container, signal, timeout)
}

/// [`stop`] by someone who holds the operation lock.
pub(super) fn stop_operating(
    engine: &Engine,
    container: &Arc<Container>,
    signal: Option<&str>,
    timeout: Option<i64>,
) -> Result<()> {
    if container.snapshot().state.phase.is_alive() {
        container.update(|record| record.state.stopped_by_user = true);
    }
    end(engine, container, signal, timeout)
}

/// Ends a container; whether it is to stay down is for the caller to say.
pub(super) fn end(
    engine: &Engine,
    container: &Arc<Container>,
    signal: Option<&str>,
    timeout: Option<i64>,
) -> Result<()> {
    let record = container.snapshot();
    let number = match signal.filter(|text| !text.is_empty()) {
        Some(text) => api::signal::parse(text)?,
        None => record.stop_signal(),
    };
    if record.state.phase == Phase::Restarting {
        let _ = container.apply(Change::Stopped);
        container.update(|record| record.state.stopped_by_user = true);
        persist::save(engine, container)?;
        publish(engine, &container.snapshot(), "stop", &[]);
        return Ok(());
    }
    if !record.state.phase.is_alive() {
        return Err(Error::not_modified());
    }
    let ended = subscribe(container, Condition::NotRunning);
    let seconds = timeout.or(record.config.stop_timeout).unwrap_or(DEFAULT_STOP_TIMEOUT);
    // A container that has ended meanwhile is what was asked for.
    let _ = kill::signal(engine, container, number);
    let stopped = match u64::try_from(seconds) {
        Ok(seconds) => ended.recv_for(Duration::from_secs(seconds)).is_some(),
        Err(_) => ended.recv().is_some(),
    };
    if !stopped {
        let _ = kill::signal(engine, container, sys::signal::SIGKILL);
        if ended.recv_for(AFTER_KILL).is_none() {
            return Err(Error::new(
                Kind::System,
                format!(
                    "cannot stop container: {}: tried to kill container, but did not receive an exit event",
                    record.name
                ),
            ));
        }
    }
    publish(engine, &container.snapshot(), "stop", &[]);
    Ok(())
}
