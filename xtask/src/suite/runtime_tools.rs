//! The validation programs of opencontainers/runtime-tools, one after another, for every runtime that is installed.
//!
//! A program passes when it ends with 0 and prints no `not ok`. Some fail for every runtime on a given machine; the
//! *fair* set is what at least one peer passes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use testkit::programs;

use crate::packages;
use crate::steps::{self, step};

const MODULE: &str = "github.com/opencontainers/runtime-tools";
/// A commit of May 2025, in the form of Go's module proxy: the last release is of 2018.
const VERSION: &str = "v0.9.1-0.20250523060157-0ea5ed0382a2";

/// Longest run of one program.
const LIMIT: Duration = Duration::from_secs(120);

pub fn run(words: &[&str]) -> Result<ExitCode> {
    if !programs::is_root() {
        bail!("containers need root: run it as root");
    }
    let only: Vec<&str> = words.iter().copied().filter(|word| !word.starts_with("--")).collect();
    if let Some(unknown) = words.iter().find(|word| word.starts_with("--") && **word != "--alone") {
        bail!("unknown argument: {unknown} (--alone: without the peers; names of programs)");
    }
    packages::ensure(&[("unshare", "util-linux")])?;
    let source = step("Fetching and building the programs (once; kept in the cache)", fetch)?;
    let mut build = steps::cargo(&["build", "--quiet", "-p", "hoist-runtime"]);
    if std::env::var_os("HOIST_BIN_DIR").is_none() {
        step("Building hoist-runtime", || steps::run(&mut build))?;
    }
    let ours = match std::env::var_os("HOIST_BIN_DIR") {
        Some(directory) => PathBuf::from(directory).join("hoist-runtime"),
        None => programs::target().join("debug/hoist-runtime"),
    };
    let mut runtimes = vec![("hoist".to_owned(), ours)];
    if !words.contains(&"--alone") {
        for peer in ["runc", "crun"] {
            runtimes.extend(programs::find(peer).map(|path| (peer.to_owned(), path)));
        }
    }
    let mut names: Vec<String> = programs_in(&source)?;
    names.retain(|name| only.is_empty() || only.contains(&name.as_str()));
    let mut table: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (runtime, path) in &runtimes {
        step(&format!("{} programs with {runtime}", names.len()), || {
            for name in &names {
                let verdict = judge(&source, name, runtime, path)?;
                table.entry(name.clone()).or_default().insert(runtime.clone(), verdict);
            }
            Ok(())
        })?;
    }
    clean()?;
    print(&runtimes, &table);
    let fair: BTreeSet<&String> =
        table.iter().filter(|(_, row)| peers(row).any(String::is_empty)).map(|(name, _)| name).collect();
    let failed: Vec<&&String> = fair.iter().filter(|name| !table[**name]["hoist"].is_empty()).collect();
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn peers(row: &BTreeMap<String, String>) -> impl Iterator<Item = &String> {
    row.iter().filter(|(runtime, _)| *runtime != "hoist").map(|(_, verdict)| verdict)
}

/// The source with its built programs, in the cache.
fn fetch() -> Result<PathBuf> {
    programs::need("go", "golang-go")?;
    let source = programs::cache().join(format!("runtime-tools-{VERSION}"));
    if source.join("built").exists() {
        return Ok(source);
    }
    let modules = Command::new("go").args(["mod", "download", "-json", &format!("{MODULE}@{VERSION}")]).output()?;
    let answer: serde_json::Value = serde_json::from_slice(&modules.stdout).context("go mod download")?;
    let Some(directory) = answer["Dir"].as_str() else { bail!("go mod download: {}", answer["Error"]) };
    let _ = fs::remove_dir_all(&source);
    fs::create_dir_all(programs::cache())?;
    steps::run(Command::new("cp").args(["-r", "--no-preserve=mode"]).arg(directory).arg(&source))?;
    // Modules are published without what they vendor.
    let _ = fs::remove_dir_all(source.join("vendor"));
    let go = |package: String, output: String| {
        let mut command = Command::new("go");
        command.args(["build", "-mod=mod", "-buildvcs=false", "-ldflags", "-s -w", "-o", &output, &package]);
        command.env("CGO_ENABLED", "0").current_dir(&source);
        steps::run(&mut command)
    };
    go("./cmd/runtimetest".to_owned(), "runtimetest".to_owned())?;
    for entry in fs::read_dir(source.join("validation"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "util" && source.join("validation").join(&name).is_dir() {
            go(format!("./validation/{name}"), format!("validation/{name}/{name}.t"))?;
        }
    }
    fs::write(source.join("built"), "")?;
    Ok(source)
}

fn programs_in(source: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(source.join("validation"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if source.join(format!("validation/{name}/{name}.t")).exists() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Removes the cgroups that the programs leave.
fn clean() -> Result<()> {
    fn remove(directory: &Path) {
        for below in fs::read_dir(directory).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
            remove(&below.path());
        }
        let _ = fs::remove_dir(directory);
    }
    for hierarchy in fs::read_dir("/sys/fs/cgroup")?.flatten() {
        for name in ["cgrouptest", "testdir"] {
            remove(&hierarchy.path().join(name));
        }
    }
    Ok(())
}

/// Runs one program; empty when it passes, else why not.
fn judge(source: &Path, name: &str, runtime: &str, path: &Path) -> Result<String> {
    let scratch = std::env::temp_dir().join(format!("hoist-runtime-tools-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    let output = scratch.join("output");
    let file = fs::File::create(&output)?;
    let program = format!("./validation/{name}/{name}.t");
    // A container without a mount namespace of its own mounts where its runtime is, and not all of them clean up: what
    // stays goes with this namespace, before anybody removes a file below it.
    let mut script = "exec \"$0\"".to_owned();
    if runtime == "crun" {
        // It refuses version 1 controllers beside a version 2 mount that has some.
        let unified = "/sys/fs/cgroup/unified";
        script = format!("if grep -q ' {unified} cgroup2 ' /proc/mounts; then umount {unified}; fi; {script}");
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--", "sh", "-c", &script, &program]);
    command.current_dir(source).env("RUNTIME", path).env("TMPDIR", &scratch).stdin(Stdio::null());
    let mut child = command.stdout(file.try_clone()?).stderr(file).spawn().with_context(|| program.clone())?;
    let begun = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if begun.elapsed() > LIMIT => {
                child.kill()?;
                child.wait()?;
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let text = String::from_utf8_lossy(&fs::read(&output)?).into_owned();
    let _ = fs::remove_dir_all(&scratch);
    let first = text.lines().find(|line| line.trim_start().starts_with("not ok"));
    Ok(match (status, first) {
        (None, _) => "out of time".to_owned(),
        (Some(_), Some(line)) => line.trim().chars().take(110).collect(),
        // In a stream that the program quotes.
        (Some(status), None) if status.success() && text.contains("not ok") => "not ok, quoted".to_owned(),
        (Some(status), None) if status.success() => String::new(),
        (Some(_), None) => text
            .lines()
            .rev()
            .find(|line| !line.starts_with("exit status"))
            .unwrap_or("failed")
            .trim()
            .chars()
            .take(110)
            .collect(),
    })
}

fn print(runtimes: &[(String, PathBuf)], table: &BTreeMap<String, BTreeMap<String, String>>) {
    let columns: Vec<&str> = runtimes.iter().map(|(name, _)| name.as_str()).collect();
    println!("\n| program | {} |\n| --- |{}", columns.join(" | "), " --- |".repeat(columns.len()));
    for (name, row) in table {
        let cells: Vec<&str> =
            columns.iter().map(|column| if row[*column].is_empty() { "pass" } else { "fail" }).collect();
        println!("| {name} | {} |", cells.join(" | "));
    }
    let count = |column: &str| table.values().filter(|row| row[column].is_empty()).count();
    let totals: Vec<String> = columns.iter().map(|column| count(column).to_string()).collect();
    println!("| **of {}** | {} |", table.len(), totals.join(" | "));
    let fair = table.values().filter(|row| peers(row).any(String::is_empty));
    let (all, passed) =
        fair.fold((0, 0), |(all, passed), row| (all + 1, passed + usize::from(row["hoist"].is_empty())));
    if columns.len() > 1 {
        println!("\nOf the {all} that a peer passes here, hoist-runtime passes {passed}.");
    }
    println!("\nWhat hoist-runtime does not pass:");
    for (name, row) in table.iter().filter(|(_, row)| !row["hoist"].is_empty()) {
        println!("  {name}: {}", row["hoist"]);
    }
}
