//! Commands about networks: one file per verb.

pub(crate) mod inspect;
pub(crate) mod list;
