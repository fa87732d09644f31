//! `cargo xtask newcomer`: from a clone to the first running container, with the README alone, timed.

use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use testkit::programs::{self, workspace};

use crate::steps::{self, human, step};

pub const USAGE: &str = "\
  newcomer                 clone this repository, build it and run a container as the README says, and say how long each took
";

pub fn run(words: &[&str]) -> Result<ExitCode> {
    if !words.is_empty() {
        bail!("unknown argument of newcomer: {}", words.join(" "));
    }
    let readme = std::fs::read_to_string(workspace().join("README.md"))?;
    for said in ["cargo xtask demo", "hoist run hoist/hello"] {
        if !readme.contains(said) {
            bail!("the README does not say {said:?} any more, which this follows");
        }
    }
    let scratch = programs::target().join("newcomer");
    let _ = std::fs::remove_dir_all(&scratch);
    let begun = Instant::now();
    step("Clone", || {
        let mut clone = Command::new("git");
        steps::run(
            clone
                .args(["clone", "--quiet", "--depth", "1"])
                .arg(format!("file://{}", workspace().display()))
                .arg(&scratch),
        )
    })?;
    step("cargo xtask demo: build everything, start a daemon, run containers", || {
        let mut demo = steps::cargo(&["xtask", "demo"]);
        // Everything from nothing, as for somebody who comes new: only the crates' sources may be there.
        demo.current_dir(&scratch).env_remove("CARGO_TARGET_DIR").env_remove("HOIST_BIN_DIR");
        steps::run(&mut demo).context("what the README promises")
    })?;
    println!("\nFrom a clone to containers that ran: {}", human(begun.elapsed()));
    std::fs::remove_dir_all(&scratch)?;
    Ok(ExitCode::SUCCESS)
}
