//! What is kept of a container between two commands.
//!
//! ```text
//!  <root>/<id>/config.json   the configuration as it was when the container was made
//!              state.json    what was made, by write and rename; without it there is no container
//!              start.sock    init waits here; gone once it was started
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci::runtime::{Hooks, Resources, Spec, State};
use serde::{Deserialize, Serialize};

use super::{Error, io};
use crate::hooks;

/// Names below a container's directory.
pub const STATE: &str = "state.json";
pub const SOCKET: &str = "start.sock";
pub const CONFIG: &str = "config.json";

/// A container that `create` made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    pub id: String,
    pub bundle: PathBuf,
    /// Of the configuration, made absolute.
    pub rootfs: String,
    pub pid: i32,
    /// Field 22 of `/proc/<pid>/stat`: tells a process from a later one with its number.
    pub pid_start_time: u64,
    /// Nanoseconds since the epoch.
    pub created: u64,
    /// Who called `create`.
    pub owner: u32,
    /// Below the root of each hierarchy; empty: it has none of its own.
    pub cgroup: String,
    /// The systemd unit that the cgroup belongs to; empty: none.
    pub unit: String,
    /// The limits in force.
    pub resources: Resources,
    pub annotations: BTreeMap<String, String>,
    /// As they were when the container was made.
    pub hooks: Hooks,
}

impl Record {
    /// What hooks are told.
    pub fn state(&self, status: Status) -> State {
        State {
            oci_version: oci::runtime::VERSION.to_owned(),
            id: self.id.clone(),
            status: status.word().to_owned(),
            pid: if status == Status::Stopped { 0 } else { self.pid },
            bundle: self.bundle.to_string_lossy().into_owned(),
            annotations: self.annotations.clone(),
        }
    }

    /// `poststop`, of which nothing hangs any more: what goes wrong is a warning.
    pub fn after_stop(&self) {
        for error in hooks::run_every(&self.hooks.poststop, &self.state(Status::Stopped), Some(&self.bundle)) {
            super::log::warning(&format!("poststop: {}", crate::shim::chain(&error)));
        }
    }
}

/// The states of the runtime specification, and `paused`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub fn word(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// A container's directory and record.
#[derive(Debug)]
pub struct Entry {
    pub path: PathBuf,
    pub directory: OwnedFd,
    pub record: Record,
}

impl Entry {
    pub fn open(root: &Path, id: &str) -> Result<Entry, Error> {
        check_id(id)?;
        let path = root.join(id);
        let directory = match File::open(&path) {
            Ok(directory) => OwnedFd::from(directory),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::NotFound),
            Err(error) => return Err(io(path.display().to_string())(error)),
        };
        let record = std::fs::read(path.join(STATE)).map_err(|_| Error::NotFound)?;
        let record = serde_json::from_slice(&record).map_err(|error| io(STATE)(error.into()))?;
        Ok(Entry { path, directory, record })
    }

    /// Stores the record in the container's directory.
    pub fn store(path: &Path, record: &Record) -> Result<(), Error> {
        let bytes = serde_json::to_vec(record).map_err(|error| io(STATE)(error.into()))?;
        let temporary = path.join(".state.json");
        std::fs::write(&temporary, bytes).map_err(io(STATE))?;
        std::fs::rename(&temporary, path.join(STATE)).map_err(io(STATE))
    }

    /// The configuration that the container was made of; `root.path` and sources of bind mounts as the bundle has them.
    pub fn spec(&self) -> Result<Spec, Error> {
        let bytes = std::fs::read(self.path.join(CONFIG)).map_err(io(CONFIG))?;
        serde_json::from_slice(&bytes).map_err(|error| io(CONFIG)(error.into()))
    }

    /// The process's state; one that is paused counts as running or created here.
    fn process_status(&self) -> Status {
        let alive = sys::process::start_time(self.record.pid).is_ok_and(|time| time == self.record.pid_start_time);
        let zombie = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.record.pid)).unwrap_or_default();
            stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
        };
        match (alive && !zombie(), self.path.join(SOCKET).exists()) {
            (false, _) => Status::Stopped,
            (true, true) => Status::Created,
            (true, false) => Status::Running,
        }
    }

    pub fn status(&self) -> Status {
        match self.process_status() {
            Status::Running | Status::Created if self.is_frozen() => Status::Paused,
            other => other,
        }
    }

    /// Whether its first process is gone.
    pub fn is_stopped(&self) -> bool {
        self.process_status() == Status::Stopped
    }

    fn is_frozen(&self) -> bool {
        !self.record.cgroup.is_empty() && self.cgroup().and_then(|group| Ok(group.is_frozen()?)).unwrap_or(false)
    }

    /// The container's cgroup.
    pub fn cgroup(&self) -> Result<cgroup::Cgroup, Error> {
        if self.record.cgroup.is_empty() {
            return Err(Error::NoCgroup);
        }
        Ok(cgroup::Hierarchies::detect()?.open(&self.record.cgroup)?)
    }

    /// Whether its processes have a pid namespace of their own and so end with the first.
    pub fn owns_processes(&self) -> bool {
        let own = |spec: Spec| spec.linux.namespaces.iter().any(|ns| ns.kind == "pid" && ns.path.is_empty());
        self.spec().is_ok_and(own)
    }
}

/// The letters that runc allows.
pub fn check_id(id: &str) -> Result<(), Error> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
    match !id.is_empty() && id.len() <= 1024 && id.bytes().all(allowed) && id != "." && id != ".." {
        true => Ok(()),
        false => Err(Error::InvalidId(id.to_owned())),
    }
}
