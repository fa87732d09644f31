//! Which stages a target needs, and in which order they can be built. Pure.

use std::collections::{BTreeMap, BTreeSet};

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

/// Paths that a build takes from the client's directories, by the name of the context; the main one has none. An empty
/// list is all of it. What cannot be told before it is built (a variable in a path) is all of it too.
#[must_use]
pub fn wanted(
    file: &Dockerfile,
    plan: &Plan,
    bases: &[String],
    contexts: &BTreeSet<String>,
) -> BTreeMap<Option<String>, Vec<String>> {
    let mut wanted: BTreeMap<Option<String>, Option<BTreeSet<String>>> = BTreeMap::new();
    let mut take = |from: Option<String>, path: Option<String>| {
        let paths = wanted.entry(from).or_insert_with(|| Some(BTreeSet::new()));
        match (path, paths.as_mut()) {
            (Some(path), Some(paths)) => drop(paths.insert(path)),
            _ => *paths = None,
        }
    };
    let name = |from: &str| match from {
        "" => Some(None),
        from => Some(from.to_lowercase()).filter(|from| contexts.contains(from)).map(Some),
    };
    for &stage in &plan.stages {
        if let Some(Some(base)) = name(&bases[stage]) {
            take(Some(base), None);
        }
        for instruction in &file.stages[stage].instructions {
            match &instruction.kind {
                Kind::Copy(transfer) | Kind::Add(transfer) => {
                    let Some(from) = name(&transfer.from) else { continue };
                    for source in transfer.sources.iter().filter(|source| !crate::remote::is_remote(source)) {
                        take(from.clone(), path_of(source));
                    }
                }
                Kind::Run(run) => {
                    for mount in &run.mounts {
                        let fields = dockerfile::mount::csv(mount).unwrap_or_default();
                        let field = |keys: &[&str]| {
                            let found = fields.iter().rev().filter_map(|field| field.split_once('='));
                            found.into_iter().find(|(key, _)| keys.contains(&key.to_ascii_lowercase().as_str()))
                        };
                        let Some(from) = name(field(&["from"]).map_or("", |(_, value)| value)) else { continue };
                        let kind = field(&["type"]).map_or("bind", |(_, value)| value);
                        let taken = ["bind", "cache"].contains(&kind.to_ascii_lowercase().as_str());
                        if kind.contains('$') || (taken && (kind.eq_ignore_ascii_case("bind") || from.is_some())) {
                            take(from, field(&["source", "src"]).and_then(|(_, value)| path_of(value)));
                        }
                    }
                }
                _ => {}
            }
        }
    }
    wanted.into_iter().map(|(from, paths)| (from, paths.into_iter().flatten().collect())).collect()
}

/// A source as a path that a client can be asked for; nothing if it stands for the whole directory, or might.
#[must_use]
pub fn path_of(source: &str) -> Option<String> {
    let clean = crate::tree::clean(source.replace("/./", "/").as_bytes());
    let path = String::from_utf8(clean).ok()?;
    // What names a directory above, and what clients read in different ways.
    let whole = path.is_empty()
        || source.split('/').any(|part| part == "..")
        || path.split('/').any(|part| part == "**")
        || path.contains(['$', '\\', '[', '!']);
    (!whole).then_some(path)
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
    fn what_is_taken_from_the_client() {
        let paths = |text: &str| {
            let file = dockerfile::parse(text).unwrap();
            let bases = vec![if text.contains("FROM more") { "more".to_owned() } else { String::new() }];
            let contexts = BTreeSet::from(["more".to_owned(), "else".to_owned()]);
            let plan = Plan { target: 0, stages: vec![0] };
            let wanted = wanted(&file, &plan, &bases, &contexts);
            let shown =
                wanted.into_iter().map(|(from, paths)| format!("{}:{}", from.unwrap_or_default(), paths.join(",")));
            shown.collect::<Vec<_>>().join(" ")
        };
        for (text, expect) in [
            ("COPY a ./b/ /x/\nADD c http://h/x.git#a /y/", ":a,b,c"),
            ("COPY a /x\nCOPY . /y", ":"),
            ("COPY a*/b? --from=c /x", ":--from=c,a*/b?"),
            ("COPY a/./b /x", ":a/b"),
            ("COPY $a /x", ":"),
            ("COPY ../a /x", ":"),
            ("COPY --from=else a /x\nCOPY --from=image b /y", "else:a"),
            ("RUN --mount=target=/x,source=a --mount=type=cache,target=/c true", ":a"),
            ("RUN --mount=target=/x true", ":"),
            ("RUN --mount=from=else,source=d,target=/x true", "else:d"),
            ("RUN true", ""),
        ] {
            assert_eq!(paths(&format!("FROM scratch\n{text}")), expect, "{text}");
        }
        assert_eq!(paths("FROM more\nCOPY --from=more a /x"), "more:");
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
