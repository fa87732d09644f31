//! The daemon itself: version, info, disk usage, events.

mod df;
mod events;
mod info;
mod metrics;
mod tally;
mod verify;
mod version;

pub use df::df;
pub use events::{EventsOptions, events};
pub use info::info;
pub use metrics::metrics;
pub(crate) use tally::{Action, Tally};
pub use verify::verify;
pub use version::version;

/// How images and containers are stored, in Docker's documents: layers stacked by overlayfs.
pub(crate) const STORAGE_DRIVER: &str = "overlayfs";

/// Name of the OCI runtime in documents.
pub(crate) const RUNTIME: &str = "hoist-runtime";
