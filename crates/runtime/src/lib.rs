//! The runtime: makes containers out of plans, and looks after their processes.
//!
//! ```text
//!  spawner ──fork──▶ shim ──▶ seed (in the container's cgroup) ──clone──▶ init ──exec──▶ the user's process
//!     │                ▲          cgroup v1 only; on v2 the shim clones into the cgroup itself
//!     └─ parked shims ─┘          (a shim and its seed, joined in advance)
//! ```
//!
//! Promises: one thread; nothing on the way to the user's process is exec'd; nothing waits for hoistd once the
//! container runs; every failure names its step. Roles are functions that never return: [`spawner::run`].
//!
//! It does not decide: names, limits, mounts and networks come as data (`shim_api::Launch`).

pub mod command;
mod default_devices;
pub mod features;
pub mod hooks;
pub mod init;
mod mount_option;
pub mod plan;
mod report;
pub mod seccomp;
mod seed;
mod shim;
pub mod spawner;
mod user;

use std::cell::OnceCell;
use std::rc::Rc;

use oci::capability::{CapSet, DOCKER_DEFAULT};
use oci::runtime::Process;
use sys::process::SingleThreaded;
use sys::seccomp::Instruction;

/// What every process of this program shares, made once by the spawner and inherited by its forks.
#[derive(Debug)]
pub struct Context {
    proof: SingleThreaded,
    hierarchies: cgroup::Hierarchies,
    /// Docker's default filter for Docker's default capabilities, once it was asked for.
    default_filter: OnceCell<(Rc<[Instruction]>, sys::seccomp::Flags)>,
    default_capabilities: CapSet,
}

/// Why the runtime cannot work on this host.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("this process has more than one thread")]
    Threads(#[source] std::io::Error),
    #[error("cgroups")]
    Cgroup(#[from] cgroup::Error),
    #[error("seccomp")]
    Seccomp(#[from] seccomp::Error),
    #[error("{what}")]
    Io { what: &'static str, source: std::io::Error },
}

impl Context {
    /// Looks at the host.
    pub fn new() -> Result<Context, Error> {
        Ok(Context {
            proof: SingleThreaded::verify().map_err(Error::Threads)?,
            hierarchies: cgroup::Hierarchies::detect()?,
            default_filter: OnceCell::new(),
            default_capabilities: CapSet::from_names(&DOCKER_DEFAULT).unwrap_or_default(),
        })
    }

    /// Compiles the default filter, for this process and all that it forks later.
    pub fn default_filter(&self) -> Result<init::Filter, seccomp::Error> {
        let (program, flags) = match self.default_filter.get() {
            Some(compiled) => compiled,
            None => {
                let profile = seccomp::docker_default(self.default_capabilities)?;
                let compiled = (seccomp::compile(&profile)?.into(), seccomp::flags(&profile)?);
                self.default_filter.get_or_init(|| compiled)
            }
        };
        Ok(init::Filter { program: program.clone(), flags: *flags, notify: None })
    }

    /// The host's cgroups.
    pub fn hierarchies(&self) -> &cgroup::Hierarchies {
        &self.hierarchies
    }

    /// The filter that a process gets, if any.
    fn filter(
        &self,
        choice: shim_api::Seccomp,
        spec: Option<&oci::runtime::Seccomp>,
        document: &str,
        process: &Process,
    ) -> Result<Option<init::Filter>, init::Error> {
        let invalid = |error: seccomp::Error| init::Error::Invalid(format!("seccomp: {error}"));
        if choice == shim_api::Seccomp::Default && capabilities(process) == self.default_capabilities {
            return self.default_filter().map(Some).map_err(invalid);
        }
        let Some(profile) = self.profile(choice, spec, document, process)? else { return Ok(None) };
        let program = seccomp::compile(&profile).map_err(invalid)?.into();
        Ok(Some(init::Filter { program, flags: seccomp::flags(&profile).map_err(invalid)?, notify: None }))
    }

    /// The profile that a process gets, if any.
    fn profile(
        &self,
        choice: shim_api::Seccomp,
        spec: Option<&oci::runtime::Seccomp>,
        document: &str,
        process: &Process,
    ) -> Result<Option<oci::runtime::Seccomp>, init::Error> {
        let invalid = |error: seccomp::Error| init::Error::Invalid(format!("seccomp: {error}"));
        let set = capabilities(process);
        Ok(match choice {
            shim_api::Seccomp::Unconfined => None,
            shim_api::Seccomp::Spec => spec.cloned(),
            shim_api::Seccomp::Profile => {
                let host = seccomp::Host::detect().map_err(invalid)?;
                Some(seccomp::resolve_docker_profile(document.as_bytes(), set, host).map_err(invalid)?)
            }
            shim_api::Seccomp::Default => Some(seccomp::docker_default(set).map_err(invalid)?),
        })
    }

    /// A connection to the agent that the filter's notifications are for, if it makes any.
    fn notify(
        &self,
        choice: shim_api::Seccomp,
        spec: Option<&oci::runtime::Seccomp>,
        state: Option<oci::runtime::State>,
    ) -> Result<Option<init::Notify>, init::Error> {
        match spec.filter(|_| choice == shim_api::Seccomp::Spec) {
            Some(profile) if seccomp::notifies(profile).map_err(|error| init::Error::Invalid(error.to_string()))? => {
                let (path, metadata) = (&profile.listener_path, &profile.listener_metadata);
                init::Notify::connect(self.proof, path, metadata, state.unwrap_or_default()).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// The most that a process can have.
fn capabilities(process: &Process) -> CapSet {
    let names = process.capabilities.as_ref().map(|sets| sets.bounding.as_slice()).unwrap_or_default();
    CapSet::from_known_names(names)
}
