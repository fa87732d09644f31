//! Docker's `json-file` format: one JSON object a line with `log`, `stream` and `time`.

mod line;
mod writer;

pub(crate) use line::parse_line;
pub use writer::Writer;
pub(crate) use writer::numbered;
