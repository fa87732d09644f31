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

mod advice;
mod build;
mod checkpoint;
mod cli;
mod completion;
mod config;
mod container;
mod context;
mod contexts;
mod each;
mod extension;
mod failure;
mod format;
mod human;
mod image;
mod inspect;
mod manifest;
mod manual;
mod network;
mod options;
mod out;
mod plugin;
mod program;
mod prune;
mod registry;
mod server;
mod swarm;
mod system;
mod template;
mod terminal;
mod topics;
mod volume;

pub use program::main;
