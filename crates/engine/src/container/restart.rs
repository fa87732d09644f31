//! `POST /containers/{id}/restart`: stop, then start, in one operation.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::start::start_operating;
use super::stop::stop_operating;
use super::{Container, Phase, publish};
use crate::{Engine, Error, Kind, Result};

/// Whoever follows the container's log stays, while this lives.
struct GoesOn<'a>(&'a Container);

impl GoesOn<'_> {
    fn new(container: &Container) -> GoesOn<'_> {
        container.restarting.store(true, Ordering::Release);
        GoesOn(container)
    }
}

impl Drop for GoesOn<'_> {
    fn drop(&mut self) {
        self.0.restarting.store(false, Ordering::Release);
    }
}

/// Restarts a container; one that does not run is started. Parameters as with `stop`.
pub fn restart(engine: &Engine, id: &str, signal: Option<&str>, timeout: Option<i64>) -> Result<()> {
    let container = engine.containers.find(id)?;
    let _operation = container.operate();
    again(engine, &container, signal, timeout, 0)
}

/// Restarts a container whose run that began at `started_at` is unhealthy, unless somebody was faster: it was stopped, or
/// started anew. Counts as the policy's other restarts do.
pub(super) fn unhealthy(engine: &Engine, container: &Arc<Container>, started_at: u64) -> Result<()> {
    let _operation = container.operate();
    let record = container.snapshot();
    if !record.state.phase.is_alive() || record.state.started_at != started_at {
        return Ok(());
    }
    again(engine, container, None, None, record.state.restart_count.saturating_add(1))
}

fn again(
    engine: &Engine,
    container: &Arc<Container>,
    signal: Option<&str>,
    timeout: Option<i64>,
    count: u32,
) -> Result<()> {
    let id = container.id.as_str();
    let _goes_on = GoesOn::new(container);
    let phase = container.snapshot().state.phase;
    if container.snapshot().auto_remove() && phase.is_alive() {
        return Err(Error::conflict(format!("cannot restart container {id}: it is removed when it stops (--rm)")));
    }
    if phase.is_alive() || phase == Phase::Restarting {
        match stop_operating(engine, container, signal, timeout) {
            Err(error) if error.kind == Kind::NotModified => {}
            other => other?,
        }
    }
    container.update(|record| (record.state.restart_count, record.state.short_runs) = (count, 0));
    start_operating(engine, container)
        .map_err(|error| Error { message: format!("Cannot restart container {id}: {}", error.message), ..error })?;
    publish(engine, &container.snapshot(), "restart", &[]);
    Ok(())
}
