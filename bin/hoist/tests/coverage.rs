//! Every command and flag of docker 28.2.2 against our help pages. What is missing is in a list with its reason; what is
//! missing and not in the list fails.

mod support;

use std::collections::BTreeMap;

use support::{Stub, empty, text};

/// What is not there, and why. `command` alone stands for the command with everything in it.
const MISSING: &[(&str, &str)] = &[
    ("trust", "content trust (Notary v1) was taken out of Docker with version 29"),
    ("bake", "a short form of buildx bake: there when the program docker-buildx is"),
    ("build --squash", "a dockerd option that was always experimental: BuildKit, Docker's builder, has none"),
    ("build --disable-content-trust", "content trust (Notary v1) was taken out of Docker with version 29"),
];

/// A flag as the table writes it.
struct Flag {
    long: String,
    short: Option<char>,
    hidden: bool,
}

fn table() -> Vec<(String, Vec<Flag>)> {
    let path = format!("{}/tests/data/cli.tsv", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("table");
    let flag = |word: &str| {
        let (word, hidden) = word.strip_suffix("(hidden)").map_or((word, false), |w| (w, true));
        let (short, long) = match word.split_once(",--") {
            Some((short, long)) => (short.chars().nth(1), long),
            None => (None, word.trim_start_matches("--")),
        };
        Flag { long: long.to_owned(), short, hidden }
    };
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (command, flags) = line.split_once('\t').expect("two columns");
            (command.to_owned(), flags.split(' ').filter(|w| !w.is_empty()).map(flag).collect())
        })
        .collect()
}

/// Flags of a help page: long name to letter.
fn listed(page: &str) -> BTreeMap<String, Option<char>> {
    let mut out = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("  -") || line.starts_with("      --")) {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        let (short, long) = match first.strip_suffix(',') {
            Some(short) => (short.chars().nth(1), words.next().unwrap_or_default()),
            None => (None, first),
        };
        out.insert(long.trim_start_matches("--").to_owned(), short);
    }
    out
}

/// The reason in the list, for a command or for one of its flags under any of the command's names.
fn excused(command: &str, flag: Option<&str>) -> bool {
    MISSING.iter().any(|(what, _)| match what.split_once(" --") {
        None => command == *what || command.starts_with(&format!("{what} ")),
        Some((place, name)) => flag == Some(name) && (command == place || command.ends_with(&format!(" {place}"))),
    })
}

#[test]
fn every_command_and_flag() {
    let stub = Stub::start(|_, _| empty(404));
    let (mut commands, mut flags, mut missing) = (0, 0, Vec::new());
    for (command, wanted) in table() {
        let mut words: Vec<&str> = command.split(' ').filter(|w| !w.is_empty()).collect();
        words.push("--help");
        let output = stub.run("docker", &words);
        let page = text(&output.stdout);
        commands += 1;
        flags += wanted.len();
        // `completion` has its shells as arguments here and as commands there.
        let known = output.status.success() && page.starts_with(&format!("Usage:  docker {command}"));
        if !known {
            if !excused(&command, None) {
                missing.push(command);
            }
            continue;
        }
        let there = listed(&page);
        for flag in wanted {
            let good = match there.get(&flag.long) {
                Some(short) => *short == flag.short && !flag.hidden,
                // A hidden one is told from an unknown one by what is said of it.
                None => {
                    flag.hidden && {
                        let given = format!("--{}=1", flag.long);
                        let mut tried = words[..words.len() - 1].to_vec();
                        tried.extend([given.as_str(), "--help"]);
                        let output = stub.run("docker", &tried);
                        !text(&output.stderr).contains("unknown flag")
                    }
                }
            };
            if !good && !excused(&command, Some(&flag.long)) {
                missing.push(format!("{command} --{}", flag.long));
            }
        }
    }
    println!("{commands} commands and {flags} flags of docker 28.2.2; {} missing without a reason", missing.len());
    for (what, why) in MISSING {
        println!("not here: {what}: {why}");
    }
    assert!(commands > 140 && flags > 800, "the table is not whole: {commands} commands, {flags} flags");
    assert!(missing.is_empty(), "missing:\n{}", missing.join("\n"));
}
