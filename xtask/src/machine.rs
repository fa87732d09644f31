//! `cargo xtask machine`: the packages in a machine of their own, with systemd: installed, upgraded under running
//! containers, through a shutdown and the next boot, removed. Or only its boots, each with a kernel of its own.

use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use testkit::programs::{target, workspace};

use crate::steps;

pub const USAGE: &str = "\
  machine --runtime [TEST…]  the tests of hoist-runtime in such a machine (HOIST_VM_RUN is called in the same way): cgroup
                           version 2, systemd's driver, and as a plain user
  machine --kernel [TEST…]   the tests of networks in a machine with Debian's whole kernel (--backend tcg): it has ipvlan,
                           SCTP and nf_tables
  machine --quota          sizes of volumes and writable layers by project quotas, on ext4 and xfs; asks for --backend tcg,
                           a kernel with quotas; with the programs of target/debug (cargo build)
  machine [--network | --reboot]
                           the packages of target/package in a throw-away machine; HOIST_VM_RUN names the program that
                           runs one: it is called with --systemd --share DIR:PATH --timeout SECONDS -- COMMAND
        --network          less, but published ports; asks for --backend tcg, a kernel with nf_tables
        --reboot           three boots with one data root: a shutdown after the first, a power cut in the second
";

/// Environment variable with the program.
const RUNNER: &str = "HOIST_VM_RUN";

pub fn run(words: &[&str]) -> Result<ExitCode> {
    let form = match words {
        [] => Form::Life,
        ["--network"] => Form::Network,
        ["--reboot"] => Form::Reboot,
        ["--runtime", only @ ..] => return programs(&["hoist-runtime", "cgroup", "systemd"], &[], only),
        ["--kernel", only @ ..] => return programs(&["network"], &["--backend", "tcg"], only),
        ["--quota"] => return quota(),
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
    let stays = target().join("machine");
    let boots: &[&str] = match form {
        Form::Reboot => &["first", "second", "third"],
        Form::Life | Form::Network => &[""],
    };
    fs::create_dir_all(&stays)?;
    for boot in boots {
        let mut command = Command::new(&runner);
        command.args(["--systemd", "--timeout", if form == Form::Network { "1800" } else { "600" }]);
        if form == Form::Network {
            command.args(["--backend", "tcg"]);
        }
        command.arg("--share").arg(format!("{}:/packages:ro", packages.display()));
        command.arg("--share").arg(format!("{}:/test:ro", workspace().join("packaging/test").display()));
        match form {
            Form::Reboot => {
                command.arg("--share").arg(format!("{}:/stays", stays.display()));
                command.args(["--", "sh", "/test/reboot.sh", "/packages", "/stays", boot])
            }
            Form::Network => command.args(["--", "sh", "/test/machine.sh", "/packages", "network"]),
            Form::Life => command.args(["--", "sh", "/test/machine.sh", "/packages"]),
        };
        println!("    $ {}", steps::text(&command));
        if !command.status().context("start the machine")?.success() {
            return Ok(ExitCode::FAILURE);
        }
    }
    let _ = fs::remove_dir_all(&stays);
    Ok(ExitCode::SUCCESS)
}

/// What the machine is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Life,
    Network,
    Reboot,
}

/// Where the kernel has quotas: `packaging/test/quota.sh`, with both clients if docker's is installed.
fn quota() -> Result<ExitCode> {
    let Some(runner) = std::env::var_os(RUNNER) else {
        println!("skipped: {RUNNER} names no program that runs a machine [machine --quota]");
        return Ok(ExitCode::SUCCESS);
    };
    let built = steps::cargo(&["build", "-p", "hoist", "-p", "hoistd", "-p", "hoist-runtime"]).status();
    if !built.context("cargo")?.success() {
        bail!("the programs cannot be built");
    }
    let busybox = testkit::programs::find("busybox").context("no busybox (package busybox-static)")?;
    let docker = testkit::programs::find("docker");
    let mut command = Command::new(runner);
    // An emulated machine: about ten minutes beside nothing else, three file systems with both clients.
    command.args(["--backend", "tcg", "--timeout", "2700"]);
    let mut share = |path: &std::path::Path, at: &str| {
        command.arg("--share").arg(format!("{}:{at}:ro", path.display()));
    };
    share(&target().join("debug"), "/programs");
    share(&workspace().join("packaging/test"), "/test");
    share(busybox.parent().context("no directory")?, "/busybox");
    if let Some(docker) = &docker {
        share(docker.parent().context("no directory")?, "/docker");
    }
    command.args([
        "--",
        "sh",
        "/test/quota.sh",
        "/programs",
        "/busybox",
        if docker.is_some() { "/docker" } else { "" },
    ]);
    println!("    $ {}", steps::text(&command));
    let status = command.status().context("start the machine")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The test programs of some packages, where there is version 2 alone and systemd: all of them as root, and those that are
/// for it as a user.
fn programs(packages: &[&str], backend: &[&str], only: &[&str]) -> Result<ExitCode> {
    let Some(runner) = std::env::var_os(RUNNER) else {
        println!("skipped: {RUNNER} names no program that runs a machine [machine]");
        return Ok(ExitCode::SUCCESS);
    };
    let mut build = steps::cargo(&["test", "--no-run", "--message-format=json"]);
    let output = build.args(packages.iter().flat_map(|package| ["-p", package])).output().context("cargo")?;
    if !output.status.success() {
        bail!("the tests cannot be built: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let documents = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let tests: Vec<String> = documents
        .filter(|document| document["profile"]["test"] == true)
        .filter_map(|document| document["executable"].as_str().map(str::to_owned))
        .filter(|path| only.is_empty() || only.iter().any(|name| path.contains(&format!("/deps/{name}-"))))
        .collect();
    let share = |path: &std::path::Path| format!("{}:{}:ro", path.display(), path.display());
    let mut command = Command::new(runner);
    let patience = if backend.is_empty() { "600" } else { "1800" };
    command.args(["--systemd", "--timeout", patience]).args(backend);
    command.args(["--share", &share(&target().join("debug"))]);
    command.arg("--share").arg(format!("{}:/test:ro", workspace().join("packaging/test").display()));
    // Where the guest has none of its own.
    let busybox = testkit::programs::find("busybox").context("no busybox (package busybox-static)")?;
    command.arg("--share").arg(format!("{}:/busybox:ro", busybox.parent().context("no directory")?.display()));
    command.args(["--", "sh", "/test/runtime.sh"]).args(&tests);
    println!("    $ {}", steps::text(&command));
    let status = command.status().context("start the machine")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
