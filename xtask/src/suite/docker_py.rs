//! docker-py's integration tests: the Engine API through the Python SDK.
//!
//! The tests are in the SDK's repository only, so a copy of that is asked for. Every file runs in a process of its own,
//! with the stand-in images pulled anew: some tests remove what others need. `/run/docker.sock` is the daemon's inside a
//! mount namespace of the tests' own, for those that ask for no host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;
use testkit::client::Kind;
use testkit::daemon::{Daemon, Options};
use testkit::images::{self, Image, Layer};
use testkit::registry::Registry;
use testkit::{process, programs, tar};

use crate::steps::{self, step};

/// Where the repository is, if it is not the first argument.
const SOURCE: &str = "HOIST_DOCKER_PY";

/// Files that judge what a single engine does; those of swarm, plugins and stores of credentials are left out.
const FILES: [&str; 17] = [
    "api_client_test",
    "api_container_test",
    "api_exec_test",
    "api_image_test",
    "api_volume_test",
    "api_healthcheck_test",
    "api_network_test",
    "api_build_test",
    "client_test",
    "errors_test",
    "models_containers_test",
    "models_images_test",
    "models_volumes_test",
    "models_networks_test",
    "models_resources_test",
    "context_api_test",
    "regression_test",
];

/// Longest run of one file.
const LIMIT: Duration = Duration::from_secs(900);

pub fn run(words: &[&str]) -> Result<ExitCode> {
    if !programs::is_root() {
        bail!("containers need root: run it as root");
    }
    let source = source()?;
    for module in ["docker", "pytest", "paramiko"] {
        let found = Command::new("python3").args(["-c", &format!("import {module}")]).status().context("python3")?;
        if !found.success() {
            bail!("python3 lacks the module {module}: pip install {module}");
        }
    }
    if std::env::var_os("HOIST_BIN_DIR").is_none() {
        let mut build = steps::cargo(&["build", "--quiet", "-p", "hoist", "-p", "hoistd", "-p", "hoist-runtime"]);
        step("Building", || steps::run(&mut build))?;
    }
    let files: Vec<&str> =
        FILES.iter().copied().filter(|file| words.is_empty() || words.iter().any(|word| file.contains(word))).collect();
    let registry = Registry::start(&programs::cache().join("suite-registry"))?;
    push_stand_ins(&registry)?;
    let flags = vec!["--registry-mirror".to_owned(), registry.url()];
    let mut daemon = Daemon::start(Options { flags, ..Options::default() })?;
    let mut table = Vec::new();
    for file in files {
        let found = step(file, || one_file(&daemon, &source, file))?;
        table.push((file, found));
        daemon.remove_containers()?;
    }
    let mut failed = 0;
    println!("\n{:<26} {:>6} {:>6} {:>7}", "file", "passed", "failed", "skipped");
    for (file, found) in &table {
        let count = |word: &str| found.values().filter(|verdict| *verdict == word).count();
        let bad = count("FAILED") + count("ERROR");
        failed += bad;
        println!("{file:<26} {:>6} {bad:>6} {:>7}", count("PASSED"), count("SKIPPED"));
    }
    for (file, found) in &table {
        for (name, verdict) in found.iter().filter(|(_, verdict)| matches!(verdict.as_str(), "FAILED" | "ERROR")) {
            println!("{verdict} {file} {name}");
        }
    }
    let left = daemon.clean()?;
    for line in &left {
        println!("left behind: {line}");
    }
    Ok(if failed == 0 && left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn source() -> Result<PathBuf> {
    let path = std::env::var_os(SOURCE).map(PathBuf::from);
    match path.filter(|path| path.join("tests/integration/base.py").exists()) {
        Some(path) => Ok(path.canonicalize()?),
        None => bail!(
            "set {SOURCE} to a copy of the SDK's repository, for its tests: \
             git clone https://github.com/docker/docker-py"
        ),
    }
}

/// Images in the place of Docker Hub's.
fn push_stand_ins(registry: &Registry) -> Result<()> {
    let busybox = images::busybox()?;
    let mut release = tar::Builder::new();
    release.directory("media", 0o755).directory("srv", 0o755).directory("var/opt", 0o755);
    release.file("etc/os-release", 0o644, b"ID=alpine\nNAME=\"Alpine Linux\"\n");
    release.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\npostgres:x:70:70::/var:/bin/sh\n\
          guest:x:405:100:guest:/dev/null:/bin/false\nmail:x:8:12:mail:/var/mail:/bin/false\n",
    );
    let alpine = busybox.with_layer(Layer::of_tar(&release.finish()));
    let labelled = |image: &Image, text: &str| image.with_config(json!({"Labels": {"stand-in": text}}));
    let hello = busybox.with_config(json!({"Cmd": ["echo", "Hello from Docker!"]}));
    for (name, tag, image) in [
        ("busybox", "latest", busybox.clone()),
        ("busybox", "glibc", labelled(&busybox, "glibc")),
        ("alpine", "latest", alpine.clone()),
        ("alpine", "3.10", labelled(&alpine, "3.10")),
        ("hello-world", "latest", hello.clone()),
        ("hello-world", "linux", hello),
    ] {
        registry.push(&format!("library/{name}"), tag, &image)?;
    }
    Ok(())
}

/// Verdicts by test.
fn one_file(daemon: &Daemon, source: &Path, file: &str) -> Result<BTreeMap<String, String>> {
    let client = daemon.client(Kind::Hoist)?;
    for name in ["alpine:3.10", "alpine:latest", "busybox:latest", "hello-world:latest"] {
        client.ok(&format!("pull -q {name}"))?;
    }
    // Contexts that a test makes and leaves are the next run's no more.
    let config = daemon.tmp().join("client");
    std::fs::create_dir_all(&config)?;
    std::fs::write(config.join("config.json"), "{}")?;
    let script = "mount -t tmpfs run /run && ln -s \"$SOCKET\" /run/docker.sock && exec \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args(["-m", "--propagation", "private", "sh", "-c", script, "sh"])
        .args(["python3", "-m", "pytest", "-p", "no:cacheprovider", "--tb=short", "-v", "--color=no"])
        .arg(format!("tests/integration/{file}.py"))
        .current_dir(source)
        .env("SOCKET", daemon.socket())
        .env("DOCKER_HOST", format!("unix://{}", daemon.socket().display()))
        .env("DOCKER_TEST_API_VERSION", api_version(daemon)?)
        .env("DOCKER_CONFIG", &config)
        .env_remove("DOCKER_CONTEXT");
    let output = process::run(&mut command, LIMIT)?;
    let log = programs::cache().join(format!("suite-{file}.log"));
    std::fs::write(&log, format!("{}\n{}", output.stdout, output.stderr))?;
    let mut found = BTreeMap::new();
    for line in output.stdout.lines() {
        let Some((name, rest)) = line.split_once(' ').filter(|(name, _)| name.contains("::")) else { continue };
        let name = name.split_once("::").map_or(name, |(_, name)| name);
        if let Some(verdict) =
            ["PASSED", "FAILED", "ERROR", "SKIPPED", "XFAIL", "XPASS"].iter().find(|word| rest.starts_with(**word))
        {
            found.insert(name.to_owned(), (*verdict).to_owned());
        }
    }
    if found.is_empty() {
        bail!("{file} says nothing of its tests; see {}", log.display());
    }
    Ok(found)
}

fn api_version(daemon: &Daemon) -> Result<String> {
    let version = daemon.api("GET", "/version", None)?.json()?;
    version["ApiVersion"].as_str().map(str::to_owned).context("the version of the API")
}
