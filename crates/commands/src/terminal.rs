//! Standard streams: raw mode, window sizes, signals, hijacked streams, progress.

pub(crate) mod colour;
pub(crate) mod demux;
pub(crate) mod keys;
pub(crate) mod progress;
pub(crate) mod prompt;
pub(crate) mod session;
pub(crate) mod signals;
pub(crate) mod tty;
