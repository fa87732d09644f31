//! The command line of an OCI runtime on a bundle, as runc has it.
//!
//! ```text
//!  options   the command line as data          record   what is kept between two commands
//!  create ─▶ start ─▶ exec, kill, pause, …  ─▶ delete        run: all of it, and the wait in between
//! ```
//!
//! There is no shim: standard streams are the caller's, the parent of the container's process is whoever reaps
//! orphans for the caller (a subreaper such as conmon or containerd's shim).

mod console;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod log;
mod options;
mod pause;
mod place;
mod ps;
mod record;
mod run;
mod spec;
mod start;
mod state;
mod stats;
mod update;
mod wait;

use std::io;
use std::path::PathBuf;

use options::{Given, Parsed};
use record::{Entry, Status};

/// Where containers are recorded unless `--root` says otherwise.
pub const DEFAULT_ROOT: &str = "/run/hoist-runtime";

/// Why a command failed; the words end up on standard error and in the log. Where callers of runc look for words, they
/// are runc's.
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
    /// containerd takes these words for "it has ended".
    #[error("container not running")]
    NotRunning,
    #[error("container not paused")]
    NotPaused,
    #[error("cannot exec in a paused container (use --ignore-paused to override)")]
    ExecPaused,
    #[error("cannot delete container {id} that is not stopped: {status}")]
    NotStopped { id: String, status: &'static str },
    #[error("{0}")]
    Start(String),
    /// Named, so that nobody takes it for done.
    #[error("{0} is not supported by this runtime")]
    Unsupported(String),
    /// Another container's, or somebody else's: what is there would be limited and killed with this container.
    #[error("container's cgroup is not empty: {processes} process(es) found in {path}")]
    CgroupInUse { path: String, processes: usize },
    /// Made without rights on cgroups.
    #[error("the container has no cgroup of its own")]
    NoCgroup,
    #[error("{what}")]
    Io { what: String, source: io::Error },
    #[error(transparent)]
    Runtime(#[from] crate::Error),
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    #[error(transparent)]
    Systemd(#[from] systemd::Error),
}

fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let what = what.into();
    move |source| Error::Io { what, source }
}

/// Where the records of containers are: `--root`, or the user's own directory for whoever is not root.
fn root(given: &Given) -> PathBuf {
    match given.value("root").filter(|path| !path.is_empty()) {
        Some(path) => path.into(),
        None if rustix::process::geteuid().is_root() => DEFAULT_ROOT.into(),
        None => match std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty()) {
            Some(path) => PathBuf::from(path).join("hoist-runtime"),
            None => DEFAULT_ROOT.into(),
        },
    }
}

/// The container that the command names, without further words.
fn entry(given: &Given) -> Result<Entry, Error> {
    Entry::open(&root(given), given.id_and(0)?)
}

fn checkpoint(given: &Given) -> Result<i32, Error> {
    Err(Error::Unsupported(format!("{} (it needs CRIU)", given.command.name)))
}

/// Runs a command line and says on standard error, and in the log, what went wrong; the exit status.
pub fn main(arguments: &[String], version: &str) -> i32 {
    let given = match Given::parse(arguments) {
        Ok(Parsed::Run(given)) => given,
        Ok(Parsed::Usage(text)) => {
            print!("{text}");
            return 0;
        }
        Ok(Parsed::Version) => {
            println!("hoist-runtime version {version}\nspec: {}", oci::runtime::VERSION);
            return 0;
        }
        Ok(Parsed::Nothing) => {
            eprint!("{}", options::usage());
            return 2;
        }
        Err(error) => {
            eprintln!("hoist-runtime: {error}");
            return 1;
        }
    };
    let result = log::open(&given).and_then(|()| (given.command.run)(&given));
    result.unwrap_or_else(|error| {
        let message = crate::shim::chain(&error);
        log::error(&message);
        eprintln!("hoist-runtime: {message}");
        // A number that is hardly a program's own, as with runc.
        if given.command.name == "exec" { 255 } else { 1 }
    })
}
