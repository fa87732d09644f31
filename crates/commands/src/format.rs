//! `--format`: lists as tables, JSON lines or templates.

pub(crate) mod columns;
pub(crate) mod list;

pub(crate) use list::{Listing, write};
