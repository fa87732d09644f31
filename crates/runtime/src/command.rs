//! The command line of an OCI runtime on a bundle: create, start, state, kill, delete, run.
//!
//! ```text
//!  <root>/<id>/state.json    what was made, by write and rename
//!              start.sock    init waits here; gone once it was started
//! ```
//!
//! There is no shim: standard streams are the caller's, the parent of the container's process is whoever reaps
//! orphans for the caller (a subreaper such as conmon or containerd's shim).

mod create;
mod delete;
mod kill;
mod start;
mod state;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Where containers are recorded unless `--root` says otherwise.
pub const DEFAULT_ROOT: &str = "/run/hoist-runtime";

const STATE: &str = "state.json";
const SOCKET: &str = "start.sock";

/// Why a command failed; the words end up on standard error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Usage(String),
    #[error("container does not exist")]
    NotFound,
    #[error("container with id \"{0}\" already exists")]
    Exists(String),
    #[error("invalid container id {0:?}")]
    InvalidId(String),
    #[error("cannot {action} a container in the {status} state")]
    Status { action: &'static str, status: &'static str },
    #[error("{0}")]
    Start(String),
    /// Another container's, or somebody else's: what is there would be limited and killed with this container.
    #[error("container's cgroup is not empty: {processes} process(es) found in {path}")]
    CgroupInUse { path: String, processes: usize },
    #[error("{what}")]
    Io { what: String, source: io::Error },
    #[error(transparent)]
    Runtime(#[from] crate::Error),
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
}

fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let what = what.into();
    move |source| Error::Io { what, source }
}

/// A container that `create` made.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    id: String,
    bundle: PathBuf,
    pid: i32,
    pid_start_time: u64,
    cgroup: String,
    annotations: std::collections::BTreeMap<String, String>,
}

/// The states of the runtime specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Created,
    Running,
    Stopped,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Stopped => "stopped",
        }
    }
}

/// A container's directory and record.
#[derive(Debug)]
struct Entry {
    path: PathBuf,
    directory: OwnedFd,
    record: Record,
}

impl Entry {
    fn open(root: &Path, id: &str) -> Result<Entry, Error> {
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

    fn status(&self) -> Status {
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
}

fn check_id(id: &str) -> Result<(), Error> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
    match !id.is_empty() && id.len() <= 1024 && id.bytes().all(allowed) && id != "." && id != ".." {
        true => Ok(()),
        false => Err(Error::InvalidId(id.to_owned())),
    }
}

/// Global and command options, with what is left.
#[derive(Debug, Default)]
struct Options {
    root: PathBuf,
    bundle: PathBuf,
    pid_file: Option<PathBuf>,
    console_socket: Option<PathBuf>,
    force: bool,
    all: bool,
    detach: bool,
    words: Vec<String>,
}

fn parse(arguments: &[String]) -> Result<Options, Error> {
    let mut options = Options { root: DEFAULT_ROOT.into(), bundle: ".".into(), ..Options::default() };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if !argument.starts_with('-') || argument == "-" {
            options.words.push(argument.clone());
            continue;
        }
        if argument == "--" {
            options.words.extend(arguments.cloned());
            break;
        }
        let (name, inline) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        let on = match inline.as_deref() {
            Some("false" | "0") => false,
            // Also a value that belongs to a flag of another kind.
            _ => true,
        };
        let mut value = || {
            inline
                .clone()
                .or_else(|| arguments.next().cloned())
                .ok_or_else(|| Error::Usage(format!("flag needs a value: {name}")))
        };
        match name.trim_start_matches('-') {
            "root" => options.root = value()?.into(),
            "bundle" | "b" => options.bundle = value()?.into(),
            "pid-file" => options.pid_file = Some(value()?.into()),
            "console-socket" => options.console_socket = Some(value()?.into()),
            "log" | "log-format" => drop(value()?),
            // What they ask for is so anyway: no keyring is made, nothing is rootless.
            "debug" | "no-new-keyring" => {}
            "rootless" if value()? == "true" => return Err(Error::Usage("--rootless is not supported yet".to_owned())),
            "preserve-fds" if value()? != "0" => {
                return Err(Error::Usage("--preserve-fds is not supported yet".to_owned()));
            }
            "rootless" | "preserve-fds" => {}
            "systemd-cgroup" if on => return Err(Error::Usage("--systemd-cgroup is not supported yet".to_owned())),
            "no-pivot" if on => return Err(Error::Usage("--no-pivot is not supported".to_owned())),
            "systemd-cgroup" | "no-pivot" => {}
            "detach" | "d" => options.detach = on,
            "force" | "f" => options.force = on,
            "all" | "a" => options.all = on,
            _ => return Err(Error::Usage(format!("flag provided but not defined: {name}"))),
        }
    }
    Ok(options)
}

/// Whether `word` is a command of this module.
pub fn is_command(word: &str) -> bool {
    matches!(word, "create" | "start" | "state" | "kill" | "delete" | "run")
}

/// Runs a command; the exit status.
pub fn run(arguments: &[String]) -> Result<i32, Error> {
    let options = parse(arguments)?;
    let mut words = options.words.iter().map(String::as_str);
    let command = words.next().unwrap_or_default();
    let id = words.next().ok_or_else(|| Error::Usage(format!("{command}: a container id is required")))?;
    match command {
        "create" => create::create(&options, id).map(|_| 0),
        "run" => create::run(&options, id),
        "start" => start::start(&Entry::open(&options.root, id)?).map(|()| 0),
        "state" => state::print(&Entry::open(&options.root, id)?).map(|()| 0),
        "kill" => {
            kill::kill(&Entry::open(&options.root, id)?, words.next().unwrap_or("SIGTERM"), options.all).map(|()| 0)
        }
        "delete" => delete::delete(&options, id).map(|()| 0),
        other => Err(Error::Usage(format!("unknown command {other}"))),
    }
}
