//! The documents as a whole: links lead somewhere, the summary of the book is complete.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Made when the book is made.
const MADE: [&str; 3] = ["docs/reference/commands.md", "docs/reference/daemon.md", "docs/reference/api.md"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn pages() -> Vec<PathBuf> {
    fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    let mut found: Vec<PathBuf> = ["README.md", "README.ko.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"]
        .iter()
        .map(|name| root().join(name))
        .collect();
    collect(&root().join("docs"), &mut found);
    found.sort();
    found
}

/// Text without fenced blocks.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    prose
}

/// Targets of `[text](target)`.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    prose.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// What a heading is called in a link, as mdBook and GitHub do it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(path: &Path) -> BTreeSet<String> {
    let mut text = fs::read_to_string(path).unwrap();
    if let Some(included) = text.trim().strip_prefix("{{#include ").and_then(|rest| rest.strip_suffix("}}")) {
        text = fs::read_to_string(path.parent().unwrap().join(included)).unwrap();
    }
    prose(&text)
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| anchor(line.trim_start_matches('#').trim()))
        .collect()
}

/// Without `..`, as the file system would read it.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        for link in links(&fs::read_to_string(&page).unwrap()) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, fragment) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { page.clone() } else { clean(&page.parent().unwrap().join(file)) };
            let name = target.strip_prefix(root()).unwrap_or(&target).display().to_string();
            if MADE.contains(&name.as_str()) {
                continue;
            }
            if !target.exists() || (!fragment.is_empty() && !anchors(&target).contains(fragment)) {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n  {}", broken.join("\n  "));
}

#[test]
fn the_summary_has_every_page() {
    let docs = root().join("docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    let listed: BTreeSet<PathBuf> = links(&summary).iter().map(|link| docs.join(link)).collect();
    let there: BTreeSet<PathBuf> =
        pages().into_iter().filter(|page| page.starts_with(&docs) && !page.ends_with("SUMMARY.md")).collect();
    let missing: Vec<_> = there.difference(&listed).collect();
    assert!(missing.is_empty(), "pages that docs/SUMMARY.md does not list: {missing:?}");
}

#[test]
fn blocks_say_what_they_are() {
    let known = ["sh", "output", "console", "text", "json", "toml", "yaml", "rust", "dockerfile", ""];
    let mut odd = Vec::new();
    for page in pages() {
        let mut fenced = false;
        for line in fs::read_to_string(&page).unwrap().lines() {
            if let Some(mark) = line.trim_start().strip_prefix("```") {
                fenced = !fenced;
                // Behind the word may stand why nobody runs it.
                if fenced && !known.contains(&mark.split_whitespace().next().unwrap_or("")) {
                    odd.push(format!("{}: {mark}", page.display()));
                }
            }
        }
        assert!(!fenced, "{} has a block without an end", page.display());
    }
    assert!(odd.is_empty(), "marks of blocks that no test knows:\n  {}", odd.join("\n  "));
}

/// The code speaks of pages by path.
#[test]
fn pages_that_the_code_names_exist() {
    let mut found = Vec::new();
    let mut sources = Vec::new();
    fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    for directory in ["bin", "crates", "tests", "xtask/src"] {
        collect(&root().join(directory), &mut sources);
    }
    for source in sources {
        let text = fs::read_to_string(&source).unwrap();
        let comments: Vec<&str> = text.lines().filter_map(|line| Some(line.split_once("//")?.1)).collect();
        for rest in comments.join("\n").split("docs/").skip(1) {
            let path: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_./".contains(*c)).collect();
            let path = path.trim_end_matches('.');
            let name = format!("docs/{path}");
            if path.ends_with(".md") && !MADE.contains(&name.as_str()) && !root().join(&name).is_file() {
                found.push(format!("{}: {name}", source.display()));
            }
        }
    }
    assert!(found.is_empty(), "pages that are not there:\n  {}", found.join("\n  "));
}
