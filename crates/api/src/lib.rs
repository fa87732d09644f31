//! The words of the Engine API: its JSON documents as types, version 1.51, and the parsing rules that need no state.
//!
//! ```text
//!  container   create, list, inspect, wait, top, update; host configuration, mounts, ports
//!  exec        create, start, inspect            image    list, inspect, history, delete, progress messages
//!  network     list, inspect                     volume   create, list, inspect
//!  system      version, info, df                 event    one event
//!  error       {"message": …}                    filters  the `filters` query parameter
//!  bind, signal, duration, size, timestamp       text that clients send inside of these
//! ```
//!
//! - Output has the keys, their order, and `null` against `[]` against absent, as dockerd 28 has them: see [`List`]
//!   and [`Map`]. Whoever fills in a document says by these which of the forms it is.
//! - Input is read as Go reads it: an absent key and `null` mean the zero value, unknown keys are ignored.
//! - Texts of errors that a client sees are Docker's.
//!
//! Not here: older API versions (lifted by http-api), anything that needs the state of a machine or a clock.

#[macro_use]
mod json;

pub mod bind;
pub mod container;
pub mod duration;
pub mod error;
pub mod event;
pub mod exec;
pub mod explain;
pub mod extension;
pub mod filters;
pub mod image;
pub mod network;
pub mod signal;
pub mod size;
pub mod system;
pub mod timestamp;
pub mod volume;

pub use json::{Empty, List, Map, Words};

/// Newest version of the Engine API that is served.
pub const VERSION: &str = "1.51";

/// Oldest version of the Engine API that is served.
pub const MIN_VERSION: &str = "1.24";

/// The `bool` in a query string: Docker takes everything for true that is not one of these.
///
/// moby `daemon/server/httputils.BoolValue`.
#[must_use]
pub fn query_bool(text: &str) -> bool {
    !matches!(text.trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
}

#[cfg(test)]
mod tests {
    #[test]
    fn bools_of_a_query() {
        for (text, value) in [("", false), ("0", false), ("No", false), (" none ", false), ("1", true), ("x", true)] {
            assert_eq!(super::query_bool(text), value, "{text:?}");
        }
    }
}
