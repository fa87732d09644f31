//! `GET /hoist/containers/{id}/explain`: a container as the kernel has it now.
//!
//! ```text
//!  first process ─┬─ /proc/PID/{status,ns/*,mountinfo,cgroup,net/*}      namespaces, mounts, capabilities, sockets
//!                 ├─ cgroup.procs, cgroup files                          processes, limits, use
//!                 └─ rtnetlink and nfnetlink, inside and outside         links, bridge, published ports
//!  the record is only compared with it: what differs is said
//! ```

mod limits;
mod mounts;
mod namespaces;
mod network;
mod processes;
mod security;

use std::fs;

use api::container::Inspect;
use api::explain::{Explanation, Layer, Root};

use super::{Record, directory, inspect, list};
use crate::{Engine, Result};

/// Explains a container, running or not.
pub fn explain(engine: &Engine, id: &str) -> Result<Explanation> {
    let container = engine.containers.find(id)?;
    let record = container.snapshot();
    let known = inspect::inspect(engine, record.id.as_str(), false)?;
    let mut told = Explanation {
        id: known.id.clone(),
        name: record.name.clone(),
        status: known.state.status.clone(),
        exit_code: known.state.exit_code,
        image: record.config.image.clone(),
        layers: layers(engine, &record).into(),
        root: Root {
            writable: i64::try_from(list::size_rw(engine, &record)).unwrap_or(i64::MAX),
            writable_path: engine
                .container_dir(&record.id)
                .join(directory::WRITABLE)
                .join("upper")
                .to_string_lossy()
                .into_owned(),
            ..Root::default()
        },
        ..Explanation::default()
    };
    let mut differences = Vec::new();
    if record.state.phase.is_alive() {
        living(engine, &record, &known, &mut told, &mut differences);
    } else {
        told.mounts = mounts::planned(&known).into();
        still_there(engine, &record, &mut differences);
    }
    told.differences = differences.into();
    Ok(told)
}

/// The parts that only a running container has.
fn living(engine: &Engine, record: &Record, known: &Inspect, told: &mut Explanation, differences: &mut Vec<String>) {
    let pid = record.state.pid;
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
        differences.push(format!("it is recorded as {}, and its first process {pid} is gone", told.status));
        return;
    };
    let processes = processes::read(engine, record, differences);
    told.namespaces = namespaces::read(engine, record, known, differences).into();
    told.cgroup = limits::read(engine, record, known, differences);
    told.security = security::read(pid, &status, known, differences);
    let (root, mounted) = mounts::read(record, known, differences);
    (told.root.filesystem, told.root.options) = root;
    told.mounts = mounted.into();
    network::read(engine, record, known, &processes, told, differences);
    told.processes = processes.into();
}

/// What should have gone with a container that ended.
fn still_there(engine: &Engine, record: &Record, differences: &mut Vec<String>) {
    let Some(cgroups) = &engine.cgroups else { return };
    let path = engine.container_cgroup(record);
    let left = cgroups.open(&path).ok().and_then(|group| group.processes().ok()).unwrap_or_default();
    if !left.is_empty() {
        differences.push(format!("it does not run, and its cgroup {path} has {} processes", left.len()));
    }
}

fn layers(engine: &Engine, record: &Record) -> Vec<Layer> {
    let files = engine.store.layers();
    let image = engine.store.images().get(&record.image).ok();
    // Instructions that made no layer are left out, so that the rest are the layers in order.
    let history: Vec<String> = image
        .iter()
        .flat_map(|image| image.config.history.iter())
        .filter(|step| !step.empty_layer)
        .map(|step| step.created_by.clone())
        .collect();
    let made = |index: usize| if history.len() == record.layers.len() { history[index].clone() } else { String::new() };
    let layer = |(index, diff_id): (usize, &oci::Digest)| Layer {
        diff_id: diff_id.to_string(),
        size: files.size(diff_id).map_or(0, |size| i64::try_from(size).unwrap_or(i64::MAX)),
        created_by: made(index),
    };
    record.layers.iter().enumerate().map(layer).collect()
}

/// The value of a line of `/proc/PID/status`.
fn line<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// The last of several numbers in such a line.
fn last_number(status: &str, name: &str) -> Option<i64> {
    line(status, name)?.split_ascii_whitespace().next_back()?.parse().ok()
}

/// The first of them.
fn first_number(status: &str, name: &str) -> Option<i64> {
    line(status, name)?.split_ascii_whitespace().next()?.parse().ok()
}
