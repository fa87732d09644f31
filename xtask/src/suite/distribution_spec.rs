//! The OCI distribution-spec's own conformance tests, against our registry and Debian's docker-registry.
//!
//! The suite of the main branch (the one that is becoming 1.1's) checks more than that of the release: sha512, tag
//! parameters, cancelled uploads. All of it is asked of both.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use testkit::programs;
use testkit::registry::Registry;

use crate::packages;
use crate::steps::{self, step};

const MODULE: &str = "github.com/opencontainers/distribution-spec/conformance";
/// A commit of August 2026, in the form of Go's module proxy: the module has no releases of its own.
const VERSION: &str = "v0.0.0-20260831232431-97274622c111";

pub fn run(words: &[&str]) -> Result<ExitCode> {
    let alone = match words {
        [] => false,
        ["--alone"] => true,
        other => bail!("unknown argument: {} (--alone: without the peer)", other.join(" ")),
    };
    let program = step("Fetching and building the suite (once; kept in the cache)", fetch)?;
    if std::env::var_os("HOIST_BIN_DIR").is_none() {
        let mut build = steps::cargo(&["build", "--release", "--quiet", "-p", "hoist", "-p", "hoistd"]);
        step("Building hoist and hoistd", || steps::run(&mut build))?;
    }
    let scratch = programs::cache().join("distribution-spec");
    let _ = fs::remove_dir_all(&scratch);
    let mut rows = Vec::new();
    let own = Registry::start_own(&scratch.join("hoist"), &["--allow-anonymous-push", "--log-level=warn"])?;
    rows.push(("hoist", step("The suite on hoist", || judge(&program, &own, &scratch.join("hoist-results")))?));
    drop(own);
    if !alone {
        packages::unpack("docker-registry", &["docker-registry"])?;
        let peer = Registry::start(&scratch.join("docker-registry"))?;
        let judged = step("The suite on docker-registry", || judge(&program, &peer, &scratch.join("peer-results")))?;
        rows.push(("docker-registry", judged));
    }
    println!("\n| registry | checks | passed | failed |\n| --- | --- | --- | --- |");
    for (name, Score { total, passed, failed }) in &rows {
        println!("| {name} | {total} | {passed} | {failed} |");
    }
    println!("\nReports: {}", scratch.display());
    Ok(if rows[0].1.failed == 0 && rows[0].1.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Score {
    total: u64,
    passed: u64,
    failed: u64,
}

fn judge(program: &Path, registry: &Registry, results: &Path) -> Result<Score> {
    fs::create_dir_all(results)?;
    let mut command = Command::new(program);
    command.current_dir(results).env("OCI_REGISTRY", registry.host()).env("OCI_TLS", "disabled");
    command.env("OCI_RESULTS_DIR", results);
    for optional in ["BLOBS_DIGEST_HEADER", "BLOBS_UPLOAD_CANCEL", "MANIFESTS_DIGEST_HEADER", "MANIFESTS_TAG_PARAM"] {
        command.env(format!("OCI_API_{optional}"), "true");
    }
    let output = command.stdin(Stdio::null()).output().context("cannot run the suite")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    fs::write(results.join("output.txt"), &text)?;
    let number = |word: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(word) && line.contains("...:"))?;
        line.rsplit(':').next()?.trim().parse::<u64>().ok()
    };
    let value = |word: &str| number(word).with_context(|| format!("the suite did not count {word}: {text}"));
    Ok(Score {
        total: value("Total")?,
        passed: value("Pass").or_else(|_| value("PASS"))?,
        failed: value("FAIL")? + value("Error")?,
    })
}

/// The built suite, in the cache.
fn fetch() -> Result<PathBuf> {
    programs::need("go", "golang-go")?;
    let program = programs::cache().join(format!("distribution-spec-{VERSION}"));
    if program.is_file() {
        return Ok(program);
    }
    let modules = Command::new("go").args(["mod", "download", "-json", &format!("{MODULE}@{VERSION}")]).output()?;
    let answer: serde_json::Value = serde_json::from_slice(&modules.stdout).context("go mod download")?;
    let Some(directory) = answer["Dir"].as_str() else { bail!("go mod download: {}", answer["Error"]) };
    let source = programs::cache().join("distribution-spec-source");
    let _ = fs::remove_dir_all(&source);
    fs::create_dir_all(programs::cache())?;
    steps::run(Command::new("cp").args(["-r", "--no-preserve=mode"]).arg(directory).arg(&source))?;
    steps::run(Command::new("go").args(["build", "-o"]).arg(&program).arg(".").current_dir(&source))?;
    fs::remove_dir_all(&source)?;
    Ok(program)
}
