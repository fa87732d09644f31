//! The rules of the house that the compiler does not hold: who may know whom, and what may stand where.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every crate and its ring. Arrows point from higher rings to lower ones.
const RINGS: &[(&str, u8)] = &[
    // 0: words
    ("oci", 0),
    ("api", 0),
    ("shim-api", 0),
    ("dockerfile", 0),
    ("session", 0),
    // 1: the machine
    ("sys", 1),
    ("cgroup", 1),
    ("systemd", 1),
    ("archive", 1),
    ("keeper", 1),
    ("dns", 1),
    ("forward", 1),
    // 2: subsystems
    ("store", 2),
    ("runtime", 2),
    ("network", 2),
    ("volume", 2),
    ("logs", 2),
    ("distribution", 2),
    ("registry", 2),
    // 3
    ("engine", 3),
    ("build", 3),
    // 4: edges
    ("buildkit-api", 4),
    ("http-api", 4),
    ("registry-api", 4),
    ("client", 4),
    ("commands", 4),
    // what is run
    ("hoist", 5),
    ("hoistd", 5),
    ("hoist-runtime", 5),
    // development only
    ("fuzz", 6),
    ("testkit", 6),
    ("e2e", 7),
    ("security", 7),
    ("xtask", 7),
];

/// Within one ring, who may know whom.
const NEIGHBOURS: &[(&str, &str)] = &[
    ("api", "oci"),
    ("shim-api", "oci"),
    ("dockerfile", "api"),
    ("dockerfile", "oci"),
    ("cgroup", "sys"),
    ("archive", "sys"),
    ("dns", "sys"),
    ("forward", "sys"),
    ("keeper", "sys"),
    ("distribution", "store"),
    ("registry", "store"),
    ("registry", "distribution"),
    ("runtime", "logs"),
    ("commands", "client"),
    ("build", "engine"),
    ("http-api", "buildkit-api"),
];

/// Allowed by the rings, forbidden all the same: the daemon asks the spawner and never links the runtime; the client and
/// the runtime know nothing of the engine.
const APART: &[(&str, &str)] = &[
    ("engine", "runtime"),
    ("http-api", "runtime"),
    ("hoistd", "runtime"),
    ("hoist", "runtime"),
    ("hoist", "engine"),
    ("hoist", "store"),
    ("hoist", "registry"),
    ("registry-api", "engine"),
    ("commands", "engine"),
    ("client", "engine"),
    ("hoist-runtime", "engine"),
    ("hoist-runtime", "store"),
    ("hoist-runtime", "http-api"),
];

/// Async and HTTP belong to the edges.
const ASYNC: &[&str] = &["tokio", "hyper", "hyper-util", "http-body-util", "tonic", "reqwest", "axum"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the workspace").to_path_buf()
}

struct Crate {
    name: String,
    dir: PathBuf,
    manifest: String,
    /// Normal and build dependencies.
    dependencies: BTreeSet<String>,
}

fn crates() -> Vec<Crate> {
    let mut dirs = vec![root().join("xtask")];
    for parent in ["bin", "crates", "tests"] {
        dirs.extend(fs::read_dir(root().join(parent)).unwrap().map(|entry| entry.unwrap().path()));
    }
    dirs.retain(|dir| dir.join("Cargo.toml").is_file());
    dirs.sort();
    dirs.into_iter().map(|dir| read_crate(&dir)).collect()
}

fn read_crate(dir: &Path) -> Crate {
    let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap();
    let mut section = "";
    let (mut name, mut dependencies) = (String::new(), BTreeSet::new());
    for line in manifest.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']');
            if let Some((kind, dependency)) = section.rsplit_once("dependencies.")
                && !kind.ends_with("dev-")
            {
                dependencies.insert(dependency.to_string());
            }
            continue;
        }
        let key = line.split(['.', '=', ' ']).next().unwrap_or("").trim_matches('"');
        if section == "package" && key == "name" {
            name = line.split('"').nth(1).unwrap_or("").to_string();
        } else if section.ends_with("dependencies") && !section.ends_with("dev-dependencies") {
            dependencies.insert(key.to_string());
        }
    }
    Crate { name, dir: dir.to_path_buf(), manifest, dependencies }
}

fn files(dir: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                files(&path, extensions, found);
            }
        } else if extensions.iter().any(|extension| name.ends_with(extension)) {
            found.push(path);
        }
    }
}

fn sources(dir: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    files(dir, &[".rs"], &mut found);
    found.into_iter().map(|path| (path.clone(), fs::read_to_string(&path).unwrap())).collect()
}

/// Lines of code before the unit tests, numbered, without line comments.
fn product_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .take_while(|line| !line.trim_start().starts_with("#[cfg(test)]"))
        .enumerate()
        .map(|(n, line)| (n + 1, line.split("//").next().unwrap_or("")))
}

fn report(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

fn is_product(name: &str) -> bool {
    !["testkit", "e2e", "security", "xtask"].contains(&name)
}

#[test]
fn arrows_point_down_only() {
    let rings: BTreeMap<&str, u8> = RINGS.iter().copied().collect();
    let mut found = Vec::new();
    for Crate { name, dependencies, .. } in crates() {
        let Some(ring) = rings.get(name.as_str()) else {
            found.push(format!("{name} is in no ring: add it to RINGS"));
            continue;
        };
        for dependency in &dependencies {
            let Some(below) = rings.get(dependency.as_str()) else { continue };
            let pair = (name.as_str(), dependency.as_str());
            if APART.contains(&pair) || below > ring || (below == ring && !NEIGHBOURS.contains(&pair)) {
                found.push(format!("{name} (ring {ring}) depends on {dependency} (ring {below})"));
            }
            if dependency == "testkit" && is_product(&name) {
                found.push(format!("{name} depends on testkit outside of tests"));
            }
        }
    }
    report("dependencies that point the wrong way", found);
}

#[test]
fn async_and_http_stay_at_the_edges() {
    let rings: BTreeMap<&str, u8> = RINGS.iter().copied().collect();
    let mut found = Vec::new();
    for Crate { name, dependencies, .. } in crates() {
        let edge = rings.get(name.as_str()) == Some(&4) || name == "hoistd";
        for dependency in &dependencies {
            if ASYNC.contains(&dependency.as_str()) && !edge {
                found.push(format!("{name} depends on {dependency}"));
            }
            if dependency == "ureq" && name != "distribution" {
                found.push(format!("{name} depends on ureq, which is for distribution"));
            }
            if dependency == "anyhow" && is_product(&name) && rings.get(name.as_str()) != Some(&5) {
                found.push(format!("{name} depends on anyhow: its errors are typed"));
            }
        }
    }
    report("async or HTTP below ring 4", found);
}

#[test]
fn unsafe_code_lives_in_sys() {
    let mut found = Vec::new();
    for Crate { name, dir, manifest, .. } in crates() {
        if name == "sys" {
            continue;
        }
        if !manifest.contains("[lints]\nworkspace = true") {
            found.push(format!("{name} does not inherit the workspace's lints"));
        }
        for (path, text) in sources(&dir) {
            let mark = ["un", "safe"].concat();
            for (n, line) in text.lines().enumerate() {
                let line = line.split("//").next().unwrap_or("");
                if [format!("{mark} {{"), format!("{mark} fn"), format!("{mark} impl")].iter().any(|m| line.contains(m))
                {
                    found.push(format!("{}:{}", path.display(), n + 1));
                }
            }
        }
    }
    report("unsafe code outside of crates/sys", found);
}

/// At run time the product needs no program of the machine: it starts its own, by path. There are two exceptions. The client's
/// `ssh://`: keys, agents and known hosts are where ssh(1) has them. A build's context that is a repository: git(1) fetches
/// it, confined as `build/src/git.rs` says; who builds from no repository needs none.
#[test]
fn no_external_programs() {
    let mut found = Vec::new();
    let mark = ["Command::new", "(\""].concat();
    for krate in crates().iter().filter(|krate| is_product(&krate.name)) {
        for (path, text) in sources(&krate.dir.join("src")) {
            // A file of unit tests beside the code (`#[cfg(test)] mod tests;`) may run tools.
            if path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests") {
                continue;
            }
            for (n, line) in product_lines(&text) {
                if line.contains(&mark) && !path.ends_with("client/src/ssh.rs") && !path.ends_with("build/src/git.rs") {
                    found.push(format!("{}:{n}: {}", path.display(), line.trim()));
                }
            }
        }
    }
    report("programs of the machine that the product would run", found);
}

#[test]
fn no_unfinished_business() {
    let words = [["TO", "DO"], ["FIX", "ME"], ["X", "XX:"], ["unimplem", "ented!("], ["to", "do!("]]
        .map(|parts| parts.concat());
    let mut found = Vec::new();
    for krate in crates() {
        for (path, text) in sources(&krate.dir) {
            for (n, line) in text.lines().enumerate() {
                if words.iter().any(|word| line.contains(word.as_str())) {
                    found.push(format!("{}:{}: {}", path.display(), n + 1, line.trim()));
                }
            }
        }
    }
    report("marks of unfinished work", found);
}

/// Paths of the machine it was written on have no place in the repository.
#[test]
fn no_paths_of_one_machine() {
    let marks = ["\"", " ", "`", "(", "=", "'"].map(|before| format!("{before}/{}/", ["wo", "rk"].concat()));
    let mut all = Vec::new();
    files(&root(), &[".rs", ".md", ".toml", ".sh", ".yml", ".json"], &mut all);
    let mut found = Vec::new();
    for path in all {
        let text = fs::read_to_string(&path).unwrap_or_default();
        for (n, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark.as_str())) {
                found.push(format!("{}:{}: {}", path.display(), n + 1, line.trim()));
            }
        }
    }
    report("paths of one machine", found);
}

#[test]
fn each_crate_says_what_it_is() {
    let mut found = Vec::new();
    for krate in crates() {
        let candidates = ["src/lib.rs", "src/main.rs", "tests/main.rs"].map(|file| krate.dir.join(file));
        let Some(path) = candidates.iter().find(|path| path.is_file()) else { continue };
        if !fs::read_to_string(path).unwrap().starts_with("//!") {
            found.push(format!("{} does not begin with //!", path.display()));
        }
    }
    report("crates that do not say what they are", found);
}

const LICENCES: &[&str] = &[
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// An expression of SPDX is fine when one side of each OR is.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], "");
    expression.split(" AND ").all(|part| part.split(" OR ").any(|licence| LICENCES.contains(&licence.trim())))
}

#[test]
fn licences_are_permissive() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .unwrap();
    if !output.status.success() {
        eprintln!("skipped: cargo metadata --offline fails: {}", String::from_utf8_lossy(&output.stderr).trim());
        return;
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let (name, licence) = (package["name"].as_str().unwrap_or(""), package["license"].as_str().unwrap_or(""));
        if !is_allowed(licence) {
            found.push(format!("{name}: {licence:?}"));
        }
        if ["aws-lc-rs", "aws-lc-sys", "openssl-sys", "native-tls"].contains(&name) {
            found.push(format!("{name} is banned (see deny.toml)"));
        }
    }
    report("licences", found);
}

#[test]
fn licence_expressions() {
    for (expression, expect) in [
        ("MIT OR Apache-2.0", true),
        ("MIT/Apache-2.0", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("GPL-3.0", false),
        ("MIT AND GPL-2.0", false),
        ("Apache-2.0 WITH LLVM-exception OR GPL-2.0", true),
        ("", false),
    ] {
        assert_eq!(is_allowed(expression), expect, "{expression}");
    }
}
