//! Containers: what is known of them, and a file for each thing that can be done with one.
//!
//! ```text
//!  Containers ── by id, by name ──▶ Container
//!                                     ├─ record     a snapshot: readers take it and never wait
//!                                     ├─ operation  held while a request changes the container: requests queue up
//!                                     ├─ settling   held while the end of a run is taken note of
//!                                     └─ run        link to the shim, while one lives
//! ```

mod attach;
mod attachment;
mod check;
mod commit;
mod connect;
mod create;
mod directory;
mod exec;
mod exit;
mod explain;
#[cfg(test)]
mod fields;
mod files;
mod health;
mod idmap;
mod inspect;
mod joined;
mod kill;
mod link;
mod list;
mod log;
mod logging;
mod merge;
mod mounts;
mod names;
mod networking;
mod pause;
mod persist;
mod port;
mod propagation;
mod prune;
mod record;
mod remove;
mod rename;
mod resize;
mod resolver;
mod restart;
mod restore;
pub(crate) mod runtime;
mod security;
mod shutdown;
mod sources;
mod spec;
mod start;
mod state;
mod stats;
pub mod step;
mod stop;
mod targets;
mod top;
mod update;
mod userns;
mod wait;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

pub use attach::{AttachOptions, Stream, attach, detached};
pub use commit::{CommitRequest, commit};
pub use connect::{connect, disconnect};
pub use create::create;
pub use exec::{exec_create, exec_detached, exec_inspect, exec_resize, exec_start};
pub use explain::explain;
pub use files::{CopyIn, changes, copy_in, copy_out, export, path_stat};
pub use inspect::inspect;
pub use kill::kill;
pub use list::{ListOptions, Listed, list};
pub use log::{LogStream, LogsOptions, logs};
pub use pause::{pause, unpause};
pub use port::{add_ports, remove_ports};
pub use prune::prune;
pub use remove::remove;
pub use rename::rename;
pub use resize::resize;
pub use restart::restart;
pub use shutdown::shutdown;
pub(crate) use spec::default_device_rules;
pub use start::start;
pub use stats::{StatsStream, stats};
pub use stop::stop;
pub use top::top;
pub use update::update;
pub(crate) use userns::{Reserved as IdRanges, check_remap};
pub use wait::{Condition, Wait, wait};

pub(crate) use check::parse_list;
pub(crate) use exec::Execs;
pub(crate) use exit::{exited, lost};

pub(crate) use list::summaries;
pub use logging::DRIVERS as LOG_DRIVERS;
pub(crate) use logging::{Senders, Tidier, check_settings as check_log_settings, describe as describe_log};
pub(crate) use mounts::{Kind as MountKind, check_volume_name};
pub(crate) use networking::{EndpointNames, endpoint_resources};
pub(crate) use record::Record;
pub(crate) use resolver::{forget_peers, serve_names, serve_peers};
pub(crate) use restore::{greeted, restore};
pub(crate) use security::parse_kernel;
pub(crate) use state::Phase;

use crate::id::ContainerId;
use crate::shim::Run;
use crate::{Engine, Error, Result};
use attach::Pending;
use state::{Change, Refused};
use wait::Waiters;

/// A container as this process knows it. Durable is [`Record`]; the rest lives as long as this process.
#[derive(Debug)]
pub(crate) struct Container {
    pub id: ContainerId,
    record: RwLock<Arc<Record>>,
    operation: Mutex<()>,
    settling: Mutex<()>,
    /// Held while a snapshot is written to the database; true once the record was deleted.
    saving: Mutex<bool>,
    run: Mutex<Option<Arc<Run>>>,
    /// Ends the thread that watches its health, while there is one.
    watch: Mutex<Option<health::Stop>>,
    pending: Mutex<Vec<Pending>>,
    waiters: Waiters,
    /// A request stops it and starts it again: its log goes on.
    restarting: AtomicBool,
    /// A pause has frozen its cgroup, or is about to: its end has to thaw what is left in there.
    freezing: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}

impl Container {
    fn new(record: Record) -> Arc<Container> {
        Arc::new(Container {
            id: record.id.clone(),
            record: RwLock::new(Arc::new(record)),
            operation: Mutex::new(()),
            settling: Mutex::new(()),
            freezing: AtomicBool::new(false),
            saving: Mutex::new(false),
            run: Mutex::new(None),
            watch: Mutex::new(None),
            pending: Mutex::default(),
            waiters: Waiters::default(),
            restarting: AtomicBool::new(false),
        })
    }

    /// What is known now. Never waits for anything that can block.
    pub fn snapshot(&self) -> Arc<Record> {
        Arc::clone(&self.record.read().unwrap_or_else(|poison| poison.into_inner()))
    }

    /// Replaces the snapshot by a changed one.
    fn update(&self, change: impl FnOnce(&mut Record)) -> Arc<Record> {
        let mut record = self.record.write().unwrap_or_else(|poison| poison.into_inner());
        let mut changed = Record::clone(&record);
        change(&mut changed);
        *record = Arc::new(changed);
        Arc::clone(&record)
    }

    /// One step of the container's life; the driver of [`state`].
    fn apply(&self, change: Change) -> Result<Arc<Record>, Refused> {
        let mut record = self.record.write().unwrap_or_else(|poison| poison.into_inner());
        let state = state::next(&record.state, change)?;
        let mut changed = Record::clone(&record);
        changed.state = state;
        *record = Arc::new(changed);
        Ok(Arc::clone(&record))
    }

    /// Queues up behind other requests for this container.
    fn operate(&self) -> MutexGuard<'_, ()> {
        lock(&self.operation)
    }

    /// Waits until the end of the last run has been taken note of completely.
    fn settled(&self) {
        drop(lock(&self.settling));
    }

    fn run(&self) -> Option<Arc<Run>> {
        lock(&self.run).clone()
    }

    /// The link to the shim of a container that runs; else Docker's error.
    fn running(&self) -> Result<Arc<Run>> {
        let alive = self.snapshot().state.phase.is_alive();
        self.run().filter(|_| alive).ok_or_else(|| not_running(&self.id))
    }
}

pub(crate) fn not_running(id: &ContainerId) -> Error {
    Error::conflict(format!("container {id} is not running"))
}

/// All containers, by id and by name.
#[derive(Debug, Default)]
pub(crate) struct Containers {
    index: RwLock<Index>,
}

#[derive(Debug, Default)]
struct Index {
    by_id: BTreeMap<ContainerId, Arc<Container>>,
    by_name: HashMap<String, ContainerId>,
}

impl Containers {
    /// All of them, in no order that means anything.
    pub fn all(&self) -> Vec<Arc<Container>> {
        self.read().by_id.values().cloned().collect()
    }

    pub fn get(&self, id: &ContainerId) -> Option<Arc<Container>> {
        self.read().by_id.get(id).cloned()
    }

    /// By id, by name (with or without `/`), or by an unambiguous beginning of an id, in this order.
    pub fn find(&self, text: &str) -> Result<Arc<Container>> {
        let index = self.read();
        if let Some(found) = ContainerId::parse(text).and_then(|id| index.by_id.get(&id)) {
            return Ok(Arc::clone(found));
        }
        let name = text.strip_prefix('/').unwrap_or(text);
        if let Some(found) = index.by_name.get(name).and_then(|id| index.by_id.get(id)) {
            return Ok(Arc::clone(found));
        }
        let mut matching = index.by_id.values().filter(|container| container.id.as_str().starts_with(text));
        match (matching.next(), matching.next()) {
            (Some(only), None) if !text.is_empty() => Ok(Arc::clone(only)),
            (Some(_), Some(_)) if !text.is_empty() => {
                Err(Error::invalid(format!("multiple IDs found with provided prefix: {text}")))
            }
            _ => Err(Error::not_found(format!("No such container: {text}"))),
        }
    }

    fn insert(&self, container: Arc<Container>) {
        let mut index = self.write();
        index.by_name.insert(container.snapshot().name.clone(), container.id.clone());
        index.by_id.insert(container.id.clone(), container);
    }

    fn remove(&self, container: &Container) {
        let mut index = self.write();
        index.by_id.remove(&container.id);
        index.by_name.retain(|_, id| *id != container.id);
    }

    fn rename(&self, container: &Container, old: &str, new: &str) {
        let mut index = self.write();
        index.by_name.remove(old);
        index.by_name.insert(new.to_owned(), container.id.clone());
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(|poison| poison.into_inner())
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(|poison| poison.into_inner())
    }
}

/// Tells of something that happened to a container, with Docker's attributes and those given.
fn publish(engine: &Engine, record: &Record, action: &str, extra: &[(&str, String)]) {
    let mut attributes: api::Map<String> = record.config.labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    attributes.insert("image".to_owned(), record.config.image.clone());
    attributes.insert("name".to_owned(), record.name.clone());
    for (name, value) in extra {
        attributes.insert((*name).to_owned(), value.clone());
    }
    engine.events.publish(crate::events::Of::Container, action, record.id.as_str(), attributes);
}
