//! Go's `text/template` language as far as `--format` needs it, over JSON documents and list rows.
//!
//! Supported: fields, methods of rows, variables, pipelines, parentheses, `if` `with` `range` `else` `end` `break`
//! `continue` `define` `template` `block`, comments, trim markers, Go's built-in functions and Docker's own.
//! Not supported: complex numbers, calling functions that are values.

mod eval;
mod functions;
mod lex;
mod parse;
mod print;
mod value;

pub(crate) use eval::Mode;
pub(crate) use value::{Row, Value};

use parse::Tree;

/// A parsed template.
pub(crate) struct Template {
    tree: Tree,
}

impl Template {
    /// Parses; the error is Go's sentence (`template: :1: unclosed action`).
    pub(crate) fn parse(text: &str) -> Result<Template, String> {
        Ok(Template { tree: parse::parse(text)? })
    }

    /// Runs over `data`.
    pub(crate) fn run(&self, data: Value, mode: Mode) -> Result<String, String> {
        eval::run(&self.tree, data, mode)
    }

    /// True when the field is named anywhere in the template's text.
    pub(crate) fn mentions(&self, field: &str) -> bool {
        self.tree
            .source
            .split(|c: char| !c.is_alphanumeric() && c != '.')
            .any(|w| w.trim_start_matches('.').split('.').next() == Some(field) && w.contains('.'))
    }
}

#[cfg(test)]
mod tests;
