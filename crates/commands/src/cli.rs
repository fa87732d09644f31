//! The command line itself: tables of commands and flags, the parser, help and usage errors.

pub(crate) mod check;
pub(crate) mod flag;
pub(crate) mod help;
pub(crate) mod parse;
pub(crate) mod suggest;
pub(crate) mod tree;

pub(crate) use flag::{Args, Command, Flag, Kind, document_format, flag, hidden, table_format};
pub(crate) use parse::{Parsed, parse_bool};
