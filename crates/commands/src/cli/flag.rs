//! What a command and a flag are, as data.

use super::check;
use crate::cli::Parsed;
use crate::context::Context;
use crate::failure::Outcome;

/// Turns the text of a flag's value into the value that is kept, or says what is wrong with it.
pub(crate) type Check = fn(&str) -> Result<String, String>;

/// Type of a flag's value, with pflag's name for it and its default.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Needs no value; the default.
    Bool(bool),
    /// Any text; the default.
    Str(&'static str),
    /// Signed integer of 64 bits; the default.
    Int(i64),
    /// Unsigned integer of so many bits.
    Uint(u32),
    /// Time span in Go's notation.
    Duration,
    /// A value of its own type, kept once: type name and check.
    Custom(&'static str, Check),
    /// May be given many times: type name and check.
    Many(&'static str, Check),
}

impl Kind {
    /// A list whose entries may be anything.
    pub(crate) const LIST: Kind = Kind::Many("list", check::any);
    /// A map whose entries may be anything.
    pub(crate) const MAP: Kind = Kind::Many("map", check::any);
    /// `--filter`.
    pub(crate) const FILTER: Kind = Kind::Many("filter", check::filter);
    /// A size in bytes with an optional unit.
    pub(crate) const BYTES: Kind = Kind::Custom("bytes", check::bytes);

    /// The word that help shows behind the flag.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Bool(_) => "",
            Kind::Str(_) => "string",
            Kind::Int(_) => "int",
            Kind::Uint(16) => "uint16",
            Kind::Uint(_) => "uint",
            Kind::Duration => "duration",
            Kind::Custom(word, _) | Kind::Many(word, _) => word,
        }
    }
}

/// One flag of a command.
#[derive(Clone, Copy)]
pub(crate) struct Flag {
    /// Name without dashes.
    pub(crate) long: &'static str,
    /// One letter, or `'\0'`.
    pub(crate) short: char,
    pub(crate) kind: Kind,
    /// Help text with the default in it; line breaks are kept.
    pub(crate) help: &'static str,
    pub(crate) hidden: bool,
}

/// A flag as help shows it.
pub(crate) const fn flag(long: &'static str, short: char, kind: Kind, help: &'static str) -> Flag {
    Flag { long, short, kind, help, hidden: false }
}

/// `--format` of a command that shows documents.
pub(crate) const fn document_format(short: char) -> Flag {
    flag(
        "format",
        short,
        Kind::Str(""),
        "Format output using a custom template:\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates",
    )
}

/// `--format` of a command that shows a table.
pub(crate) const fn table_format(short: char) -> Flag {
    flag(
        "format",
        short,
        Kind::Str(""),
        "Format output using a custom template:\n'table':            Print output in table format with column headers (default)\n'table TEMPLATE':   Print output in table format using the given Go template\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates",
    )
}

/// A flag that works and is not shown.
pub(crate) const fn hidden(long: &'static str, kind: Kind) -> Flag {
    Flag { long, short: '\0', kind, help: "", hidden: true }
}

/// How many positional arguments a command takes.
#[derive(Clone, Copy)]
pub(crate) enum Args {
    None,
    Exactly(usize),
    AtLeast(usize),
    AtMost(usize),
    Between(usize, usize),
}

/// One command with all its spellings.
pub(crate) struct Command {
    /// Full spellings without the program's name, `container ls` before `container list`, top-level ones last.
    pub(crate) spellings: &'static [&'static str],
    /// Usage behind the spelling.
    pub(crate) usage: &'static str,
    /// One line of description.
    pub(crate) about: &'static str,
    pub(crate) flags: &'static [Flag],
    pub(crate) args: Args,
    /// False: flags end at the first positional argument.
    pub(crate) interspersed: bool,
    pub(crate) run: fn(&Context, &Parsed) -> Outcome,
}
