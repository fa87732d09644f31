//! bollard's integration tests: the Engine API through the Rust SDK, whose crate carries them.
//!
//! They run one at a time, against a daemon of their own whose mirror has stand-ins for their images. `/var/run/docker.sock`
//! is the daemon's inside a mount namespace of the tests' own: some ask for no host.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;
use testkit::daemon::{Daemon, Options};
use testkit::images::{self, Layer};
use testkit::registry::Registry;
use testkit::{process, programs, tar};

use crate::steps::{self, step};

const VERSION: &str = "0.18.1";

/// Files that judge what a single engine does; services and secrets are swarm's.
const FILES: [&str; 9] = [
    "container_test",
    "distribution",
    "exec_test",
    "export_test",
    "image_test",
    "network_test",
    "system_test",
    "version_test",
    "volume_test",
];

const LIMIT: Duration = Duration::from_secs(900);

/// `words`: parts of files' names; `--buildkit` switches the tests of that on.
pub fn run(words: &[&str]) -> Result<ExitCode> {
    if !programs::is_root() {
        bail!("containers need root: run it as root");
    }
    if std::env::var_os("HOIST_BIN_DIR").is_none() {
        let mut build = steps::cargo(&["build", "--quiet", "-p", "hoist", "-p", "hoistd", "-p", "hoist-runtime"]);
        step("Building", || steps::run(&mut build))?;
    }
    let (flags, words): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.starts_with("--"));
    let features = if flags.contains(&"--buildkit") { "buildkit,chrono" } else { "" };
    let source = step("Fetching bollard", fetch)?;
    let registry = Registry::start(&programs::cache().join("suite-registry"))?;
    push_stand_ins(&registry)?;
    let mirror = vec!["--registry-mirror".to_owned(), registry.url()];
    let mut daemon = Daemon::start(Options { flags: mirror, ..Options::default() })?;
    let chosen = |file: &&str| words.is_empty() || words.iter().any(|word| file.contains(word));
    let mut table = Vec::new();
    for file in FILES.iter().copied().filter(chosen) {
        table.push((file, step(file, || one_file(&daemon, &registry.host(), &source, file, features))?));
        daemon.remove_containers()?;
    }
    println!("\n{:<20} {:>6} {:>6} {:>7}", "file", "passed", "failed", "ignored");
    let count = |found: &[(String, String)], word: &str| found.iter().filter(|(_, verdict)| verdict == word).count();
    let mut failed = 0;
    for (file, found) in &table {
        failed += count(found, "FAILED");
        println!("{file:<20} {:>6} {:>6} {:>7}", count(found, "ok"), count(found, "FAILED"), count(found, "ignored"));
    }
    for (file, found) in &table {
        for (name, _) in found.iter().filter(|(_, verdict)| verdict == "FAILED") {
            println!("FAILED {file} {name}");
        }
    }
    let left = daemon.clean()?;
    left.iter().for_each(|line| println!("left behind: {line}"));
    Ok(if failed == 0 && left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The crate's source as the registry has it, in a directory where it may be built.
fn fetch() -> Result<PathBuf> {
    let place = programs::cache().join(format!("bollard-{VERSION}"));
    if place.join("Cargo.toml").exists() {
        return Ok(place);
    }
    let asking = programs::cache().join("bollard-fetch");
    std::fs::create_dir_all(asking.join("src"))?;
    std::fs::write(asking.join("src/lib.rs"), "")?;
    let manifest = format!(
        "[package]\nname = \"asking\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[dependencies]\nbollard = \"={VERSION}\"\n[workspace]\n"
    );
    std::fs::write(asking.join("Cargo.toml"), manifest)?;
    let mut metadata = Command::new("cargo");
    metadata.args(["metadata", "--format-version", "1", "--quiet"]).current_dir(&asking);
    let text = process::run(&mut metadata, LIMIT)?.code(0)?.stdout;
    let metadata: serde_json::Value = serde_json::from_str(&text)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let found = packages.iter().find(|package| package["name"] == "bollard").context("no bollard")?;
    let source = found["manifest_path"].as_str().context("no path")?;
    let source = Path::new(source).parent().context("no directory")?;
    steps::run(Command::new("cp").arg("-r").arg(source).arg(&place))?;
    // Not a member of the workspace around the cache.
    let manifest = place.join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest)?;
    std::fs::write(&manifest, format!("{text}\n[workspace]\n"))?;
    Ok(place)
}

fn push_stand_ins(registry: &Registry) -> Result<()> {
    let busybox = images::busybox()?;
    let mut files = tar::Builder::new();
    files.directory("usr/sbin", 0o755).directory("www", 0o755).directory("etc/config", 0o755);
    files.file("usr/sbin/run_uhttpd", 0o755, b"#!/bin/sh\nexec httpd -f -p 80 -h /www\n");
    files.file("etc/config/uhttpd", 0o644, b"\nconfig uhttpd main\n\tlist listen_http 0.0.0.0:80\n");
    let server = busybox.with_layer(Layer::of_tar(&files.finish()));
    let mut files = tar::Builder::new();
    files.file("hello", 0o755, b"#!/bin/sh\necho\necho 'Hello from Docker!'\n");
    let hello = busybox.with_layer(Layer::of_tar(&files.finish())).with_config(json!({"Cmd": ["/hello"]}));
    let alpine = busybox.with_config(json!({"Labels": {"stand-in": "alpine"}}));
    for (name, tag, image) in [
        ("fussybeaver/uhttpd", "latest", &server),
        ("hello-world", "linux", &hello),
        ("hello-world", "latest", &hello),
        ("alpine", "latest", &alpine),
    ] {
        registry.push(name, tag, image)?;
        if !name.contains('/') {
            registry.push(&format!("library/{name}"), tag, image)?;
        }
    }
    Ok(())
}

/// Names and verdicts of a file's tests.
fn one_file(
    daemon: &Daemon,
    registry: &str,
    source: &Path,
    file: &str,
    features: &str,
) -> Result<Vec<(String, String)>> {
    let script = "mount -t tmpfs run /run && ln -s \"$SOCKET\" /run/docker.sock && exec \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args(["-m", "--propagation", "private", "sh", "-c", script, "sh"])
        .args(["cargo", "test", "--quiet", "--no-fail-fast", "--features", features, "--test", file])
        .args(["--", "--test-threads", "1", "--format", "pretty"])
        .current_dir(source)
        .env("SOCKET", daemon.socket())
        .env("REGISTRY_HTTP_ADDR", registry)
        .env("REGISTRY_PASSWORD", "any")
        .env("CARGO_TARGET_DIR", programs::cache().join("bollard-target"))
        .env("CARGO_PROFILE_TEST_DEBUG", "0")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env_remove("DOCKER_HOST");
    let output = process::run(&mut command, LIMIT)?;
    let log = programs::cache().join(format!("suite-bollard-{file}.log"));
    std::fs::write(&log, format!("{}\n{}", output.stdout, output.stderr))?;
    let verdict = |line: &str| {
        let (name, verdict) = line.strip_prefix("test ")?.split_once(" ... ")?;
        let verdict = ["ok", "FAILED", "ignored"].into_iter().find(|word| verdict.ends_with(word))?;
        Some((name.to_owned(), verdict.to_owned()))
    };
    let found: Vec<_> = output.stdout.lines().filter_map(verdict).collect();
    // A file may have tests of features alone that are not switched on.
    if found.is_empty() && !output.stdout.contains("test result:") {
        bail!("{file} says nothing of its tests; see {}", log.display());
    }
    Ok(found)
}
