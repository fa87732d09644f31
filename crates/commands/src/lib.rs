//! The command line: Docker's commands, flags, messages and exit statuses, over the Engine API.
//!
//! ```text
//!  arguments ─▶ cli (tables, parser, help) ─▶ verb (container/run.rs …) ─▶ client ─▶ daemon
//!                                              │
//!                                              ├─▶ options    flags to request bodies
//!                                              ├─▶ terminal   raw mode, signals, streams, progress
//!                                              └─▶ format, template, human    what is printed
//! ```
//!
//! Promises: one file per verb, flags are data; nothing is connected before the arguments are right; the terminal is
//! given back as it was on every way out; output that nobody reads ends the command quietly.
//!
//! Does not: decide anything that the daemon decides, keep state, use an asynchronous runtime.

mod build;
mod cli;
mod config;
mod container;
mod context;
mod each;
mod failure;
mod format;
mod human;
mod image;
mod inspect;
mod manifest;
mod network;
mod options;
mod out;
mod program;
mod registry;
mod server;
mod system;
mod template;
mod terminal;
mod volume;

pub use program::main;
