//! After a start of the daemon: what went on without it.
//!
//! ```text
//!  record said it ran ─┬─ shim answers Hello ──────────▶ runs: linked again
//!                      ├─ exit.json ───────────────────▶ ended meanwhile: taken note of now
//!                      └─ neither ─────────────────────▶ killed: 137, leftovers removed
//! ```
//! All shims are asked before the first answer is waited for.

use std::collections::HashSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shim_api::{ExecState, Exit, FromShim, State as ShimState, ToShim, names};

use super::state::{Change, Phase};
use super::{Container, attach, directory, exit, lock, networking, persist, remove};
use crate::id::ContainerId;
use crate::shim::Run;
use crate::{Engine, Error, Result};

/// For all shims together.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was found of a container that may run.
enum Found {
    Alive { run: Arc<Run>, state: ShimState, execs: Vec<ExecState> },
    Ended,
}

/// Takes up all containers. The threads run already; no request comes in yet.
pub(crate) fn restore(engine: &Arc<Engine>) -> Result<()> {
    let records = persist::load(engine)?;
    let known: HashSet<ContainerId> = records.iter().map(|record| record.id.clone()).collect();
    let mut unsettled = Vec::new();
    let mut half_removed = Vec::new();
    for record in records {
        let phase = record.state.phase;
        let may_run = phase.is_alive() || phase == Phase::Starting || engine.exec_dir(&record.id).exists();
        let waits = phase == Phase::Restarting;
        let container = Container::new(record);
        engine.containers.insert(Arc::clone(&container));
        if may_run {
            let asked = ask(engine, &container);
            unsettled.push((container, asked));
        } else if phase == Phase::Removing {
            half_removed.push(container);
        } else if waits {
            exit::restart_after(engine, &container, Duration::ZERO);
        }
    }
    let deadline = Instant::now() + PATIENCE;
    let mut living = Vec::new();
    let mut ended = Vec::new();
    for (container, asked) in unsettled {
        match answer(asked, deadline) {
            Found::Alive { run, state, execs } => {
                revive(engine, &container, &run, &state, &execs);
                living.extend(container.snapshot().endpoint.clone());
            }
            Found::Ended => ended.push(container),
        }
    }
    let restored = engine.networks.restore(&living);
    restored.map_err(|error| Error::system("restore the network of the running containers", error))?;
    sweep(engine, &known);
    for container in ended {
        note_end(engine, &container);
    }
    for container in half_removed {
        container.update(|record| record.state.phase = Phase::Dead);
        remove::remove_ended(engine, &container, false);
    }
    Ok(())
}

/// Says Hello to the shim, if there is one.
fn ask(engine: &Engine, container: &Container) -> Option<Arc<Run>> {
    let directory: OwnedFd = directory::open(&engine.exec_dir(&container.id)).ok()?;
    let socket = sys::socket::seqpacket_connect(&directory, names::SOCKET).ok()?;
    let run = engine.shims.link(container.id.clone(), socket).ok()?;
    run.send(&ToShim::Hello { version: shim_api::VERSION }, &[]).ok()?;
    Some(run)
}

fn answer(asked: Option<Arc<Run>>, deadline: Instant) -> Found {
    let Some(run) = asked else { return Found::Ended };
    let mut buffer = vec![0; shim_api::MAX_MESSAGE];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match run.receive(&mut buffer, left) {
            Ok(Some(FromShim::Hello { state: Some(state), execs, exit: None, .. })) => {
                return Found::Alive { run, state, execs };
            }
            // Not started, or ended: what is stored counts.
            Ok(Some(FromShim::Hello { .. })) | Ok(None) => return Found::Ended,
            Ok(Some(_)) => {}
            Err(error) => {
                tracing::warn!(
                    container = run.container.short(),
                    error = error.full_text(),
                    "the shim does not answer"
                );
                return Found::Ended;
            }
        }
    }
}

fn revive(engine: &Engine, container: &Arc<Container>, run: &Arc<Run>, state: &ShimState, execs: &[ExecState]) {
    if !container.snapshot().state.phase.is_alive() {
        container.update(|record| record.state.phase = Phase::Starting);
        let _ = container.apply(Change::Started { pid: state.pid, at: state.started_at });
        persist::save_later(engine, container);
    }
    container.update(|record| record.state.pid = state.pid);
    if let (_, Err(error)) = attach::hand_over(container, run) {
        tracing::debug!(container = container.id.short(), error = error.full_text(), "no client can have waited");
    }
    for exec in execs {
        engine.execs.adopt(&container.id, &exec.id, exec.pid);
    }
    if let Err(error) = engine.shims.listen(run) {
        tracing::error!(container = container.id.short(), error = error.full_text(), "its end will not be noticed");
    }
}

/// It does not run (any more): takes over the stored status, or calls it killed.
fn note_end(engine: &Arc<Engine>, container: &Arc<Container>) {
    let record = container.snapshot();
    let stored = directory::read_exec::<Exit>(engine, &record.id, names::EXIT);
    if let Some(state) = directory::read_exec::<ShimState>(engine, &record.id, names::STATE)
        && record.state.phase == Phase::Starting
    {
        let _ = container.apply(Change::Started { pid: state.pid, at: state.started_at });
    }
    let never_ran = stored.is_none() && matches!(record.state.phase, Phase::Starting | Phase::Created | Phase::Exited);
    let already = stored.as_ref().is_some_and(|exit| record.state.finished_at == exit.finished_at);
    if never_ran || already || container.snapshot().state.phase == Phase::Exited {
        // A start that was cut short, or files of an end that is in the record.
        exit::kill_leftovers(engine, &record);
        if container.snapshot().state.phase == Phase::Starting {
            let error = "the daemon ended while the container was being started".to_owned();
            let _ = container.apply(Change::StartFailed { code: 128, error });
        }
        if let Some(endpoint) = &record.endpoint {
            networking::detach(engine, endpoint);
        }
        directory::remove_exec(engine, &record.id);
        if let Err(error) = persist::save(engine, container) {
            tracing::error!(container = record.id.short(), error = error.full_text(), "the record was not stored");
        }
        if record.auto_remove() {
            remove::remove_ended(engine, container, true);
        }
        return;
    }
    *lock(&container.run) = None;
    exit::settle_lost(engine, container);
}

/// Removes what no record knows: directories of a create or remove that was cut short, exec directories, cgroups.
fn sweep(engine: &Engine, known: &HashSet<ContainerId>) {
    let unknown = |name: &std::ffi::OsStr| name.to_str().and_then(ContainerId::parse).filter(|id| !known.contains(id));
    for entry in fs::read_dir(engine.containers_dir()).into_iter().flatten().flatten() {
        if let Some(id) = unknown(&entry.file_name())
            && let Err(error) = directory::remove(engine, &id)
        {
            tracing::warn!(container = id.short(), %error, "files without a container");
        }
    }
    let parent = engine.config.cgroup_parent();
    for entry in fs::read_dir(engine.exec_containers_dir()).into_iter().flatten().flatten() {
        if let Some(id) = unknown(&entry.file_name()) {
            if let Some(group) =
                engine.cgroups.as_ref().and_then(|cgroups| cgroups.open(&format!("{parent}/{id}")).ok())
            {
                let _ = group.kill_all();
                let _ = group.remove();
            }
            directory::remove_exec(engine, &id);
        }
    }
    for entry in fs::read_dir(engine.trash_dir()).into_iter().flatten().flatten() {
        let path = entry.path();
        engine.workers.submit(move |_| {
            if let Err(error) = fs::remove_dir_all(&path) {
                tracing::warn!(%error, path = %path.display(), "leftovers of a removed container");
            }
        });
    }
}
