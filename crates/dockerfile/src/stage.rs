//! A whole file: global arguments, then stages.

use std::collections::BTreeMap;

use crate::directive::{Check, Directives};
use crate::error::{Error, Lines};
use crate::instruction::{Instruction, Kind};
use crate::line;
use crate::node::Node;

/// A Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// What the comments at the top ask for.
    pub directives: Directives,
    /// `ARG`s before the first `FROM`.
    pub globals: Vec<Instruction>,
    /// The stages in their order; never empty.
    pub stages: Vec<Stage>,
    /// The last lines of instructions with blank lines inside a continuation.
    pub empty_continuations: Vec<usize>,
    /// What `# check=` directly above an instruction asks of the lint rules, by the instruction's first line.
    pub checks: BTreeMap<usize, Check>,
}

/// `FROM` and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The name given with `AS`, in lower case.
    pub name: Option<String>,
    /// The `FROM`.
    pub from: Instruction,
    /// What follows.
    pub instructions: Vec<Instruction>,
}

impl Dockerfile {
    /// The index of a stage by name or number. The last of several stages with one name counts, as with BuildKit.
    #[must_use]
    pub fn stage(&self, name: &str) -> Option<usize> {
        let lower = name.to_lowercase();
        let named = self.stages.iter().rposition(|stage| stage.name.as_deref() == Some(lower.as_str()));
        named.or_else(|| name.parse().ok().filter(|index| *index < self.stages.len()))
    }
}

/// Reads a file.
pub fn parse(source: &str) -> Result<Dockerfile, Error> {
    let directives = Directives::parse(source)?;
    let lines = line::split(source, &directives)?;
    if lines.is_empty() {
        return Err(Error::new(Lines::one(source.lines().count().max(1)), "file with no instructions"));
    }
    let empty_continuations = lines.iter().filter_map(|line| line.empty_continuation).collect();
    let mut checks = BTreeMap::new();
    for line in &lines {
        let mut asked = line.comments.iter().filter_map(|comment| {
            let (name, value) = comment.trim_start_matches('#').trim().split_once('=')?;
            // What is no such directive is a comment like any other.
            // Behind a blank there may be a reason.
            let value = value.split_whitespace().next()?;
            name.trim().eq_ignore_ascii_case("check").then(|| Check::parse(value).ok())?
        });
        if let Some(check) = asked.next_back() {
            checks.insert(line.lines.first, check);
        }
    }
    let mut file = Dockerfile { globals: Vec::new(), stages: Vec::new(), empty_continuations, checks, directives };
    for line in &lines {
        let node = Node::parse(line, &file.directives)?;
        let instruction = Instruction::of_node(&node)?;
        match (&instruction.kind, file.stages.last_mut()) {
            (Kind::From { name, .. }, _) => {
                file.stages.push(Stage { name: name.clone(), from: instruction, instructions: Vec::new() })
            }
            (Kind::Arg(_), None) => file.globals.push(instruction),
            (_, None) => {
                return Err(Error::new(instruction.lines, "no build stage in current context").at(instruction.keyword));
            }
            (_, Some(stage)) => stage.instructions.push(instruction),
        }
    }
    if file.stages.is_empty() {
        return Err(Error::new(Lines::one(1), "dockerfile contains no stages to build"));
    }
    Ok(file)
}

/// Reads one `ONBUILD` trigger as an image has stored it.
pub fn parse_trigger(text: &str) -> Result<Instruction, Error> {
    let directives = Directives::default();
    let lines = line::split(text, &directives)?;
    let [line] = lines.as_slice() else {
        return Err(Error::new(Lines::one(1), "an ONBUILD trigger is one instruction"));
    };
    let instruction = Instruction::of_node(&Node::parse(line, &directives)?)?;
    match instruction.kind {
        Kind::From { .. } | Kind::Maintainer(_) | Kind::Onbuild { .. } => Err(Error::new(
            instruction.lines,
            format!("{} isn't allowed as an ONBUILD trigger", instruction.keyword.to_ascii_uppercase()),
        )),
        _ => Ok(instruction),
    }
}
