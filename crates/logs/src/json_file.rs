//! Docker's `json-file` format: one JSON object a line with `log`, `stream`, `attrs` if there are any, and `time`.

mod line;
mod writer;

pub(crate) use line::parse_line;
pub use writer::{Settings, Writer};
