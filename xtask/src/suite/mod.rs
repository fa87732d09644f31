//! `cargo xtask suite NAME`: test suites by others, fetched from where their authors publish them.
//!
//! A suite's figure is always beside that of the peers, measured in the same way on the same machine;
//! `docs/conformance.md` keeps the tables and explains every difference.

mod bollard;
mod buildkit;
mod distribution_spec;
mod docker_py;
mod runtime_tools;

use std::process::ExitCode;

use anyhow::{Result, bail};

/// A suite's name, what it judges, and how it is run.
type Suite = (&'static str, &'static str, fn(&[&str]) -> Result<ExitCode>);

const SUITES: &[Suite] = &[
    ("bollard", "the Rust SDK's integration tests against hoistd (root)", bollard::run),
    ("buildkit", "BuildKit's Dockerfile integration tests against hoistd (root, Go)", buildkit::run),
    (
        "distribution-spec",
        "OCI distribution-spec against hoist registry and docker-registry (Go)",
        distribution_spec::run,
    ),
    (
        "docker-py",
        "the Python SDK's integration tests against hoistd (root, python3, a copy of its repository)",
        docker_py::run,
    ),
    (
        "runtime-tools",
        "opencontainers/runtime-tools against hoist-runtime, runc and crun (root, Go)",
        runtime_tools::run,
    ),
];

pub fn run(words: &[&str]) -> Result<ExitCode> {
    let Some((name, rest)) = words.split_first() else {
        for (name, about, _) in SUITES {
            println!("  {name:<16} {about}");
        }
        return Ok(ExitCode::SUCCESS);
    };
    match SUITES.iter().find(|(known, ..)| known == name) {
        Some((_, _, run)) => run(rest),
        None => bail!("no such suite: {name}; `cargo xtask suite` lists them"),
    }
}
