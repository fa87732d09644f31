//! The words of the Open Container Initiative: digests, references, manifests, image configurations and the
//! runtime specification, as plain data.
//!
//! What it promises: parsing is total (no panics on any input), and nothing here touches a file, a clock or a socket.
//! What it does not do: fetch, store or run anything.

pub mod runtime;
