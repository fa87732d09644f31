//! The engine: decides what happens to containers, images, volumes and networks.
//!
//! ```text
//!  an edge (HTTP, CRI, tests) ── calls a verb ──▶ container::start(&engine, "web")
//!                                                     │ look · plan · guard · commit · event
//!                 ┌──────────┬──────────┬─────────────┼───────────┬──────────────┐
//!                 ▼          ▼          ▼             ▼           ▼              ▼
//!               store     network     volume        logs     distribution   spawner ─▶ shim ─▶ container
//! ```
//!
//! - A verb is a free function in the file of its name; it blocks. [`Engine`] holds the services and does nothing itself.
//! - Requests for one container queue up behind its operation lock; reads take a snapshot and wait for nobody.
//! - The durable truth is the store's records and what the shims have written; after `kill -9` [`Engine::open`] takes up
//!   every container where it is now.
//! - Long waits are subscriptions: [`container::Wait`], [`EventStream`], [`container::LogStream`], or a socket. Each can be
//!   ended from another thread.
//!
//! What it does not do: speak HTTP, run tasks on an async runtime, mount or fork a container, or link the runtime.

mod cancel;
pub mod cdi;
mod config;
pub mod container;
mod disk;
mod error;
mod events;
mod host;
mod id;
pub mod image;
mod name;
pub mod network;
mod open;
mod reload;
mod shim;
pub mod system;
mod time;
pub mod volume;
mod workers;

pub use cancel::Canceller;
pub use config::{Config, DEFAULT_DATA_ROOT, OWN_RUNTIME, Runtime};
pub use container::{AttachOptions, Condition, LOG_DRIVERS, ListOptions, LogStream, LogsOptions, Stream, Wait};
pub use error::{Error, Kind, Result};
pub use events::EventStream;
pub use id::ContainerId;
pub use image::Cancel;
pub use open::Engine;
pub use store::Form as LayerForm;
pub use system::EventsOptions;
