//! What a Dockerfile offers to whoever builds it: targets, and the arguments, secrets and agents of one of them.

use std::collections::{BTreeMap, BTreeSet};

use dockerfile::instruction::Kind;
use dockerfile::mount::{self, Mount};
use dockerfile::word::Lex;
use dockerfile::{Dockerfile, Instruction, Lines};

use crate::error::Result;

/// What one target takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// The stage's name; empty if it has none.
    pub name: String,
    /// The comment above it that begins with its name.
    pub description: String,
    /// `ARG`s, in the order of the file.
    pub arguments: Vec<Argument>,
    /// Secrets, likewise.
    pub secrets: Vec<Lent>,
    /// Agents, likewise.
    pub agents: Vec<Lent>,
}

/// One argument.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words say it")]
pub struct Argument {
    pub name: String,
    pub value: String,
    pub description: String,
    pub lines: Lines,
}

/// A secret or an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words say it")]
pub struct Lent {
    pub id: String,
    pub required: bool,
    pub lines: Lines,
}

/// One target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The stage's name; empty if it has none.
    pub name: String,
    /// What is built if no target is named.
    pub default: bool,
    /// The comment above it that begins with its name.
    pub description: String,
    /// As it is written.
    pub base: String,
    /// `--platform`, as it is written.
    pub platform: String,
    /// Where.
    pub lines: Lines,
}

/// All stages of a file.
#[must_use]
pub fn targets(file: &Dockerfile) -> Vec<Target> {
    let last = file.stages.len() - 1;
    let stages = file.stages.iter().enumerate();
    stages
        .map(|(number, stage)| {
            let (base, platform, written) = match &stage.from.kind {
                Kind::From { image, platform, name_as_written, .. } => {
                    (image.clone(), platform.clone(), name_as_written.clone().unwrap_or_default())
                }
                _ => Default::default(),
            };
            Target {
                name: stage.name.clone().unwrap_or_default(),
                default: number == last,
                description: comment(&stage.from, &written),
                base,
                platform,
                lines: stage.from.lines,
            }
        })
        .collect()
}

/// The rest of the comment line that begins with a name.
fn comment(instruction: &Instruction, name: &str) -> String {
    let lines = instruction.comments.iter().map(|line| line.trim_start_matches('#').trim());
    let mut described = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    described.next().filter(|_| !name.is_empty()).unwrap_or_default().to_owned()
}

/// What the stages of a plan take. `globals` are the arguments above the first stage with their values, `given` those of
/// the client.
pub(crate) fn outline(
    file: &Dockerfile,
    target: usize,
    stages: &[usize],
    globals: &BTreeMap<String, String>,
    given: &BTreeMap<String, Option<String>>,
) -> Result<Outline> {
    let lex = Lex::new(file.directives.escape);
    let value = |name: &str| given.get(name).cloned().flatten();
    // Arguments above the first stage count if a stage uses them, or another one that counts.
    let mut above: BTreeMap<String, (Argument, BTreeSet<String>)> = BTreeMap::new();
    for instruction in &file.globals {
        let Kind::Arg(arguments) = &instruction.kind else { continue };
        for argument in arguments {
            let text = argument.value.clone().unwrap_or_default();
            let needs = lex.expand(&text, globals).map(|expansion| expansion.used).unwrap_or_default();
            let found = Argument {
                name: argument.name.clone(),
                value: globals.get(&argument.name).cloned().unwrap_or_default(),
                description: comment(instruction, &argument.name),
                lines: instruction.lines,
            };
            above.insert(argument.name.clone(), (found, needs));
        }
    }
    let mut outline = Outline::default();
    let mut used: BTreeSet<String> = BTreeSet::new();
    for &number in stages {
        let stage = &file.stages[number];
        if let Kind::From { image, platform, .. } = &stage.from.kind {
            for text in [image, platform] {
                used.extend(lex.expand(text, globals).map(|expansion| expansion.used).unwrap_or_default());
            }
        }
        let mut known: BTreeMap<String, String> = BTreeMap::new();
        for instruction in &stage.instructions {
            match &instruction.kind {
                Kind::Arg(arguments) => {
                    for argument in arguments {
                        used.insert(argument.name.clone());
                        let default = argument.value.as_ref().map(|text| lex.expand(text, &known)).transpose();
                        let default = default.ok().flatten().map(|expansion| expansion.text);
                        let own = value(&argument.name).or(default);
                        let inherited = own.is_none() && globals.contains_key(&argument.name);
                        let text = own.or_else(|| globals.get(&argument.name).cloned());
                        if let Some(text) = &text {
                            known.insert(argument.name.clone(), text.clone());
                        }
                        // One that is declared above the first stage is told there.
                        let again = outline.arguments.iter().any(|told| told.name == argument.name);
                        if !inherited && !again {
                            outline.arguments.push(Argument {
                                name: argument.name.clone(),
                                value: text.unwrap_or_default(),
                                description: comment(instruction, &argument.name),
                                lines: instruction.lines,
                            });
                        }
                    }
                }
                Kind::Env { pairs, .. } => {
                    for (name, text) in pairs {
                        let text = lex.expand(text, &known).map(|expansion| expansion.text).unwrap_or_default();
                        known.insert(name.clone(), text);
                    }
                }
                Kind::Run(run) => {
                    for text in &run.mounts {
                        let text = lex.expand(text, &known).map(|expansion| expansion.text);
                        let text = text.unwrap_or_default();
                        let Ok(mount) = Mount::parse(&text, instruction.lines) else { continue };
                        let (list, id) = match mount.kind {
                            mount::Kind::Secret => (&mut outline.secrets, mount.id),
                            mount::Kind::Ssh if mount.id.is_empty() => (&mut outline.agents, "default".to_owned()),
                            mount::Kind::Ssh => (&mut outline.agents, mount.id),
                            _ => continue,
                        };
                        if list.iter().all(|lent| lent.id != id) {
                            list.push(Lent { id, required: mount.required, lines: instruction.lines });
                        }
                    }
                }
                _ => {}
            }
        }
    }
    let mut waiting: Vec<String> = used.iter().cloned().collect();
    while let Some(name) = waiting.pop() {
        for needed in above.get(&name).into_iter().flat_map(|(_, needs)| needs) {
            if used.insert(needed.clone()) {
                waiting.push(needed.clone());
            }
        }
    }
    for (name, (argument, _)) in above {
        let told = outline.arguments.iter().any(|told| told.name == name);
        if used.contains(&name) && !told {
            outline.arguments.push(argument);
        }
    }
    outline.arguments.sort_by_key(|argument| argument.lines.first);
    outline.secrets.sort_by_key(|lent| lent.lines.first);
    outline.agents.sort_by_key(|lent| lent.lines.first);
    let own = targets(file).swap_remove(target);
    (outline.name, outline.description) = (own.name, own.description);
    Ok(outline)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# BASE image to start with\nARG BASE=$DISTRO:1\nARG DISTRO=debian\nARG UNUSED=1\n\n\
        # Build the program itself\nFROM $BASE AS Build\n# MODE debug or release\nARG MODE=debug DISTRO\n\
        RUN --mount=type=secret,id=token,required --mount=type=ssh make\n\
        FROM scratch\nARG LATE\nCOPY --from=build /x /y\nRUN --mount=type=secret,id=token --mount=type=secret,id=b true\n";

    #[test]
    fn what_a_target_takes() {
        let file = dockerfile::parse(FILE).unwrap();
        let globals = BTreeMap::from([("BASE", "debian:1"), ("DISTRO", "debian"), ("UNUSED", "1")]);
        let globals = globals.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let given = BTreeMap::from([("MODE".to_owned(), Some("release".to_owned()))]);
        let outline = outline(&file, 1, &[0, 1], &globals, &given).unwrap();
        let arguments: Vec<_> = outline
            .arguments
            .iter()
            .map(|found| format!("{}={} {} {}", found.name, found.value, found.lines.first, found.description))
            .collect();
        assert_eq!(
            arguments,
            ["BASE=debian:1 2 image to start with", "DISTRO=debian 3 ", "MODE=release 9 debug or release", "LATE= 12 "]
        );
        let lent = |list: &[Lent]| list.iter().map(|lent| format!("{} {}", lent.id, lent.required)).collect::<Vec<_>>();
        assert_eq!(
            (lent(&outline.secrets), lent(&outline.agents)),
            (vec!["token true".to_owned(), "b false".to_owned()], vec!["default false".to_owned()],)
        );
        let targets = targets(&file);
        assert_eq!((targets[0].name.as_str(), targets[0].base.as_str()), ("build", "$BASE"));
        assert_eq!((targets[0].description.as_str(), targets[1].default), ("the program itself", true));
    }
}
