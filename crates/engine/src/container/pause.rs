//! `POST /containers/{id}/pause` and `/unpause`: the cgroup freezer.

use std::sync::Arc;

use super::state::Change;
use super::{Container, Phase, not_running, persist, publish};
use crate::{Engine, Error, Kind, Result};

/// Freezes all processes of a container.
pub fn pause(engine: &Engine, id: &str) -> Result<()> {
    let container = engine.containers.find(id)?;
    let _operation = container.operate();
    match container.snapshot().state.phase {
        Phase::Running => {}
        Phase::Paused => return Err(Error::conflict(format!("container {id} is already paused"))),
        _ => return Err(not_running(&container.id)),
    }
    group(engine, &container)?
        .freeze()
        .map_err(|error| Error::system(format!("cannot pause container {id}"), error))?;
    let record = container.apply(Change::Pause).map_err(|_| not_running(&container.id))?;
    persist::save_later(engine, &container);
    publish(engine, &record, "pause", &[]);
    Ok(())
}

/// Lets them run again.
pub fn unpause(engine: &Engine, id: &str) -> Result<()> {
    let container = engine.containers.find(id)?;
    let _operation = container.operate();
    if container.snapshot().state.phase != Phase::Paused {
        return Err(Error::new(Kind::System, format!("Container {id} is not paused")));
    }
    thaw(engine, &container)
}

/// [`unpause`] of a container that is paused.
pub(super) fn thaw(engine: &Engine, container: &Arc<Container>) -> Result<()> {
    let thawed = group(engine, container)?.thaw();
    thawed.map_err(|error| Error::system(format!("cannot unpause container {}", container.id), error))?;
    if let Ok(record) = container.apply(Change::Unpause) {
        persist::save_later(engine, container);
        publish(engine, &record, "unpause", &[]);
    }
    Ok(())
}

fn group(engine: &Engine, container: &Container) -> Result<cgroup::Cgroup> {
    let cgroups = engine.cgroups.as_ref();
    let cgroups = cgroups.ok_or_else(|| Error::new(Kind::System, "no cgroups were found on this machine"))?;
    let path = engine.container_cgroup(&container.snapshot());
    cgroups.open(&path).map_err(|error| Error::system("open the container's cgroup", error))
}
