//! The Dockerfile language: text in, stages of typed instructions out. No I/O, no clock.
//!
//! ```text
//!  bytes ─▶ directive   # syntax, escape, check
//!        └▶ line        physical lines joined, comments dropped, heredocs collected
//!           └▶ node     keyword, flags, arguments as written (BuildKit's parse tree)
//!              └▶ instruction   typed: FROM, RUN --mount, COPY --from, …
//!                 └▶ stage      FROM … up to the next FROM;   word::expand gives variables their values later
//!  .dockerignore ─▶ ignore::Patterns        lint::check ─▶ warnings        Error::render ─▶ the line with a caret
//! ```
//!
//! Promises: any bytes give a result or an [`Error`] with its lines, never a panic; the size of input, the number of
//! instructions and the depth of substitutions are bounded; texts of errors are BuildKit's, since tools match on them.
//!
//! Does not: read files, resolve images, know which variables a base image sets. Variables are expanded when a build
//! reaches an instruction, by [`instruction::Instruction::expand`], because their values depend on what ran before.
//!
//! Source: <https://docs.docker.com/reference/dockerfile/>, version 1.21 of the language.

pub mod device;
pub mod directive;
pub mod error;
pub mod flag;
pub mod glob;
pub mod heredoc;
pub mod ignore;
pub mod instruction;
pub mod line;
pub mod lint;
pub mod mount;
pub mod node;
pub mod stage;
pub mod word;

pub use directive::{Check, Directives};
pub use error::{Error, Lines};
pub use instruction::{Instruction, Kind};
pub use lint::Warning;

pub use stage::{Dockerfile, Stage, parse};

/// The largest Dockerfile that is read, in bytes.
pub const MAX_BYTES: usize = 4 << 20;

/// The most instructions of one Dockerfile, those of `ONBUILD` not counted.
pub const MAX_INSTRUCTIONS: usize = 20_000;
