//! Values of the flags of `run` and `create`: text to what the API wants.

pub(crate) mod body;
pub(crate) mod csv;
pub(crate) mod device;
pub(crate) mod filters;
pub(crate) mod gpus;
pub(crate) mod kvfile;
pub(crate) mod mount;
pub(crate) mod network;
pub(crate) mod ports;
pub(crate) mod resource;
pub(crate) mod security;
pub(crate) mod table;
pub(crate) mod volume;
