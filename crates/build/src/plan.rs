//! Which stages a target needs, and in which order they can be built. Pure.

use std::collections::BTreeSet;

use dockerfile::instruction::Kind;
use dockerfile::{Dockerfile, Instruction, Lines};

use crate::error::{Error, Result};

/// What an instruction takes files from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// Another stage, by number.
    Stage(usize),
    /// An image, or a named context.
    Image(String),
}

/// The stages that are needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The number of the stage whose result is wanted.
    pub target: usize,
    /// Numbers of all stages that it needs, itself included, in the order of the file.
    pub stages: Vec<usize>,
}

/// Plans a build. `base` gives the expanded image name of a stage's `FROM`; `contexts` are the names that `--build-context`
/// takes away from stages.
pub fn plan(file: &Dockerfile, target: Option<&str>, bases: &[String], contexts: &BTreeSet<String>) -> Result<Plan> {
    let target = match target {
        None => file.stages.len() - 1,
        Some(name) => file.stage(name).ok_or_else(|| {
            let near =
                dockerfile::error::suggestion(name, file.stages.iter().filter_map(|stage| stage.name.as_deref()));
            Error::Invalid(format!(
                "target stage {name:?} could not be found{}",
                near.map_or_else(String::new, |near| format!(" (did you mean {near}?)"))
            ))
        })?,
    };
    let mut states = vec![State::New; file.stages.len()];
    visit(file, target, bases, contexts, &mut states)?;
    let stages = (0..file.stages.len()).filter(|stage| states[*stage] == State::Done).collect();
    Ok(Plan { target, stages })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Done,
}

fn visit(
    file: &Dockerfile,
    stage: usize,
    bases: &[String],
    contexts: &BTreeSet<String>,
    states: &mut [State],
) -> Result<()> {
    match states[stage] {
        State::Done => return Ok(()),
        State::Open => {
            let name = file.stages[stage].name.clone().unwrap_or_else(|| stage.to_string());
            return Err(dockerfile::Error::new(
                file.stages[stage].from.lines,
                format!("circular dependency detected on stage: {name}"),
            )
            .into());
        }
        State::New => states[stage] = State::Open,
    }
    let mut triggers = Vec::new();
    if let From::Stage(base) = base_of(file, stage, bases, contexts) {
        visit(file, base, bases, contexts, states)?;
        // What the base leaves for those who build on it; if it is wrong, that is told when it is carried out.
        triggers.extend(file.stages[base].instructions.iter().filter_map(|instruction| match &instruction.kind {
            Kind::Onbuild { trigger, .. } => dockerfile::stage::parse_trigger(trigger).ok(),
            _ => None,
        }));
    }
    for instruction in triggers.iter().chain(&file.stages[stage].instructions) {
        for (from, lines) in sources(instruction) {
            if from.contains('$') {
                let text = if matches!(instruction.kind, Kind::Run(_)) {
                    "'from' doesn't support variable expansion, define alias stage instead"
                } else {
                    "variable expansion is not supported for --from, define a new stage with FROM using ARG from global \
                     scope as a workaround"
                };
                return Err(dockerfile::Error::new(lines, text).into());
            }
            if let From::Stage(needed) = resolve(file, &from, stage, contexts) {
                visit(file, needed, bases, contexts, states)?;
                if needed > stage {
                    let name = file.stages[stage].name.clone().unwrap_or_else(|| stage.to_string());
                    let text = format!(
                        "cannot copy from stage {from:?}, it needs to be defined before current stage {name:?}"
                    );
                    return Err(dockerfile::Error::new(lines, text).into());
                }
            }
        }
    }
    states[stage] = State::Done;
    Ok(())
}

/// What a stage builds on: only stages above it have a name for `FROM`.
#[must_use]
pub fn base_of(file: &Dockerfile, stage: usize, bases: &[String], contexts: &BTreeSet<String>) -> From {
    let base = &bases[stage];
    let lower = base.to_lowercase();
    let named = file.stages[..stage].iter().rposition(|stage| stage.name.as_deref() == Some(lower.as_str()));
    match named {
        Some(named) if !contexts.contains(&lower) => From::Stage(named),
        _ => From::Image(base.clone()),
    }
}

/// What a `--from` names, seen from a stage.
#[must_use]
pub fn resolve(file: &Dockerfile, from: &str, stage: usize, contexts: &BTreeSet<String>) -> From {
    if contexts.contains(&from.to_lowercase()) {
        return From::Image(from.to_string());
    }
    match file.stage(from) {
        Some(found) => From::Stage(found),
        None if from.is_empty() => From::Stage(stage),
        None => From::Image(from.to_string()),
    }
}

/// The `--from`s of an instruction, as written.
#[must_use]
pub fn sources(instruction: &Instruction) -> Vec<(String, Lines)> {
    let lines = instruction.lines;
    match &instruction.kind {
        Kind::Copy(copy) if !copy.from.is_empty() => vec![(copy.from.clone(), lines)],
        Kind::Run(run) => {
            let mounts = run.mounts.iter().filter_map(|mount| dockerfile::mount::csv(mount));
            mounts
                .filter_map(|fields| {
                    fields.iter().find_map(|field| {
                        field
                            .split_once('=')
                            .filter(|(key, _)| key.eq_ignore_ascii_case("from"))
                            .map(|(_, value)| (value.to_string(), lines))
                    })
                })
                .filter(|(from, _)| !from.is_empty())
                .collect()
        }
        Kind::Onbuild { .. } => Vec::new(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages(text: &str, target: Option<&str>) -> std::result::Result<Vec<usize>, String> {
        let file = dockerfile::parse(text).unwrap();
        let bases: Vec<String> = file
            .stages
            .iter()
            .map(|stage| match &stage.from.kind {
                Kind::From { image, .. } => image.clone(),
                _ => String::new(),
            })
            .collect();
        plan(&file, target, &bases, &BTreeSet::new()).map(|plan| plan.stages).map_err(|error| error.to_string())
    }

    #[test]
    fn only_what_the_target_needs() {
        let file = "FROM x AS a\nRUN a\nFROM x AS b\nRUN b\nFROM a AS c\nCOPY --from=b /x /y\nFROM x AS d\nRUN --mount=type=bind,from=0,target=/m d\nFROM x";
        assert_eq!(stages(file, None), Ok(vec![4]));
        assert_eq!(stages(file, Some("C")), Ok(vec![0, 1, 2]));
        assert_eq!(stages(file, Some("d")), Ok(vec![0, 3]));
        assert_eq!(stages(file, Some("1")), Ok(vec![1]));
        assert_eq!(stages(file, Some("zebra")), Err("target stage \"zebra\" could not be found".into()));
    }

    #[test]
    fn what_comes_later_cannot_be_copied() {
        let later = stages("FROM x AS a\nCOPY --from=b / /\nFROM x AS b\nFROM a", None).unwrap_err();
        assert!(
            later.ends_with("cannot copy from stage \"b\", it needs to be defined before current stage \"a\""),
            "{later}"
        );
        assert!(
            stages("FROM x\nCOPY --from=$b / /", None).unwrap_err().contains("variable expansion is not supported")
        );
        // What a base leaves for others needs its stages.
        let triggers = "FROM x AS a\nFROM x AS b\nONBUILD COPY --from=a / /\nFROM b";
        assert_eq!(stages(triggers, None), Ok(vec![0, 1, 2]));
        assert_eq!(stages(triggers, Some("b")), Ok(vec![1]));
    }

    #[test]
    fn circles_are_found() {
        let file = "FROM x AS a\nCOPY --from=b / /\nFROM x AS b\nCOPY --from=a / /\n";
        assert_eq!(
            stages(file, None),
            Err("dockerfile parse error on line 3: circular dependency detected on stage: b".into())
        );
        assert!(stages("FROM x AS a\nCOPY --from=a / /", None).is_err());
    }
}
