//! What could come next.

use client::Request;
use serde::Deserialize;

use crate::cli::{Command, Flag, Kind, tree};
use crate::context::Context;
use crate::failure::Outcome;

/// What a word may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Container,
    Running,
    Image,
    Network,
    Volume,
    Context,
    File,
    Nothing,
    /// One of these.
    One(&'static [&'static str]),
}

/// A candidate and what it is.
type Found = (String, String);

/// Prints the candidates for the last word.
pub(super) fn print(context: &Context, words: &[String]) -> Outcome {
    let (before, current) = match words {
        [before @ .., current] => (before, current.as_str()),
        [] => (&[][..], ""),
    };
    let mut text = String::new();
    let mut found = candidates(context, before, current);
    found.dedup();
    for (word, about) in found {
        // Names come from outside; a line is one candidate.
        if word.contains(['\n', '\t']) {
            continue;
        }
        let about = about.lines().next().unwrap_or_default().replace('\t', " ");
        text.push_str(&if about.is_empty() { format!("{word}\n") } else { format!("{word}\t{about}\n") });
    }
    crate::out::text(&text)
}

fn candidates(context: &Context, before: &[String], current: &str) -> Vec<Found> {
    let words: Vec<&str> = before.iter().map(String::as_str).collect();
    let rest = match after_flags(&words, tree::GLOBAL_FLAGS) {
        After::Value(flag) => return of_word(context, value_of(flag, &[]), current),
        After::Words(rest) => rest,
    };
    let (path, rest) = match rest {
        [] => return first_words(current),
        [group] if tree::group(group).is_some() => {
            let verbs = tree::of_group(group).map(|(name, about)| (name.to_owned(), about.to_owned()));
            return starting(verbs, current);
        }
        [group, verb, rest @ ..] if tree::group(group).is_some() => (vec![*group, *verb], rest),
        ["help", ..] => return first_words(current),
        [verb, rest @ ..] => (vec![*verb], rest),
    };
    let Some(command) = tree::find(&path) else { return Vec::new() };
    of_command(context, command, rest, current)
}

/// Commands and, behind a dash, options.
fn first_words(current: &str) -> Vec<Found> {
    if current.starts_with('-') {
        return flags(tree::GLOBAL_FLAGS, current);
    }
    let groups = tree::GROUPS.iter().map(|g| (g.name.to_owned(), g.about.to_owned()));
    let commands = tree::top_level().map(|(name, about)| (name.to_owned(), about.to_owned()));
    let mut all: Vec<Found> = groups.chain(commands).filter(|(name, _)| !name.starts_with("__")).collect();
    all.sort();
    starting(all.into_iter(), current)
}

fn of_command(context: &Context, command: &'static Command, before: &[&str], current: &str) -> Vec<Found> {
    if let Some((name, value)) = current.strip_prefix("--").and_then(|text| text.split_once('=')) {
        let Some(flag) = command.flags.iter().find(|flag| flag.long == name) else { return Vec::new() };
        let values = of_word(context, value_of(flag, command.spellings), value);
        let whole = |word: String| if word == ":files" { word } else { format!("--{name}={word}") };
        return values.into_iter().map(|(word, about)| (whole(word), about)).collect();
    }
    // Behind a container's image comes its own command.
    let mut positional = 0;
    let mut index = 0;
    while index < before.len() {
        let word = before[index];
        if word == "--" || (positional > 0 && !command.interspersed) {
            break;
        }
        if word.len() > 1 && word.starts_with('-') {
            if let Some(flag) = takes_next(word, command.flags) {
                if index + 1 == before.len() {
                    return of_word(context, value_of(flag, command.spellings), current);
                }
                index += 1;
            }
        } else {
            positional += 1;
        }
        index += 1;
    }
    if current.starts_with('-') && (command.interspersed || positional == 0) {
        return flags(command.flags, current);
    }
    let given: Vec<&str> = before.iter().copied().filter(|word| !word.starts_with('-')).collect();
    let mut found = of_word(context, positional_of(command.spellings[0], positional), current);
    // What is there already is not wanted twice.
    found.retain(|(word, _)| !given.contains(&word.as_str()) || word == ":files");
    found
}

enum After<'a> {
    /// The last word is a flag that wants a value.
    Value(&'static Flag),
    Words(&'a [&'a str]),
}

fn after_flags<'a>(words: &'a [&'a str], table: &'static [Flag]) -> After<'a> {
    let mut index = 0;
    while let Some(word) = words.get(index).filter(|word| word.starts_with('-')) {
        if let Some(flag) = takes_next(word, table) {
            if index + 1 == words.len() {
                return After::Value(flag);
            }
            index += 1;
        }
        index += 1;
    }
    After::Words(&words[index.min(words.len())..])
}

/// The flag at the end of a word whose value is the next word.
fn takes_next(word: &str, table: &'static [Flag]) -> Option<&'static Flag> {
    let flag = match word.strip_prefix("--") {
        Some(long) => table.iter().find(|flag| flag.long == long),
        None => {
            // `-it`: the last letter counts, if no letter in front of it takes the rest.
            let mut letters = word[1..].chars();
            loop {
                let flag =
                    table.iter().find(|flag| Some(flag.short) == letters.clone().next() && flag.short != '\0')?;
                letters.next();
                let last = letters.as_str().is_empty();
                match flag.kind {
                    Kind::Bool(_) if last => return None,
                    Kind::Bool(_) => {}
                    _ if last => break Some(flag),
                    _ => return None,
                }
            }
        }
    };
    flag.filter(|flag| !matches!(flag.kind, Kind::Bool(_)))
}

fn flags(table: &'static [Flag], current: &str) -> Vec<Found> {
    let all = table
        .iter()
        .filter(|flag| !flag.hidden)
        .map(|flag| (format!("--{}", flag.long), flag.help.to_owned()))
        .chain([("--help".to_owned(), "Print usage".to_owned())]);
    starting(all, current)
}

fn starting(all: impl Iterator<Item = Found>, current: &str) -> Vec<Found> {
    all.filter(|(word, _)| word.starts_with(current)).collect()
}

/// What a flag's value is.
fn value_of(flag: &Flag, spellings: &[&str]) -> Word {
    match flag.long {
        "network" | "net" => Word::Network,
        "volumes-from" | "link" => Word::Container,
        "context" => Word::Context,
        "from" if spellings.iter().any(|s| s.starts_with("context")) => Word::Context,
        "restart" => Word::One(&["no", "always", "on-failure", "unless-stopped"]),
        "pull" => Word::One(&["always", "missing", "never"]),
        "log-level" => Word::One(&["debug", "info", "warn", "error", "fatal"]),
        "log-driver" => Word::One(&["journald", "json-file", "local", "none", "syslog"]),
        "type" => Word::One(&["container", "image", "network", "volume"]),
        "signal" => Word::One(&["HUP", "INT", "QUIT", "KILL", "USR1", "USR2", "TERM", "CONT", "STOP"]),
        "format" => Word::One(&["json", "table"]),
        "progress" => Word::One(&["auto", "plain", "tty", "quiet", "rawjson"]),
        "config" | "env-file" | "label-file" | "cidfile" | "iidfile" | "file" | "tlscacert" | "tlscert" | "tlskey"
        | "volume" | "device" | "input" | "output" => Word::File,
        _ => Word::Nothing,
    }
}

/// What the positional argument with this number is.
fn positional_of(spelling: &str, number: usize) -> Word {
    match (spelling, number) {
        ("container run" | "container create", 0) => Word::Image,
        (
            "container exec" | "container attach" | "container top" | "container stop" | "container kill"
            | "container pause" | "container port",
            0,
        )
        | ("container stop" | "container kill" | "container pause" | "container stats", _) => Word::Running,
        ("container cp", _) => Word::File,
        ("container commit" | "container export" | "container diff" | "container rename" | "container logs", 0)
        | (
            "container start" | "container restart" | "container rm" | "container unpause" | "container update"
            | "container wait" | "container inspect" | "container logs" | "container explain" | "inspect",
            _,
        ) => Word::Container,
        ("image rm" | "image save" | "image inspect" | "image history", _)
        | ("image tag" | "image push" | "image pull" | "image rollback" | "image log", 0)
        | ("image pin" | "image unpin", _) => Word::Image,
        ("network connect" | "network disconnect", 0) | ("network rm" | "network inspect", _) => Word::Network,
        ("network connect" | "network disconnect", 1) => Word::Container,
        ("volume rm" | "volume inspect" | "volume update", _)
        | ("volume export" | "volume import" | "volume clone", 0) => Word::Volume,
        ("volume export" | "volume import", _) => Word::File,
        ("context use" | "context export" | "context update", 0) | ("context rm" | "context inspect", _) => {
            Word::Context
        }
        ("completion", 0) => Word::One(&["bash", "fish", "zsh"]),
        ("image build" | "build" | "builder build" | "image import" | "image load" | "context import", _) => Word::File,
        _ => Word::Nothing,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    names: Option<Vec<String>>,
    image: Option<String>,
    status: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    repo_tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    name: String,
    #[serde(default)]
    driver: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Volumes {
    volumes: Option<Vec<Named>>,
}

/// What the daemon has; without one, nothing.
fn ask<T: serde::de::DeserializeOwned>(context: &Context, request: Request<'static>) -> Option<T> {
    context.client().ok()?.send(request).ok()?.json().ok()
}

fn of_word(context: &Context, word: Word, current: &str) -> Vec<Found> {
    let named = |all: Vec<Named>| all.into_iter().map(|n| (n.name, n.driver)).collect::<Vec<Found>>();
    let mut found: Vec<Found> = match word {
        Word::Nothing => Vec::new(),
        Word::File => return vec![(":files".to_owned(), String::new())],
        Word::One(words) => words.iter().map(|w| ((*w).to_owned(), String::new())).collect(),
        Word::Container | Word::Running => {
            let request = Request::get("/containers/json").query_if("all", word == Word::Container);
            ask::<Vec<Container>>(context, request)
                .unwrap_or_default()
                .into_iter()
                .flat_map(|c| {
                    let about = format!("{}, {}", c.image.unwrap_or_default(), c.status.unwrap_or_default());
                    let names = c.names.unwrap_or_default();
                    names.into_iter().map(move |n| (n.trim_start_matches('/').to_owned(), about.clone()))
                })
                // A link's name is another container's.
                .filter(|(name, _)| !name.contains('/'))
                .collect()
        }
        Word::Image => ask::<Vec<Image>>(context, Request::get("/images/json"))
            .unwrap_or_default()
            .into_iter()
            .flat_map(|image| image.repo_tags.unwrap_or_default())
            .flat_map(|tag| {
                let short = tag.strip_suffix(":latest").map(str::to_owned);
                // The tag is of interest once a colon is typed.
                if current.contains(':') { vec![tag] } else { vec![short.unwrap_or(tag)] }
            })
            .map(|tag| (tag, String::new()))
            .collect(),
        Word::Network => named(ask(context, Request::get("/networks")).unwrap_or_default()),
        Word::Volume => {
            named(ask::<Volumes>(context, Request::get("/volumes")).and_then(|v| v.volumes).unwrap_or_default())
        }
        Word::Context => {
            let kept = context.contexts().and_then(|store| store.list()).unwrap_or_default();
            let kept = kept.into_iter().map(|meta| (meta.name.clone(), meta.description().to_owned()));
            kept.chain([("default".to_owned(), String::new())]).collect()
        }
    };
    found.sort();
    starting(found.into_iter(), current)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{Context, Globals};

    fn words(line: &str) -> String {
        let context =
            Context::new("hoist", Globals { hosts: vec!["unix:///nonexistent".to_owned()], ..Globals::default() });
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let (current, before) = words.split_last().expect("a word");
        let found = candidates(&context, before, current);
        found.into_iter().map(|(word, _)| word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn without_a_daemon() {
        for (line, expect) in [
            ("resta", "restart"),
            ("--log-level e", "error"),
            ("--log-level error resta", "restart"),
            ("-H x network con", "connect"),
            ("network connect --al", "--alias"),
            ("run --rest", "--restart"),
            ("run --restart=un", "--restart=unless-stopped"),
            ("run --restart un", "unless-stopped"),
            ("run -itd --restart a", "always"),
            ("run --env-file ", ":files"),
            ("run img --rest", ""),
            ("cp ", ":files"),
            ("completion z", "zsh"),
            ("system dial", ""),
            ("nonsense x", ""),
            ("stop --signal K", "KILL"),
        ] {
            assert_eq!(words(line), expect, "{line}");
        }
    }
}
