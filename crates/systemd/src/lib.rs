//! Asks systemd for a cgroup: transient units over D-Bus, without a D-Bus library.
//!
//! ```text
//!  "system.slice:docker:web" ──path──▶ slice system.slice, unit docker-web.scope
//!  Resources ──properties──▶ MemoryMax, CPUWeight, TasksMax, …
//!                                │
//!  Manager ── wire ── unix socket ──▶ systemd      StartTransientUnit, wait for JobRemoved, StopUnit, SetUnitProperties
//! ```
//!
//! Promises: names and properties are computed first, as data; nothing that systemd sends can make this crate panic or
//! read without bound; a unit that was asked for either runs or an error says what systemd answered.
//!
//! It does not write to the cgroup's files (`cgroup` does, for what systemd has no property for), and it knows no other
//! service on the bus.

mod connection;
mod manager;
mod path;
mod properties;
pub mod wire;

use std::io;

pub use manager::Manager;
pub use path::{Location, control_group_of_slice};
pub use properties::{Device, Property, Value, device_properties, properties};

/// What the caller can act on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// None of the sockets of the system's or the user's systemd can be reached.
    #[error("cannot reach systemd at {path}")]
    Connect { path: String, source: io::Error },
    #[error("systemd did not accept this user: {answer}")]
    Refused { answer: String },
    #[error("talk to systemd")]
    Io(#[from] io::Error),
    /// Something that is no D-Bus message.
    #[error("systemd sent an invalid message: {0}")]
    Invalid(&'static str),
    /// systemd's own answer, such as `org.freedesktop.systemd1.UnitExists`.
    #[error("systemd: {message} ({name})")]
    Answer { name: String, message: String },
    /// The job ended as something other than `done`.
    #[error("systemd could not start {unit}: {result}")]
    Job { unit: String, result: String },
    #[error("systemd did not finish the job of {unit} in time")]
    Timeout { unit: String },
    /// runc's form for the systemd driver.
    #[error("cgroupsPath {0:?} is not of the form slice:prefix:name")]
    CgroupsPath(String),
}
