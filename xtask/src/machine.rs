//! `cargo xtask machine`: the packages in a machine of their own, with systemd: installed, upgraded under running
//! containers, through a shutdown and the next boot, removed.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use testkit::programs::{target, workspace};

use crate::steps;

pub const USAGE: &str = "\
  machine [--network]      the packages of target/package in a throw-away machine; HOIST_VM_RUN names the program that
                           runs one: it is called with --systemd --share DIR:PATH --timeout SECONDS -- COMMAND
        --network          less, but published ports; asks for --backend tcg, a kernel with nf_tables
";

/// Environment variable with the program.
const RUNNER: &str = "HOIST_VM_RUN";

pub fn run(words: &[&str]) -> Result<ExitCode> {
    let network = match words {
        [] => false,
        ["--network"] => true,
        other => bail!("unknown argument of machine: {}", other.join(" ")),
    };
    let Some(runner) = std::env::var_os(RUNNER) else {
        println!("skipped: {RUNNER} names no program that runs a machine [machine]");
        return Ok(ExitCode::SUCCESS);
    };
    let packages = target().join("package");
    if !packages.join("apt/dists").is_dir() {
        bail!("{} has no packages: cargo xtask package --make-key", packages.display());
    }
    let mut command = Command::new(runner);
    command.args(["--systemd", "--timeout", if network { "1800" } else { "600" }]);
    if network {
        command.args(["--backend", "tcg"]);
    }
    command.arg("--share").arg(format!("{}:/packages:ro", packages.display()));
    command.arg("--share").arg(format!("{}:/test:ro", workspace().join("packaging/test").display()));
    command.args(["--", "sh", "/test/machine.sh", "/packages", if network { "network" } else { "" }]);
    println!("    $ {}", steps::text(&command));
    let status = command.status().context("start the machine")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
