//! `DELETE /containers/{id}`: the record first, so that name and id are free; the files after the answer.

use std::sync::Arc;
use std::time::Instant;

use super::mounts::Kind as MountKind;
use super::state::Change;
use super::wait::{Condition, subscribe};
use super::{Container, Phase, attach, directory, kill, link, persist, publish};
use crate::system::Action;
use crate::{Engine, Error, Kind, Result};

/// Removes a container. `force`: kill it first; `volumes`: with its volumes that have no name; `only_link`: the link `CONTAINER/ALIAS` alone.
pub fn remove(engine: &Engine, id: &str, force: bool, volumes: bool, only_link: bool) -> Result<()> {
    let begun = Instant::now();
    if only_link {
        return link::remove(engine, id);
    }
    let container = engine.containers.find(id)?;
    if force && container.snapshot().state.phase.is_alive() {
        end(engine, &container)?;
    }
    let _operation = container.operate();
    container.settled();
    if force && container.snapshot().state.phase.is_alive() {
        // Somebody has started it again meanwhile; now nobody can.
        end(engine, &container)?;
        container.settled();
    }
    if force && container.snapshot().state.phase == Phase::Removing && engine.containers.get(&container.id).is_none() {
        return Ok(()); // it was started with --rm
    }
    let name = container.snapshot().name.clone();
    if !force && container.snapshot().state.phase == Phase::Restarting {
        return Err(Error::conflict(format!(
            "cannot remove container \"/{name}\": container is restarting: stop the container before removing or force remove"
        )));
    }
    if let Err(refused) = container.apply(Change::Remove) {
        return Err(Error::conflict(match refused.phase {
            Phase::Paused => {
                format!("cannot remove container \"/{name}\": container is paused and must be unpaused first")
            }
            Phase::Removing => format!("removal of container {id} is already in progress"),
            _ => format!(
                "cannot remove container \"/{name}\": container is running: stop the container before removing or force remove"
            ),
        }));
    }
    finish(engine, &container, volumes)?;
    engine.tally.took(Action::Delete, begun.elapsed());
    Ok(())
}

/// Kills what runs, and waits for the end; also for that of a process which ended by itself a moment ago, and whose end is on
/// the way.
fn end(engine: &Engine, container: &Container) -> Result<()> {
    let ended = subscribe(container, Condition::NotRunning);
    match kill::kill(engine, container.id.as_str(), None) {
        Err(error) if matches!(error.kind, Kind::Conflict | Kind::NotFound) => {
            ended.recv_for(kill::AFTER_KILL);
            Ok(())
        }
        outcome => outcome,
    }
}

/// Removes a container whose run has ended, or never came about (`--rm`).
pub(super) fn remove_ended(engine: &Engine, container: &Arc<Container>, volumes: bool) {
    if container.apply(Change::Remove).is_err() {
        return;
    }
    if let Err(error) = finish(engine, container, volumes) {
        tracing::error!(container = container.id.short(), error = error.full_text(), "the container was not removed");
    }
}

/// Everything of a container in phase `Removing`. The record is the commit point: what is left after it is swept up at
/// the next opening.
fn finish(engine: &Engine, container: &Arc<Container>, volumes: bool) -> Result<()> {
    if let Err(error) = persist::delete(engine, container) {
        let _ = container.apply(Change::RemoveFailed { error: error.full_text() });
        return Err(error);
    }
    engine.containers.remove(container);
    let record = container.snapshot();
    engine.execs.forget_container(&container.id);
    attach::dismiss(container);
    if let Err(error) = directory::remove(engine, &container.id) {
        tracing::warn!(container = container.id.short(), %error, "the container's files are still there");
    }
    if volumes {
        for mount in record.mounts.iter().filter(|mount| mount.kind == MountKind::Volume && mount.anonymous) {
            crate::volume::remove_unused(engine, &mount.volume);
        }
    }
    if matches!(engine.store.images().get(&record.image), Err(store::Error::NoImage { .. })) {
        // Its image was removed by force: nobody else may need the layers now.
        engine.workers.submit(|engine| crate::image::free_unused(engine));
    }
    publish(engine, &record, "destroy", &[]);
    let all = [Condition::NotRunning, Condition::NextExit, Condition::Removed];
    container.waiters.bring(&all, record.state.exit_code, "");
    Ok(())
}
