//! Control groups of version 1, version 2 and both at once: make, limit, join, freeze, kill and remove them.
//!
//! ```text
//!  Hierarchies ── one per process: a descriptor per mounted hierarchy
//!   │ create("/hoist/x")                v1  /sys/fs/cgroup/memory/hoist/x
//!   ▼                                   v1  /sys/fs/cgroup/pids/hoist/x      …
//!  Cgroup ─ a directory descriptor in   v2  /sys/fs/cgroup/unified/hoist/x   (or /sys/fs/cgroup/hoist/x)
//!   │       each hierarchy
//!   ├─ join(pid) ─▶ rename("y") ─▶ apply(resources)    a parked process gets its container's name and limits later
//!   └─ freeze, thaw, kill_all, processes, oom_kills, stats, remove
//! ```
//!
//! What it promises:
//! - What is to be written is computed first, as data ([`plan_v1`], [`plan_v2`], [`devices::Policy`]); a small loop writes it.
//! - All work happens below directory descriptors; names with `..` or a `/` where a file is meant are refused.
//! - A limit is either in force or an error names the controller or file that is missing; none is dropped silently,
//!   except those that runc drops too (said where it happens).
//! - [`Cgroup::remove`] can be repeated, goes on after an error, and reports the first one.
//!
//! What it does not do: talk to systemd, decide names or limits, or mount anything.

pub mod devices;
mod devices_bpf;

mod apply;
mod controller;
mod create;
mod error;
mod file;
mod freeze;
mod group;
mod hierarchies;
mod join;
mod kill;
mod layout;
mod mounts;
mod oom;
mod owner;
mod plan;
mod plan_v1;
mod plan_v2;
mod processes;
mod remove;
mod rename;
mod stats;

pub use controller::Controller;
pub use error::{Error, Result};
pub use group::Cgroup;
pub use hierarchies::Hierarchies;
pub use layout::{Kind, Layout, V1Mount};
pub use mounts::ContainerMount;
pub use oom::OomWatch;
pub use plan::Write;
pub use plan_v1::plan_v1;
pub use plan_v2::{plan_v2, weight_of_shares};
pub use stats::{BlockIoStats, CpuStats, MemoryStats, PidsStats, Stats};
