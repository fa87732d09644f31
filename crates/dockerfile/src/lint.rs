//! The rules of `docker build --check`.
//!
//! Source: <https://docs.docker.com/reference/build-checks/>. Each warning has the rule's name, its text and its page, as
//! BuildKit gives them.

use std::collections::{BTreeMap, BTreeSet};

use crate::directive::Check;
use crate::error::Lines;
use crate::ignore::Patterns;
use crate::instruction::{Instruction, Kind, Transfer};
use crate::stage::{Dockerfile, Stage};
use crate::word::{Lex, Variables};

/// A rule: its name, and what it says in general.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// `StageNameCasing`.
    pub name: &'static str,
    /// `Stage names should be lowercase`.
    pub description: &'static str,
    /// Only applied when it is asked for.
    pub experimental: bool,
}

macro_rules! rules {
    ($($constant:ident $name:literal $description:literal $experimental:literal;)*) => {
        $(#[doc = $description] pub const $constant: Rule = Rule { name: $name, description: $description, experimental: $experimental };)*
        /// Every rule.
        pub const RULES: &[Rule] = &[$($constant),*];
    };
}

rules! {
    STAGE_NAME_CASING "StageNameCasing" "Stage names should be lowercase" false;
    FROM_AS_CASING "FromAsCasing" "The 'as' keyword should match the case of the 'from' keyword" false;
    NO_EMPTY_CONTINUATION "NoEmptyContinuation" "Empty continuation lines will become errors in a future release" false;
    CONSISTENT_INSTRUCTION_CASING "ConsistentInstructionCasing" "All commands within the Dockerfile should use the same casing (either upper or lower)" false;
    DUPLICATE_STAGE_NAME "DuplicateStageName" "Stage names should be unique" false;
    RESERVED_STAGE_NAME "ReservedStageName" "Reserved words should not be used as stage names" false;
    JSON_ARGS_RECOMMENDED "JSONArgsRecommended" "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals" false;
    MAINTAINER_DEPRECATED "MaintainerDeprecated" "The MAINTAINER instruction is deprecated, use a label instead to define an image author" false;
    UNDEFINED_ARG_IN_FROM "UndefinedArgInFrom" "FROM command must use declared ARGs" false;
    WORKDIR_RELATIVE_PATH "WorkdirRelativePath" "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes" false;
    UNDEFINED_VAR "UndefinedVar" "Variables should be defined before their use" false;
    MULTIPLE_INSTRUCTIONS_DISALLOWED "MultipleInstructionsDisallowed" "Multiple instructions of the same type should not be used in the same stage" false;
    LEGACY_KEY_VALUE_FORMAT "LegacyKeyValueFormat" "Legacy key/value format with whitespace separator should not be used" false;
    INVALID_BASE_IMAGE_PLATFORM "InvalidBaseImagePlatform" "Base image platform does not match expected target platform" false;
    REDUNDANT_TARGET_PLATFORM "RedundantTargetPlatform" "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior" false;
    SECRETS_USED_IN_ARG_OR_ENV "SecretsUsedInArgOrEnv" "Sensitive data should not be used in the ARG or ENV commands" false;
    INVALID_DEFAULT_ARG_IN_FROM "InvalidDefaultArgInFrom" "Default value for global ARG results in an empty or invalid base image name" false;
    FROM_PLATFORM_FLAG_CONST_DISALLOWED "FromPlatformFlagConstDisallowed" "FROM --platform flag should not use a constant value" false;
    COPY_IGNORED_FILE "CopyIgnoredFile" "Attempting to Copy file that is excluded by .dockerignore" false;
    INVALID_DEFINITION_DESCRIPTION "InvalidDefinitionDescription" "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment." true;
    EXPOSE_PROTO_CASING "ExposeProtoCasing" "Protocol in EXPOSE instruction should be lowercase" false;
    EXPOSE_INVALID_FORMAT "ExposeInvalidFormat" "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release" false;
}

impl Rule {
    /// The page that explains it.
    #[must_use]
    pub fn url(&self) -> String {
        let mut slug = String::new();
        let chars: Vec<char> = self.name.chars().collect();
        for (index, c) in chars.iter().enumerate() {
            let starts = c.is_uppercase()
                && index > 0
                && (chars[index - 1].is_lowercase() || chars.get(index + 1).is_some_and(|next| next.is_lowercase()));
            if starts {
                slug.push('-');
            }
            slug.extend(c.to_lowercase());
        }
        format!("https://docs.docker.com/go/dockerfile/rule/{slug}/")
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The rule.
    pub rule: Rule,
    /// What is meant here.
    pub detail: String,
    /// Where.
    pub lines: Lines,
}

impl Warning {
    /// `StageNameCasing: Stage name 'Build' should be lowercase`.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}: {}", self.rule.name, self.detail)
    }
}

/// What the rules need to know beside the file.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// Which rules: those of the file's `# check=`, or of whoever asks.
    pub check: &'a Check,
    /// Whether a stage, by number, is built: what its instructions do is of no interest otherwise.
    pub built: &'a dyn Fn(usize) -> bool,
    /// `--build-arg`, and the platform arguments (`TARGETPLATFORM`, …).
    pub arguments: &'a BTreeMap<String, String>,
    /// The environment of a base image, if it is known.
    pub base_environment: &'a dyn Fn(&str) -> Option<Vec<String>>,
    /// The ignore file of the context.
    pub ignored: &'a Patterns,
}

/// Applies all rules but [`INVALID_BASE_IMAGE_PLATFORM`], which only a build can see.
#[must_use]
pub fn check(file: &Dockerfile, surroundings: Surroundings<'_>) -> Vec<Warning> {
    let mut linter = Linter { file, surroundings, found: Vec::new(), left: Vec::new() };
    linter.as_written();
    linter.whole_file();
    let globals = linter.globals();
    for (index, stage) in file.stages.iter().enumerate() {
        linter.from(index, stage, &globals);
        linter.stage(index, stage, &globals);
    }
    linter.finish()
}

/// What can be said of the instructions above the one that could not be read.
#[must_use]
pub fn check_above(source: &str, error: &crate::Error, check: Option<&Check>) -> Vec<Warning> {
    let above: String = source.split_inclusive('\n').take(error.lines.first.saturating_sub(1)).collect();
    let Ok(file) = crate::parse(&above) else { return Vec::new() };
    let surroundings = Surroundings {
        check: check.unwrap_or(&file.directives.check),
        built: &|_| false,
        arguments: &BTreeMap::new(),
        base_environment: &|_| None,
        ignored: &Patterns::default(),
    };
    let mut linter = Linter { file: &file, surroundings, found: Vec::new(), left: Vec::new() };
    linter.as_written();
    linter.finish()
}

fn wanted(check: &Check, rule: Rule) -> bool {
    if rule.experimental { check.wants_experimental(rule.name) } else { !check.skips(rule.name) }
}

/// Arguments that a scanner of the result looks at: nobody else asks for them.
const SCANNER_ARGUMENTS: &[&str] = &["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// Build arguments that need no declaration.
pub const PREDEFINED: &[&str] = &[
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// What a stage leaves to those that build on it.
#[derive(Clone, Default)]
struct Left {
    /// `ENV`s and `ARG`s with a value.
    values: BTreeMap<String, String>,
    /// `ARG`s without one.
    declared: BTreeSet<String>,
    workdir: bool,
    shell: bool,
}

struct Linter<'a> {
    file: &'a Dockerfile,
    surroundings: Surroundings<'a>,
    found: Vec<Warning>,
    /// Of each stage so far.
    left: Vec<Left>,
}

impl Linter<'_> {
    fn warn(&mut self, rule: Rule, lines: Lines, detail: impl Into<String>) {
        // A comment directly above an instruction can switch a rule off for it.
        if self.file.checks.get(&lines.first).is_some_and(|check| check.skips(rule.name)) {
            return;
        }
        self.found.push(Warning { rule, detail: detail.into(), lines });
    }

    fn finish(self) -> Vec<Warning> {
        let check = self.surroundings.check;
        let mut found = self.found;
        found.retain(|warning| wanted(check, warning.rule));
        found.sort_by_key(|warning| warning.lines.first);
        found.dedup();
        found
    }

    /// What shows when an instruction is read.
    fn as_written(&mut self) {
        for line in self.file.empty_continuations.clone() {
            self.warn(NO_EMPTY_CONTINUATION, Lines::one(line), "Empty continuation line");
        }
        let file = self.file;
        for instruction in file.globals.iter().chain(file.stages.iter().flat_map(|stage| &stage.instructions)) {
            match &instruction.kind {
                Kind::Arg(arguments) => {
                    let names: Vec<&str> = arguments.iter().map(|argument| argument.name.as_str()).collect();
                    self.description("ARG", &names, instruction);
                }
                Kind::Maintainer(_) => self.warn(
                    MAINTAINER_DEPRECATED,
                    instruction.lines,
                    "Maintainer instruction is deprecated in favor of using label",
                ),
                _ => {}
            }
        }
        for stage in &file.stages {
            let Kind::From { name, name_as_written, as_keyword, .. } = &stage.from.kind else { continue };
            let lines = stage.from.lines;
            if let Some(written) = name_as_written.as_ref().filter(|written| **written != written.to_lowercase()) {
                self.warn(STAGE_NAME_CASING, lines, format!("Stage name '{written}' should be lowercase"));
            }
            if let Some(keyword) = as_keyword {
                let from = &stage.from.keyword;
                // What is neither upper nor lower case is said of itself.
                let matches = if *from == from.to_lowercase() {
                    *keyword == keyword.to_lowercase()
                } else {
                    *from != from.to_uppercase() || *keyword == keyword.to_uppercase()
                };
                if !matches {
                    self.warn(FROM_AS_CASING, lines, format!("'{keyword}' and '{from}' keywords' casing do not match"));
                }
            }
            if let Some(name) = name {
                self.description("FROM", &[name], &stage.from);
            }
        }
    }

    fn whole_file(&mut self) {
        let stages = self.file.stages.iter();
        let instructions = stages.flat_map(|stage| std::iter::once(&stage.from).chain(&stage.instructions));
        let keywords: Vec<(String, Lines)> =
            instructions.map(|instruction| (instruction.keyword.clone(), instruction.lines)).collect();
        let (mut upper, mut lower) = (0usize, 0usize);
        for (keyword, _) in &keywords {
            upper += usize::from(*keyword == keyword.to_uppercase());
            lower += usize::from(*keyword == keyword.to_lowercase());
        }
        let (name, same): (&str, fn(&str) -> String) =
            if upper >= lower { ("uppercase", str::to_uppercase) } else { ("lowercase", str::to_lowercase) };
        for (keyword, lines) in keywords {
            if keyword != same(&keyword) {
                self.warn(
                    CONSISTENT_INSTRUCTION_CASING,
                    lines,
                    format!("Command '{keyword}' should match the case of the command majority ({name})"),
                );
            }
        }
        let mut names = BTreeSet::new();
        for stage in &self.file.stages {
            if let Some(name) = &stage.name
                && !names.insert(name)
            {
                self.warn(
                    DUPLICATE_STAGE_NAME,
                    stage.from.lines,
                    format!("Duplicate stage name {name:?}, stage names should be unique"),
                );
            }
        }
    }

    /// Global arguments with their values; `None` for those without one.
    fn globals(&mut self) -> BTreeMap<String, Option<String>> {
        let mut globals: BTreeMap<String, Option<String>> = BTreeMap::new();
        for instruction in &self.file.globals {
            if let Kind::Arg(arguments) = &instruction.kind {
                for argument in arguments {
                    let set: BTreeMap<String, String> =
                        globals.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
                    let default = argument.value.as_ref().map(|text| expanded(text, &set, self.file.directives.escape));
                    let value = self.surroundings.arguments.get(&argument.name).cloned().or(default);
                    globals.insert(argument.name.clone(), value);
                }
            }
        }
        globals
    }

    fn from(&mut self, index: usize, stage: &Stage, globals: &BTreeMap<String, Option<String>>) {
        let Kind::From { image, name, platform, .. } = &stage.from.kind else { return };
        let lines = stage.from.lines;
        if let Some(name) = name.as_ref().filter(|name| ["scratch", "context"].contains(&name.as_str())) {
            self.warn(
                RESERVED_STAGE_NAME,
                lines,
                format!("Stage name should not use the same name as reserved stage {name:?}"),
            );
        }
        let mut set: BTreeMap<String, String> =
            globals.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
        let platforms = self.surroundings.arguments.iter().filter(|(name, _)| is_platform_argument(name));
        set.extend(platforms.map(|(name, value)| (name.clone(), value.clone())));
        let lex = Lex::new(self.file.directives.escape);
        for text in [image, platform] {
            let Ok(expansion) = lex.expand(text, &set) else { continue };
            for missing in expansion.unmatched.iter().filter(|name| !globals.contains_key(*name)) {
                let near = meant(missing, set.keys().chain(globals.keys()).map(String::as_str))
                    .map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
                self.warn(UNDEFINED_ARG_IN_FROM, lines, format!("FROM argument '{missing}' is not declared{near}"));
            }
        }
        // With nothing but the defaults, does a base image come out?
        let mut defaults: BTreeMap<String, String> = BTreeMap::new();
        for global in &self.file.globals {
            if let Kind::Arg(arguments) = &global.kind {
                for argument in arguments {
                    if let Some(text) = &argument.value {
                        let value = expanded(text, &defaults, self.file.directives.escape);
                        defaults.insert(argument.name.clone(), value);
                    }
                }
            }
        }
        if image.contains('$')
            && let Ok(expansion) = lex.expand(image, &defaults)
            && oci::Reference::parse(&expansion.text).is_err()
            && self.file.stage(&expansion.text).is_none()
            && expansion.unmatched.iter().chain(&expansion.used).all(|name| globals.contains_key(name))
        {
            self.warn(
                INVALID_DEFAULT_ARG_IN_FROM,
                lines,
                format!("Default value for ARG {image} results in empty or invalid base image name"),
            );
        }
        match platform.as_str() {
            "" => {}
            "$TARGETPLATFORM" | "${TARGETPLATFORM}" => {
                self.warn(
                    REDUNDANT_TARGET_PLATFORM,
                    lines,
                    format!(
                        "Setting platform to predefined {platform} in FROM is redundant as this is the default behavior"
                    ),
                );
            }
            text if !text.contains('$')
                && !stage.name.as_deref().is_some_and(|name| text.split('/').any(|part| name.contains(part))) =>
            {
                self.warn(
                    FROM_PLATFORM_FLAG_CONST_DISALLOWED,
                    lines,
                    format!("FROM --platform flag should not use constant value {text:?}"),
                );
            }
            _ => {}
        }
        let base = lex.expand(image, &set).map(|expansion| expansion.text).unwrap_or_default();
        let below = self.file.stages[..index]
            .iter()
            .rposition(|stage| stage.name.as_deref() == Some(base.to_lowercase().as_str()));
        let left = match below {
            Some(stage) => self.left[stage].clone(),
            None => {
                let environment = (self.surroundings.base_environment)(&base).unwrap_or_default();
                let pairs = environment.iter().filter_map(|pair| pair.split_once('='));
                // Whatever the base has, the search path is set.
                let values = std::iter::once(("PATH", "")).chain(pairs);
                let values = values.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                Left { values, ..Left::default() }
            }
        };
        self.left.push(left);
    }

    fn stage(&mut self, index: usize, stage: &Stage, globals: &BTreeMap<String, Option<String>>) {
        let mut left = self.left[index].clone();
        let built = (self.surroundings.built)(index);
        let told = self.found.len();
        let mut last: BTreeMap<&str, Lines> = BTreeMap::new();
        for instruction in &stage.instructions {
            let lines = instruction.lines;
            let mut expanded_instruction = instruction.clone();
            let known = Declared { set: &left.values, declared: &left.declared };
            if let Ok(unset) = expanded_instruction.expand(self.file.directives.escape, &known) {
                for name in unset.iter().filter(|name| !SCANNER_ARGUMENTS.contains(&name.as_str())) {
                    let near = meant(name, left.values.keys().map(String::as_str))
                        .map_or_else(String::new, |near| format!(" (did you mean ${near}?)"));
                    self.warn(UNDEFINED_VAR, lines, format!("Usage of undefined variable '${name}'{near}"));
                }
            }
            self.secrets(instruction);
            match &expanded_instruction.kind {
                Kind::Arg(arguments) => {
                    for argument in arguments {
                        let value = self
                            .surroundings
                            .arguments
                            .get(&argument.name)
                            .cloned()
                            .or_else(|| argument.value.clone())
                            .or_else(|| globals.get(&argument.name).cloned().flatten());
                        left.declared.insert(argument.name.clone());
                        if let Some(value) = value {
                            left.values.entry(argument.name.clone()).or_insert(value);
                        }
                    }
                }
                Kind::Env { pairs, equals } => {
                    self.legacy(instruction, *equals);
                    left.values.extend(pairs.iter().cloned());
                }
                Kind::Label { equals, .. } => self.legacy(instruction, *equals),
                Kind::Shell(_) => left.shell = true,
                Kind::Cmd(command) | Kind::Entrypoint(command) => {
                    let keyword = if matches!(instruction.kind, Kind::Cmd(_)) { "CMD" } else { "ENTRYPOINT" };
                    if command.shell && !command.words.is_empty() && !left.shell {
                        self.warn(JSON_ARGS_RECOMMENDED, lines, format!("JSON arguments recommended for {keyword} to prevent unintended behavior related to OS signals"));
                    }
                    self.only_once(&mut last, keyword, lines);
                }
                Kind::Healthcheck(_) => self.only_once(&mut last, "HEALTHCHECK", lines),
                Kind::Workdir(path) => {
                    if !path.starts_with('/') && !left.workdir {
                        self.warn(
                            WORKDIR_RELATIVE_PATH,
                            lines,
                            format!("Relative workdir {path:?} can have unexpected results if the base image changes"),
                        );
                    }
                    // The first is the one to mend.
                    left.workdir = true;
                }
                Kind::Expose(ports) => self.ports(ports, lines),
                Kind::Copy(transfer) => self.ignored("Copy", transfer, lines),
                Kind::Add(transfer) => self.ignored("Add", transfer, lines),
                _ => {}
            }
        }
        if !built {
            self.found.truncate(told);
        }
        self.left[index] = left;
    }

    fn only_once<'k>(&mut self, last: &mut BTreeMap<&'k str, Lines>, keyword: &'k str, lines: Lines) {
        if let Some(earlier) = last.insert(keyword, lines) {
            let text = format!(
                "Multiple {keyword} instructions should not be used in the same stage because only the last one will be used"
            );
            self.warn(MULTIPLE_INSTRUCTIONS_DISALLOWED, earlier, text);
        }
    }

    fn legacy(&mut self, instruction: &Instruction, equals: bool) {
        if !equals {
            let keyword = instruction.keyword.to_uppercase();
            let text =
                format!("\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format");
            self.warn(LEGACY_KEY_VALUE_FORMAT, instruction.lines, text);
        }
    }

    fn secrets(&mut self, instruction: &Instruction) {
        let names: Vec<&String> = match &instruction.kind {
            Kind::Arg(arguments) => arguments.iter().map(|argument| &argument.name).collect(),
            Kind::Env { pairs, .. } => pairs.iter().map(|(name, _)| name).collect(),
            _ => return,
        };
        let keyword = instruction.keyword.to_uppercase();
        for name in names {
            if looks_secret(name) {
                self.warn(
                    SECRETS_USED_IN_ARG_OR_ENV,
                    instruction.lines,
                    format!("Do not use ARG or ENV instructions for sensitive data ({keyword} {name:?})"),
                );
            }
        }
    }

    /// A comment above says what the argument or stage is for, and begins with its name.
    fn description(&mut self, keyword: &str, names: &[&str], instruction: &Instruction) {
        let is_note = |comment: &&String| crate::directive::key_and_value(&format!("#{comment}")).is_none();
        let Some(comment) = instruction.comments.last().filter(is_note) else { return };
        let example = match names {
            [] => return,
            [name] => name,
            _ => "<arg_key>",
        };
        if !names.contains(&comment.split(' ').next().unwrap_or_default()) {
            let text = format!("Comment for {keyword} should follow the format: `# {example} <description>`");
            self.warn(INVALID_DEFINITION_DESCRIPTION, instruction.lines, text);
        }
    }

    fn ports(&mut self, ports: &[String], lines: Lines) {
        for port in ports {
            let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
            if number.contains(':') {
                self.warn(
                    EXPOSE_INVALID_FORMAT,
                    lines,
                    format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"),
                );
            }
            if protocol != protocol.to_lowercase() {
                self.warn(
                    EXPOSE_PROTO_CASING,
                    lines,
                    format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase"),
                );
            }
        }
    }

    fn ignored(&mut self, verb: &str, transfer: &Transfer, lines: Lines) {
        let patterns = self.surroundings.ignored;
        // With exceptions nobody knows without the files: one below may be taken in again.
        if !transfer.from.is_empty() || patterns.is_empty() || patterns.has_exceptions() {
            return;
        }
        for source in &transfer.sources {
            if source.contains("://") || source.starts_with("git@") {
                continue;
            }
            let path = source.split('/').filter(|part| !matches!(*part, "" | ".")).collect::<Vec<_>>().join("/");
            // The root itself is hidden only if all that is in it is.
            let hidden = match path.as_str() {
                "" => patterns.texts().any(|pattern| ["*", "**", "**/*"].contains(&pattern)),
                path => patterns.excludes(path.as_bytes()),
            };
            if hidden {
                let shown = match path.as_str() {
                    "" if source.starts_with('/') => "/",
                    "" => ".",
                    path => path,
                };
                self.warn(
                    COPY_IGNORED_FILE,
                    lines,
                    format!("Attempting to {verb} file {shown:?} that is excluded by .dockerignore"),
                );
            }
        }
    }
}

/// The name that was probably meant: at most two letters away.
#[must_use]
pub fn meant<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    crate::error::nearest(name, known, 2)
}

/// The values that are known; what is declared without a value is empty, not unknown.
struct Declared<'a> {
    set: &'a BTreeMap<String, String>,
    declared: &'a BTreeSet<String>,
}

impl Variables for Declared<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.set.get(name).map(String::as_str).or_else(|| self.declared.contains(name).then_some(""))
    }
}

fn expanded(text: &str, set: &BTreeMap<String, String>, escape: char) -> String {
    Lex::new(escape).expand(text, set).map(|expansion| expansion.text).unwrap_or_default()
}

/// `TARGETPLATFORM`, `BUILDARCH`, …
#[must_use]
pub fn is_platform_argument(name: &str) -> bool {
    let parts = ["PLATFORM", "OS", "ARCH", "VARIANT", "OSVERSION", "STAGE"];
    ["TARGET", "BUILD"].iter().any(|side| {
        name.strip_prefix(side).is_some_and(|part| parts.contains(&part) && (part != "STAGE" || *side == "TARGET"))
    })
}

/// A name with a word in it that says secret: `GITHUB_TOKEN`, `DB_PASSWORD`; not `SSH_PUBLIC_KEY`, `TOKEN_FILE`.
#[must_use]
pub fn looks_secret(name: &str) -> bool {
    const WORDS: &[&str] =
        &["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
    let lower = name.to_lowercase();
    let mut words = lower.split('_');
    !lower.split('_').any(|word| ["public", "file", "version"].contains(&word))
        && words.any(|word| WORDS.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_above_switches_a_rule_off() {
        assert_eq!(findings("FROM x\nMAINTAINER me\n", "").len(), 1);
        assert_eq!(findings("FROM x\n# check=skip=MaintainerDeprecated\nMAINTAINER me\n", "").len(), 0);
        // For that instruction alone, and for that rule.
        assert_eq!(findings("FROM x\n# check=skip=all\nRUN true\nMAINTAINER me\n", "").len(), 1);
        assert_eq!(findings("FROM x\n# check=skip=StageNameCasing\nMAINTAINER me\n", "").len(), 1);
    }

    fn findings(text: &str, ignore: &str) -> Vec<String> {
        let mut arguments = BTreeMap::new();
        arguments.insert("TARGETPLATFORM".to_string(), "linux/amd64".to_string());
        arguments.insert("BUILDPLATFORM".to_string(), "linux/amd64".to_string());
        let ignored = Patterns::parse(ignore).unwrap();
        let environment =
            |image: &str| image.starts_with("base").then(|| vec!["PATH=/bin".to_string(), "FROMBASE=1".to_string()]);
        let file = crate::parse(text).unwrap();
        let surroundings = Surroundings {
            check: &file.directives.check,
            built: &|_| true,
            arguments: &arguments,
            base_environment: &environment,
            ignored: &ignored,
        };
        check(&file, surroundings).iter().map(Warning::text).collect()
    }

    #[test]
    fn rules() {
        for (text, expect) in [
            ("FROM base AS Build", "StageNameCasing: Stage name 'Build' should be lowercase"),
            ("FROM base as build", "FromAsCasing: 'as' and 'FROM' keywords' casing do not match"),
            ("FROM base\nRUN a \\\n\n  b", "NoEmptyContinuation: Empty continuation line"),
            (
                "FROM base\nRUN a\nrun b",
                "ConsistentInstructionCasing: Command 'run' should match the case of the command majority (uppercase)",
            ),
            (
                "FROM base AS a\nFROM base AS a",
                "DuplicateStageName: Duplicate stage name \"a\", stage names should be unique",
            ),
            (
                "FROM base AS scratch",
                "ReservedStageName: Stage name should not use the same name as reserved stage \"scratch\"",
            ),
            (
                "FROM base\nCMD run it",
                "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
            ),
            (
                "FROM base\nMAINTAINER me",
                "MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label",
            ),
            ("FROM $none", "UndefinedArgInFrom: FROM argument 'none' is not declared"),
            (
                "FROM base\nWORKDIR app",
                "WorkdirRelativePath: Relative workdir \"app\" can have unexpected results if the base image changes",
            ),
            (
                "FROM base\nARG version\nENV a=$verson$FROMBASE$version",
                "UndefinedVar: Usage of undefined variable '$verson'",
            ),
            (
                "FROM base\nCMD [\"a\"]\nCMD [\"b\"]",
                "MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only the last one will be used",
            ),
            (
                "FROM base\nENV a b",
                "LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format",
            ),
            (
                "FROM --platform=$TARGETPLATFORM base",
                "RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
            ),
            (
                "FROM base\nARG DB_PASSWORD",
                "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG \"DB_PASSWORD\")",
            ),
            (
                "ARG tag\nFROM base:${tag}",
                "InvalidDefaultArgInFrom: Default value for ARG base:${tag} results in empty or invalid base image name",
            ),
            (
                "FROM --platform=linux/arm64 base",
                "FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/arm64\"",
            ),
            (
                "FROM base\nCOPY secret.txt /",
                "CopyIgnoredFile: Attempting to Copy file \"secret.txt\" that is excluded by .dockerignore",
            ),
            (
                "FROM base\nEXPOSE 80/TCP",
                "ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase",
            ),
            (
                "FROM base\nEXPOSE 127.0.0.1:80:80",
                "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:80:80'",
            ),
            (
                "# check=experimental=all\nFROM base\n# something else\nARG x",
                "InvalidDefinitionDescription: Comment for ARG should follow the format: `# x <description>`",
            ),
        ] {
            let mut found = findings(text, "secret.txt");
            found.iter_mut().for_each(|line| *line = line.split(" (did you mean").next().unwrap().to_string());
            assert_eq!(found, [expect], "{text}");
        }
        for clean in [
            "ARG V=1\nFROM base:$V AS build\nARG V\nWORKDIR /app\nWORKDIR src\nENV A=$V B=$FROMBASE\nRUN echo $whatever\nCMD [\"a\"]\nEXPOSE 80/udp",
            "FROM base\nENV SSH_PUBLIC_KEY=x",
            "from base as b\nrun x",
            "# check=skip=all\nFROM base\nMAINTAINER x",
        ] {
            assert_eq!(findings(clean, ""), Vec::<String>::new(), "{clean}");
        }
    }

    #[test]
    fn pages() {
        assert_eq!(JSON_ARGS_RECOMMENDED.url(), "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/");
        assert_eq!(STAGE_NAME_CASING.url(), "https://docs.docker.com/go/dockerfile/rule/stage-name-casing/");
    }
}
