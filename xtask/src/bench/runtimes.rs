//! `--only runtime`: our OCI runtime against crun and runc on one prepared bundle, in turns.
//!
//! ```text
//!  bundle: a static busybox, `spec`'s configuration, program `true`
//!  run ID:  {network namespace, none} x {no limits, limits of memory, processor, processes and devices}
//!  memory:  what stands beside a running container, ours against conmon
//! ```
//!
//! crun refuses version 1 controllers beside a version 2 mount that has some; that mount is away in here, for all alike.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use testkit::programs;

use super::machine::{self, Scratch};
use super::table::Table;
use super::{Plan, shims};
use crate::package::programs as programs_of_packages;
use crate::packages;
use crate::steps::{human, step};

/// The variable with what was built, for the part in namespaces of its own.
const MEASURED: &str = "HOIST_BENCH_RUNTIME";

/// Builds what is measured, as packages have it, and says what it is.
pub fn build() -> Result<Vec<(&'static str, PathBuf)>> {
    let tools = [("busybox", "busybox-static"), ("crun", "crun"), ("runc", "runc"), ("conmon", "conmon")];
    step("Test tools", || packages::ensure(&tools))?;
    let path = match std::env::var_os("HOIST_BIN_DIR") {
        Some(directory) => PathBuf::from(directory).join("hoist-runtime"),
        None => step("Building hoist-runtime as packages have it (static)", programs_of_packages::runtime)?,
    };
    Ok(vec![(MEASURED, path)])
}

fn ours() -> Result<PathBuf> {
    let path = PathBuf::from(std::env::var_os(MEASURED).with_context(|| MEASURED.to_owned())?);
    let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
    let kind = if programs_of_packages::is_static(&bytes) { "static" } else { "dynamic" };
    println!("measured: {} ({kind}, {} KiB)", path.display(), bytes.len() / 1024);
    Ok(path)
}

/// In namespaces of its own.
pub fn measure(plan: &Plan) -> Result<ExitCode> {
    println!("{}", machine::describe()?);
    let begun = Instant::now();
    let mut runtimes = vec![("hoist".to_owned(), ours()?)];
    for peer in ["crun", "runc"] {
        match programs::find(peer) {
            Some(path) => runtimes.push((peer.to_owned(), path)),
            None => println!("    {peer} is not installed"),
        }
    }
    let scratch = Scratch::new()?;
    let mut table = Table::new(runtimes.iter().map(|(name, _)| name.clone()).collect());
    let result = rounds(&scratch.path, &runtimes, &mut table, plan.rounds(41, 5))
        .and_then(|()| shims::measure(&scratch.path, &runtimes[0].1, &mut table));
    println!("\n{table}");
    println!("{}", machine::describe()?);
    if let Some(path) = &plan.json {
        fs::write(path, table.json().to_string()).with_context(|| path.clone())?;
        println!("raw figures: {path}");
    }
    scratch.remove()?;
    println!("The whole run took {}.", human(begun.elapsed()));
    result.map(|()| ExitCode::SUCCESS)
}

fn rounds(base: &Path, runtimes: &[(String, PathBuf)], table: &mut Table, rounds: usize) -> Result<()> {
    let bundle = base.join("bundle");
    fs::create_dir_all(bundle.join("rootfs/bin"))?;
    fs::copy(programs::find("busybox").context("no busybox")?, bundle.join("rootfs/bin/true"))?;
    let made = Command::new(&runtimes[0].1).args(["spec", "--bundle"]).arg(&bundle).status()?;
    if !made.success() {
        bail!("hoist-runtime spec: {made}");
    }
    let config: Value = serde_json::from_slice(&fs::read(bundle.join("config.json"))?)?;
    for (network, limits) in [(true, false), (false, false), (true, true), (false, true)] {
        let name = format!(
            "run true, {}, {}",
            if network { "network" } else { "no network" },
            if limits { "limits" } else { "no limits" }
        );
        let config = serde_json::to_vec(&variant(config.clone(), network, limits))?;
        fs::write(bundle.join("config.json"), config)?;
        step(&format!("{name}, {rounds} rounds"), || {
            for round in 0..=rounds {
                for (runtime, path) in runtimes {
                    let took = run(path, &bundle, &format!("bench-{runtime}-{round}"))?;
                    if round > 0 {
                        table.add(&name, runtime, "ms", took);
                    }
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// The configuration of one row.
fn variant(mut config: Value, network: bool, limits: bool) -> Value {
    // What crun 1.8 knows.
    config["ociVersion"] = json!("1.0.2");
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/bin/true"]);
    config["root"]["readonly"] = json!(false);
    if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
        namespaces.retain(|listed| network || listed["type"] != "network");
    }
    config["linux"]["resources"] = match limits {
        true => json!({
            "memory": {"limit": 268_435_456},
            "cpu": {"shares": 512, "quota": 50_000, "period": 100_000},
            "pids": {"limit": 100},
            "devices": [{"allow": false, "access": "rwm"}],
        }),
        false => json!({}),
    };
    config
}

/// Milliseconds from the start of the command to its end.
fn run(runtime: &Path, bundle: &Path, id: &str) -> Result<f64> {
    let mut command = Command::new(runtime);
    command.args(["run", "--bundle"]).arg(bundle).arg(id).stdin(Stdio::null());
    let begun = Instant::now();
    let output = command.output().with_context(|| runtime.display().to_string())?;
    let took = begun.elapsed();
    if !output.status.success() {
        bail!("{} run: {}", runtime.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(took.as_secs_f64() * 1000.0)
}
