//! `POST /containers/{id}/pause` and `/unpause`: the cgroup freezer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

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
    let group = group(engine, &container)?;
    container.freezing.store(true, Ordering::SeqCst);
    if let Err(error) = group.freeze() {
        container.freezing.store(false, Ordering::SeqCst);
        return Err(Error::system(format!("cannot pause container {id}"), error));
    }
    let Ok(record) = container.apply(Change::Pause) else {
        // It has ended meanwhile, and that was before the freezer: who has yet to go shall.
        container.freezing.store(false, Ordering::SeqCst);
        let _ = group.thaw();
        return Err(not_running(&container.id));
    };
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
    container.freezing.store(false, Ordering::SeqCst);
    if let Ok(record) = container.apply(Change::Unpause) {
        persist::save_later(engine, container);
        publish(engine, &record, "unpause", &[]);
    }
    Ok(())
}

/// What ends with a container that was being paused is let go: a process in the freezer cannot even be killed, and the shim
/// waits for those of its own.
pub(super) fn let_go(engine: &Engine, container: &Container) {
    let paused = container.freezing.load(Ordering::SeqCst) || container.snapshot().state.phase == Phase::Paused;
    if paused && let Ok(group) = group(engine, container) {
        let _ = group.thaw();
    }
}

fn group(engine: &Engine, container: &Container) -> Result<cgroup::Cgroup> {
    let cgroups = engine.cgroups.as_ref();
    let cgroups = cgroups.ok_or_else(|| Error::new(Kind::System, "no cgroups were found on this machine"))?;
    let path = engine.container_cgroup(&container.snapshot());
    cgroups.open(&path).map_err(|error| Error::system("open the container's cgroup", error))
}
