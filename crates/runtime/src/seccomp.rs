//! Seccomp: from a profile to the program that the kernel runs at every system call.
//!
//! ```text
//!  Docker's profile (JSON) ──docker──▶ oci::runtime::Seccomp ──verdict──▶ per architecture: intervals of numbers,
//!   conditions on capabilities,         rules by name                     each with one verdict
//!   architecture, kernel                                                     │ compile
//!                                                                            ▼
//!                                         binary search on the number, then comparisons of arguments, then `RET`
//! ```
//!
//! What it promises:
//! - The program's verdict equals a naive reading of the profile for every number and architecture (tested so).
//! - Calls newer than the newest one a profile knows fail with ENOSYS and not EPERM, so that programs fall back to the
//!   older call; the same rule as runc's.
//! - Architectures that a profile does not list are refused by killing the thread, as libseccomp does: x32 calls of an
//!   x86_64 program included.
//!
//! What it does not do: install anything (`sys::seccomp`), or split the multiplexers `socketcall` and `ipc` of 32-bit
//! x86: they are calls like others.

mod action;
mod arch;
mod compile;
mod docker;
mod table;
mod verdict;

pub use action::{ACTIONS, OPERATORS};
pub use arch::{ARCHITECTURES, Arch};
pub use compile::{compile, compile_for};
pub use docker::{Host, docker_default, resolve_docker_profile};

use oci::runtime::Seccomp;
use sys::seccomp::Flags;

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("seccomp profile is not valid JSON")]
    Json(#[source] serde_json::Error),
    #[error("unknown seccomp action {0:?}")]
    UnknownAction(String),
    #[error("unknown seccomp architecture {0:?}")]
    UnknownArchitecture(String),
    #[error("unknown seccomp operator {0:?}")]
    UnknownOperator(String),
    #[error("unknown seccomp flag {0:?}")]
    UnknownFlag(String),
    /// The kernel carries errno values up to 4095.
    #[error("seccomp errno {0} is out of range")]
    ErrnoOutOfRange(u32),
    /// Only `SCMP_ACT_ERRNO` and `SCMP_ACT_TRACE` carry one.
    #[error("seccomp action {action} takes no errno ({errno})")]
    ErrnoWithout { action: String, errno: u32 },
    /// A system call has six arguments.
    #[error("seccomp argument index {0} is out of range")]
    ArgumentOutOfRange(u32),
    #[error("SCMP_ACT_NOTIFY cannot be {0}")]
    Notify(&'static str),
    #[error("a seccomp rule has an empty system call name")]
    EmptyName,
    #[error("a seccomp rule has both \"name\" and \"names\"")]
    NameAndNames,
    #[error("a seccomp profile has both \"architectures\" and \"archMap\"")]
    ArchitecturesAndMap,
    #[error("invalid kernel version {0:?}")]
    KernelVersion(String),
    /// No program longer than 4096 instructions is accepted by the kernel.
    #[error("seccomp profile needs {0} instructions, more than the kernel takes")]
    TooLong(usize),
    #[error("cannot read the kernel's version or this process's capabilities")]
    Host(#[source] std::io::Error),
}

/// Flags that are understood.
pub const FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

/// The flags to install a profile's filter with. Without any, `SECCOMP_FILTER_FLAG_SPEC_ALLOW`, as runc does.
pub fn flags(profile: &Seccomp) -> Result<Flags, Error> {
    if profile.flags.is_empty() {
        return Ok(Flags::SPEC_ALLOW);
    }
    profile.flags.iter().try_fold(Flags::default(), |flags, name| {
        let flag = match name.as_str() {
            "SECCOMP_FILTER_FLAG_TSYNC" => Flags::TSYNC,
            "SECCOMP_FILTER_FLAG_LOG" => Flags::LOG,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => Flags::SPEC_ALLOW,
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => Flags::WAIT_KILLABLE_RECV,
            _ => return Err(Error::UnknownFlag(name.clone())),
        };
        Ok(flags.union(flag))
    })
}

/// Whether a filter of this profile makes notifications, for the agent at `listenerPath`.
///
/// The call that hands the listener over must not wait for the agent that is to get it.
pub fn notifies(profile: &Seccomp) -> Result<bool, Error> {
    const NOTIFY: &str = "SCMP_ACT_NOTIFY";
    if profile.listener_path.is_empty() && !profile.listener_metadata.is_empty() {
        return Err(Error::Notify("without listenerPath, which listenerMetadata is for"));
    }
    if profile.default_action == NOTIFY {
        return Err(Error::Notify("the default action"));
    }
    let mut notifying = profile.syscalls.iter().filter(|rule| rule.action == NOTIFY).peekable();
    if notifying.peek().is_none() {
        return Ok(false);
    }
    if profile.listener_path.is_empty() {
        return Err(Error::Notify("used without listenerPath"));
    }
    match notifying.flat_map(|rule| &rule.names).any(|name| name == "write") {
        true => Err(Error::Notify("used for the write syscall")),
        false => Ok(true),
    }
}

#[cfg(test)]
mod tests;
