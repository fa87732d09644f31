//! `COPY` and `ADD`: which files, what they are, and the layer they become.
//!
//! ```text
//!  select   patterns → paths in the source tree
//!  walk     paths → entries (metadata, no data), in one order on every machine
//!  place    entries → paths in the image, following the links of the image
//!  digest   what the cache compares: names, modes, owners, contents; no times
//!  layer    entries and data → tar → a layer of the store
//! ```

pub mod digest;
pub mod layer;
pub mod mode;
pub mod owner;
pub mod place;
pub mod select;
pub mod walk;
