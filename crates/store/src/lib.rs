//! What hoist keeps: blobs, layers, images and their names, and the engine's documents.
//!
//! ```text
//!  <data root>/                                one store, one process at a time (lock)
//!    content/blobs/sha256/<hex>                blobs, as in an OCI layout
//!    content/ingest/                           blobs being written, and what is kept of interrupted ones
//!    layers/<diffID hex>.erofs                 one EROFS image per layer
//!    layers/<diffID hex>.tree/                 the same as a directory, where the kernel has no EROFS
//!    layers/<diffID hex>.split                 what the layer's tar had besides the contents of files
//!    meta.db                                   images, tags and their log, records (SQLite)
//!    meta.reserve                              room for the database, given to removals on a full disk
//!    meta/                                     the same as files, from which a lost database is made anew
//!    layers/trash/                             what was removed, until its blocks are freed
//!    lock
//! ```
//!
//! Promises
//! - A file under its real name is whole and durable. Whatever is written has a temporary name until it is committed,
//!   and a crash leaves nothing else; the next [`Store::open`] removes it.
//! - A layer is made in one pass over its tar, has the same bytes for the same tar, and is mounted once
//!   ([`Layers::mount`]). Its tar can be had back byte for byte ([`Layers::tar`]).
//! - Changes of images and tags survive a power cut, those of records the death of the process.
//! - Archives can ask for anything; what they get is an error, or a layer that is contained in itself.
//!
//! What it does not do: fetch anything, run anything, or decide when an image may be removed.

mod content;
mod db;
mod disk;
mod erofs;
mod error;
mod image;
mod import;
mod layer;
mod lease;
mod load;
mod mirror;
mod mount_points;
mod prune;
mod records;
mod reserve;
mod save;
mod split;
mod store;
mod verify;
mod view;
mod writeback;

pub use content::{BlobWriter, Content, Partial};
pub use disk::{Step, Witness};
pub use error::{Error, LayerError, Result};
pub use image::{CompressedLayer, ImageRecord, Images, Keep, MAX_VERSIONS, Version};
pub use layer::{Form, LayerInfo, LayerWriter, Layers, WrittenLayer};
pub use lease::Lease;
pub use load::Loaded;
pub use prune::{BUILD_CACHE, CONTAINER, Garbage, Pruned};
pub use records::{Record, Records};
pub use save::Saving;
pub use split::LayerTar;
pub use store::{Options, Store};
pub use verify::Checked;
pub use view::View;
pub use writeback::Writeback;
