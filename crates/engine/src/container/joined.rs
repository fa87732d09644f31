//! Namespaces of other containers that a container joins: `--ipc container:X` and `--pid container:X`. The network's are
//! in [`super::networking`].

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use api::container::{HostConfig, IpcMode, NetworkMode, PidMode};
use shim_api::{Role, State as ShimState, names};
use sys::mount;

use super::{Container, Phase, Record, directory};
use crate::{Engine, Error, Kind, Result};

/// Whether there are the containers whose namespaces are asked for.
pub(super) fn check(engine: &Engine, host: &HostConfig) -> Result<()> {
    if let NetworkMode::Container(other) = NetworkMode::parse(&host.network_mode) {
        named(engine, &other)?;
    }
    if let IpcMode::Container(other) = IpcMode::parse(&host.ipc_mode)? {
        named(engine, &other)?;
    }
    if let PidMode::Container(other) = PidMode::parse(&host.pid_mode)? {
        named(engine, &other)?;
    }
    Ok(())
}

/// Another container that a request for a new one names. A missing one is the request's fault and not "not found": clients
/// take that for a missing image, and pull it.
pub(super) fn named(engine: &Engine, name: &str) -> Result<std::sync::Arc<Container>> {
    engine.containers.find(name).map_err(|error| error.with_kind(Kind::InvalidParameter))
}

/// What the runtime is given for them. The others have to run.
pub(super) fn descriptors(engine: &Engine, record: &Record) -> Result<Vec<(Role, OwnedFd)>> {
    let mut all = Vec::new();
    if let IpcMode::Container(other) = IpcMode::parse(&record.host_config.ipc_mode)? {
        let prefixed =
            |error: Error| Error { message: format!("failed to join IPC namespace: {}", error.message), ..error };
        let other = running(engine, &other).map_err(prefixed)?;
        if IpcMode::parse(&other.host_config.ipc_mode)? != IpcMode::Shareable {
            return Err(prefixed(Error::invalid(format!(
                "container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                other.id
            ))));
        }
        all.push((Role::IpcNs, namespace(engine, &other, "ipc")?));
        all.push((Role::Shm, shared_memory(engine, &other)?));
    }
    if let PidMode::Container(other) = PidMode::parse(&record.host_config.pid_mode)? {
        let prefixed =
            |error: Error| Error { message: format!("failed to join PID namespace: {}", error.message), ..error };
        let other = running(engine, &other).map_err(prefixed)?;
        all.push((Role::PidNs, namespace(engine, &other, "pid")?));
    }
    Ok(all)
}

fn running(engine: &Engine, name: &str) -> Result<std::sync::Arc<Record>> {
    let found = engine.containers.find(name);
    let found = found.map_err(|error| Error { kind: Kind::InvalidParameter, ..error })?.snapshot();
    match found.state.phase {
        Phase::Restarting => {
            Err(Error::conflict(format!("Container {} is restarting, wait until the container is running", found.id)))
        }
        phase if phase.is_alive() && found.state.pid != 0 => Ok(found),
        _ => Err(super::not_running(&found.id)),
    }
}

fn namespace(engine: &Engine, record: &Record, kind: &str) -> Result<OwnedFd> {
    let failed = |error| Error::system(format!("open the {kind} namespace of container {}", record.id), error);
    let state = directory::read_exec::<ShimState>(engine, &record.id, names::STATE);
    let state = state.ok_or_else(|| super::not_running(&record.id))?;
    let opened = File::open(format!("/proc/{}/ns/{kind}", state.pid)).map(OwnedFd::from).map_err(failed)?;
    // Another process may have its number by now.
    match sys::process::start_time(state.pid) {
        Ok(time) if time == state.pid_start_time => Ok(opened),
        _ => Err(super::not_running(&record.id)),
    }
}

/// A detached copy of the mount that the other container has on `/dev/shm`.
///
/// Only in its own mount namespace can a mount be copied. The path is followed there, below the other's own root.
fn shared_memory(engine: &Engine, record: &Record) -> Result<OwnedFd> {
    let failed = |error: io::Error| Error::system(format!("open the shared memory of container {}", record.id), error);
    let namespace = namespace(engine, record, "mnt")?;
    let copy = move || {
        mount::join(namespace)?;
        mount::clone_path("/dev/shm", false)
    };
    let thread = std::thread::Builder::new().name("shared-memory".to_owned()).spawn(copy).map_err(failed)?;
    match thread.join() {
        Ok(copied) => copied.map_err(failed),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
