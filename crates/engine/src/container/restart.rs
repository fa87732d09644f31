//! `POST /containers/{id}/restart`: stop, then start, in one operation.

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
    let _goes_on = GoesOn::new(&container);
    let phase = container.snapshot().state.phase;
    if container.snapshot().auto_remove() && phase.is_alive() {
        return Err(Error::conflict(format!("cannot restart container {id}: it is removed when it stops (--rm)")));
    }
    if phase.is_alive() || phase == Phase::Restarting {
        match stop_operating(engine, &container, signal, timeout) {
            Err(error) if error.kind == Kind::NotModified => {}
            other => other?,
        }
    }
    start_operating(engine, &container)
        .map_err(|error| Error { message: format!("Cannot restart container {id}: {}", error.message), ..error })?;
    publish(engine, &container.snapshot(), "restart", &[]);
    Ok(())
}
