//! BuildKit's own fixtures, as data: parse trees, refused files, words and expansions.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use dockerfile::directive::Directives;
use dockerfile::line;
use dockerfile::node::Node;
use dockerfile::word::Lex;

/// The fixtures stand beside the repository, or where `HOIST_REFERENCE` says.
fn fixtures() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference");
    let folder = std::env::var_os("HOIST_REFERENCE").map_or(beside, PathBuf::from).join("fixtures/dockerfile");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: the fixtures of BuildKit are not at {}", folder.display());
    None
}

fn tree(source: &str) -> Result<Vec<Node>, dockerfile::Error> {
    let directives = Directives::parse(source)?;
    let lines = line::split(source, &directives)?;
    let nodes = lines.iter().map(|line| Node::parse(line, &directives)).collect::<Result<Vec<_>, _>>()?;
    if nodes.is_empty() {
        Err(dockerfile::Error::new(dockerfile::Lines::one(1), "file with no instructions"))
    } else {
        Ok(nodes)
    }
}

#[test]
fn parse_trees_are_those_of_buildkit() {
    let Some(folder) = fixtures() else { return };
    let mut count = 0;
    for entry in fs::read_dir(folder.join("testfiles")).unwrap() {
        let path = entry.unwrap().path();
        let source = fs::read_to_string(path.join("Dockerfile")).unwrap();
        let expect = fs::read_to_string(path.join("result")).unwrap();
        let dump: Vec<String> = tree(&source)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .iter()
            .map(Node::dump)
            .collect();
        assert_eq!(dump.join("\n"), expect.trim_end(), "{}", path.display());
        count += 1;
    }
    assert!(count >= 30, "only {count} fixtures");
}

#[test]
fn what_buildkit_refuses_is_refused() {
    let Some(folder) = fixtures() else { return };
    for entry in fs::read_dir(folder.join("testfiles-negative")).unwrap() {
        let path = entry.unwrap().path();
        let source = fs::read_to_string(path.join("Dockerfile")).unwrap();
        assert!(dockerfile::parse(&source).is_err(), "{}", path.display());
    }
}

#[test]
fn words_expand_as_with_buildkit() {
    let Some(folder) = fixtures() else { return };
    let set: BTreeMap<String, String> = [("PWD", "/home"), ("SHELL", "bash"), ("KOREAN", "한국어"), ("NULL", "")]
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let mut count = 0;
    for line in fs::read_to_string(folder.join("envVarTest")).unwrap().lines() {
        let line = line.split_once('#').filter(|(before, _)| before.trim().is_empty()).map_or(line, |_| "");
        let Some((platform, rest)) = line.split_once('|').filter(|(platform, _)| ["A", "U"].contains(&platform.trim()))
        else {
            continue;
        };
        let (word, expect) = rest.rsplit_once('|').unwrap();
        let (word, expect) = (word.trim(), expect.trim());
        let result = Lex::new('\\').expand(word, &set).map(|expansion| expansion.text);
        match expect {
            "error" => assert!(result.is_err(), "{platform}|{word}: {result:?}"),
            _ => assert_eq!(result.as_deref(), Ok(expect), "{word}"),
        }
        count += 1;
    }
    assert!(count > 150, "only {count} rows");
}

#[test]
fn lines_divide_into_words_as_with_buildkit() {
    let Some(folder) = fixtures() else { return };
    let mut set: BTreeMap<String, String> = BTreeMap::new();
    let mut count = 0;
    for line in fs::read_to_string(folder.join("wordsTest")).unwrap().lines() {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        if let Some(pair) = line.strip_prefix("ENV ") {
            let (name, value) = pair.split_once('=').unwrap();
            set.insert(name.into(), value.into());
            continue;
        }
        let (words, expect) = line.split_once(" | ").or_else(|| line.split_once('|')).unwrap();
        let result = Lex::new('\\').words(words.trim(), &set);
        match expect.trim() {
            "error" => assert!(result.is_err(), "{words}"),
            _ => assert_eq!(result.unwrap().join(",").trim_start(), expect.trim_start(), "{words}"),
        }
        count += 1;
    }
    assert!(count >= 15, "only {count} rows");
}
