//! `cargo xtask bench`: hoist against dockerd and Podman, if they are installed, in one run and in turns.
//!
//! ```text
//!   private mount and network namespace (so that nothing of the peers stays on the machine)
//!     registry ◀── images                      round 0 warms up; then, round by round:
//!     hoist, dockerd, podman ──────────────▶   every operation on every engine
//! ```
//!
//! Short operations take turns, so that a busy machine hits all alike; ratios are from one run. Times are medians.

mod api;
mod builds;
mod client;
mod containers;
mod engine;
mod images;
mod machine;
mod material;
mod memory;
mod network;
mod registries;
mod runtimes;
mod sandboxes;
mod shims;
mod table;
mod thousand;
mod volumes;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use testkit::registry::Registry;
use testkit::{programs, registry};

use crate::packages;
use crate::steps::{self, human, step};
use engine::Engine;
use table::Table;

#[derive(Debug, Default)]
struct Plan {
    quick: bool,
    install: bool,
    /// Inside of the private namespaces.
    inside: bool,
    only: Vec<String>,
    rounds: Option<usize>,
    json: Option<String>,
}

impl Plan {
    fn read(words: &[&str]) -> Result<Plan> {
        let mut plan = Plan::default();
        let mut words = words.iter();
        let value = |name: &str, words: &mut std::slice::Iter<'_, &str>| {
            words.next().map(ToString::to_string).with_context(|| format!("{name} needs a value"))
        };
        while let Some(word) = words.next() {
            match *word {
                "--quick" => plan.quick = true,
                "--install" => plan.install = true,
                "--inside" => plan.inside = true,
                "--only" => plan.only.push(value("--only", &mut words)?),
                "--json" => plan.json = Some(value("--json", &mut words)?),
                "--rounds" => plan.rounds = Some(value("--rounds", &mut words)?.parse().context("--rounds")?),
                other => bail!("unknown argument of bench: {other}"),
            }
        }
        Ok(plan)
    }

    /// `--only containers` is all groups of that name, `--only copies` one of them.
    fn wants(&self, group: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|word| group.contains(word.as_str()))
    }

    fn rounds(&self, usual: usize, quick: usize) -> usize {
        self.rounds.unwrap_or(if self.quick { quick } else { usual })
    }
}

pub fn run(words: &[&str]) -> Result<ExitCode> {
    // What the bench starts in containers.
    if let ["--files", directory, count] = words {
        return volumes::measure(directory, count).map(|()| ExitCode::SUCCESS);
    }
    let plan = Plan::read(words)?;
    if !programs::is_root() {
        bail!("the engines need root: run it as root");
    }
    let runtime_alone = plan.only.iter().any(|word| word == "runtime");
    if plan.inside {
        return if runtime_alone { runtimes::measure(&plan) } else { measure(&plan) };
    }
    if runtime_alone {
        return enter_namespaces(words, &runtimes::build()?);
    }
    if plan.only.iter().any(|word| word == "registry") {
        return registries::run(&plan);
    }
    step("Test tools", || {
        packages::ensure(&[("busybox", "busybox-static"), ("ip", "iproute2"), ("unshare", "util-linux")])?;
        packages::unpack("docker-registry", &["docker-registry"])?;
        if plan.install {
            packages::ensure(&[
                ("dockerd", "docker.io"),
                ("podman", "podman"),
                ("crun", "crun"),
                ("runc", "runc"),
                ("iptables", "iptables"),
            ])?;
            if programs::find("netavark").is_none() && !std::path::Path::new("/usr/lib/podman/netavark").exists() {
                packages::ensure(&[("netavark", "netavark")])?;
            }
        }
        Ok(())
    })?;
    step("Building hoist, hoistd and hoist-runtime (release)", steps::build)?;
    enter_namespaces(words, &[])
}

/// Runs this program again in mount and network namespaces of its own. The network has no way out; the peers' iptables
/// rules, bridges and mounts vanish with the namespaces. crun refuses version 1 controllers beside a version 2 mount
/// that has some, so that mount is taken away in there.
fn enter_namespaces(words: &[&str], variables: &[(&str, PathBuf)]) -> Result<ExitCode> {
    let script = "ip link set lo up; \
                  if grep -q ' /sys/fs/cgroup/unified cgroup2 ' /proc/mounts; then umount /sys/fs/cgroup/unified; fi; \
                  exec \"$0\" bench --inside \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--propagation", "private", "--", "sh", "-c", script]);
    command.arg(std::env::current_exe()?).args(words).envs(variables.iter().map(|(name, value)| (*name, value)));
    let status = command.status().context("cannot run unshare")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(plan: &Plan) -> Result<ExitCode> {
    let begun = Instant::now();
    testkit::daemon::clean_leftovers()?;
    println!("{}", machine::describe()?);
    let scratch = machine::Scratch::new()?;
    let registry =
        step("Starting a registry on loopback", || Registry::start(&programs::cache().join("bench-registry")))?;
    step("Making the images and pushing them to it (once; kept in the cache)", || material::push(&registry, plan))?;
    let mut engines = step("Starting the engines", || engine::start_all(&scratch, &registry))?;
    for engine in &engines {
        println!("    {}: {}", engine.name, engine.describe());
    }
    let ways = [network::BARE, engine::DOCKERD_DIRECT].map(str::to_owned);
    let ways = ways.into_iter().filter(|_| plan.wants("network"));
    let alone = plan.wants("images").then(|| images::ALONE.to_owned());
    let buildkit = plan.wants("builds").then(|| builds::BUILDKIT.to_owned());
    let names = engines.iter().map(|engine| engine.name.clone());
    let host = plan.wants("volumes").then(|| volumes::HOST.to_owned());
    let mut table = Table::new(names.chain(ways).chain(alone).chain(buildkit).chain(host).collect());
    let result = groups(plan, &mut engines, (&registry, &scratch.path), &mut table);
    println!("\n{table}");
    println!("{}", machine::describe()?);
    if let Some(path) = &plan.json {
        std::fs::write(path, table.json().to_string()).with_context(|| path.clone())?;
        println!("raw figures: {path}");
    }
    step("Cleaning up", || {
        for engine in &mut engines {
            engine.stop()?;
        }
        drop(engines);
        drop(registry);
        scratch.remove()
    })?;
    println!("The whole run took {}.", human(begun.elapsed()));
    result.map(|()| ExitCode::SUCCESS)
}

fn groups(
    plan: &Plan,
    engines: &mut [Engine],
    (registry, scratch): (&Registry, &Path),
    table: &mut Table,
) -> Result<()> {
    if plan.wants("memory") {
        step("Memory of the idle engines", || memory::idle(engines, table))?;
    }
    if plan.wants("latency") {
        let rounds = plan.rounds(15, 4);
        step(&format!("Short operations by the command line, {rounds} rounds"), || latency(engines, table, rounds))?;
    }
    // Else the same rows are among the short operations.
    if !plan.wants("latency") && plan.wants("start") {
        let rounds = plan.rounds(15, 4);
        step(&format!("start and stop, {rounds} rounds"), || containers::starts(engines, table, rounds))?;
    }
    if plan.wants("client") {
        let rounds = plan.rounds(30, 4);
        step(&format!("The clients alone, {rounds} rounds"), || client::rounds(engines, table, scratch, rounds))?;
    }
    if plan.wants("api") {
        let rounds = plan.rounds(15, 4);
        step(&format!("The same by the raw API, {rounds} rounds"), || api::rounds(engines, table, rounds))?;
    }
    if plan.wants("many") {
        let count = if plan.quick { 30 } else { 100 };
        step(&format!("{count} containers by 8 clients"), || memory::many(engines, table, count))?;
    }
    if plan.wants("thousand") {
        let count = if plan.quick { 50 } else { 1000 };
        step(&format!("{count} containers at once"), || thousand::rounds(engines, table, count))?;
    }
    if plan.wants("network") {
        let rounds = plan.rounds(5, 1);
        step(&format!("Ways of packets, {rounds} rounds"), || {
            network::rounds(&engines.iter().collect::<Vec<_>>(), table, rounds)
        })?;
        let starts = plan.rounds(30, 3);
        step(&format!("The network's part of a start, {starts} rounds"), || sandboxes::starts(engines, table, starts))?;
        step(&format!("Names, {rounds} rounds"), || sandboxes::names(engines, table, rounds))?;
        let (networks, ports) = if plan.quick { (40, 50) } else { (500, 1000) };
        step(&format!("{networks} networks, {ports} ports"), || network::many(engines, table, networks, ports))?;
    }
    if plan.wants("volumes") {
        let rounds = plan.rounds(11, 2);
        step(&format!("Mounts and the files in them, {rounds} rounds"), || {
            volumes::rounds(engines, table, scratch, plan.quick, rounds)
        })?;
    }
    if plan.wants("exec") {
        let (rounds, batch) = (plan.rounds(15, 4), if plan.quick { 10 } else { 100 });
        step(&format!("exec, {rounds} rounds"), || containers::execs(engines, table, rounds, batch))?;
    }
    if plan.wants("containers: listing") {
        let count = if plan.quick { 100 } else { 1000 };
        let rounds = plan.rounds(5, 2);
        step(&format!("Lists of {count} containers"), || containers::listing(engines, table, count, rounds))?;
    }
    if plan.wants("containers: copies") {
        let rounds = plan.rounds(3, 1);
        step(&format!("Copies and commits, {rounds} rounds"), || {
            containers::copies(engines, table, scratch, plan.quick, rounds)
        })?;
    }
    if plan.wants("logs") {
        let rounds = plan.rounds(3, 1);
        step(&format!("Many log lines, {rounds} rounds"), || containers::logs(engines, table, plan.quick, rounds))?;
    }
    if plan.wants("builds") {
        let rounds = plan.rounds(5, 2);
        step(&format!("Builds, {rounds} rounds"), || builds::rounds(engines, table, scratch, plan.quick, rounds))?;
    }
    if plan.wants("images") {
        let rounds = plan.rounds(3, 1);
        step(&format!("Large images through every door, {rounds} rounds"), || {
            images::rounds(engines, table, registry, rounds, plan.quick)
        })?;
    }
    // At the end: it takes dockerd's place.
    if plan.wants("network") && engines.iter().any(|engine| engine.name == engine::DOCKERD) {
        let rounds = plan.rounds(5, 1);
        step(&format!("Ways of packets beside a dockerd without its proxy, {rounds} rounds"), || {
            without_proxy(engines, table, (registry, scratch), rounds)
        })?;
    }
    Ok(())
}

/// The ways of packets once more, for hoist and for a dockerd that has the kernel do what its proxy does otherwise.
fn without_proxy(
    engines: &mut [Engine],
    table: &mut Table,
    (registry, scratch): (&Registry, &Path),
    rounds: usize,
) -> Result<()> {
    for engine in engines.iter_mut().filter(|engine| engine.name == engine::DOCKERD) {
        engine.stop()?;
    }
    let mut direct = engine::dockerd_without_proxy(scratch, registry)?;
    let hoist = engines.iter().find(|engine| engine.name == "hoist");
    let result = network::rounds(&hoist.into_iter().chain([&direct]).collect::<Vec<_>>(), table, rounds);
    result.and(direct.stop())
}

/// `sh` as process 1 that ends on SIGTERM at once.
const POLITE: &str = "trap \"exit 0\" TERM; while :; do sleep 1000 & wait $!; done";

fn latency(engines: &mut [Engine], table: &mut Table, rounds: usize) -> Result<()> {
    for round in 0..=rounds {
        for engine in engines.iter() {
            let mut note = |name: &str, milliseconds: f64| {
                if round > 0 {
                    table.add(name, &engine.name, "ms", milliseconds);
                }
            };
            let image = &engine.image;
            note("client --version", engine.time("--version")?);
            note("ps, nothing runs", engine.time("ps")?);
            for network in ["bridge", "none", "host"] {
                let line = format!("run --rm --network {network} {image} true");
                note(&format!("run --rm true, {network}"), engine.time(&line)?);
            }
            note("run -d", engine.time(&format!("run -d --name rd {image} sleep 1000"))?);
            engine.remove("rd")?;
            note("create", engine.time(&format!("create --name lc {image} sh -c '{POLITE}'"))?);
            note("start", engine.time("start lc")?);
            note("exec true", engine.time("exec lc true")?);
            note("exec true, again", engine.time("exec lc true")?);
            note("inspect", engine.time("inspect lc")?);
            note("stop (ends on SIGTERM)", engine.time("stop lc")?);
            note("start again", engine.time("start lc")?);
            note("rm -f, running", engine.remove("lc")?);
        }
    }
    Ok(())
}

/// Where the registry serves the small image.
fn small_image(registry: &registry::Registry) -> String {
    format!("{}/bench/busybox:1", registry.host())
}
