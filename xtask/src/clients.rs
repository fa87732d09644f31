//! Clients that Debian does not have, built from their Go modules: what others use against the daemon and the registry.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use testkit::programs;

use crate::steps;

/// A program, and the package that it is built of.
struct Client {
    program: &'static str,
    module: &'static str,
    version: &'static str,
    package: &'static str,
}

const CLIENTS: [Client; 6] = [
    Client {
        program: "crane",
        module: "github.com/google/go-containerregistry",
        version: "v0.22.1",
        package: "./cmd/crane",
    },
    Client { program: "regctl", module: "github.com/regclient/regclient", version: "v0.11.7", package: "./cmd/regctl" },
    Client { program: "oras", module: "oras.land/oras", version: "v1.3.6", package: "./cmd/oras" },
    Client { program: "docker-compose", module: "github.com/docker/compose/v5", version: "v5.5.0", package: "./cmd" },
    Client {
        program: "docker-buildx",
        module: "github.com/docker/buildx",
        version: "v0.36.1",
        package: "./cmd/buildx",
    },
    Client { program: "buildkitd", module: "github.com/moby/buildkit", version: "v0.32.2", package: "./cmd/buildkitd" },
];

/// Builds those that are not in the cache (`target/e2e-cache/go/bin`); the tests of one that cannot be built say so.
///
/// # Errors
/// What could not be built, with what Go said.
pub fn ensure() -> Result<()> {
    let directory = programs::cache().join("go/bin");
    let missing: Vec<&Client> = CLIENTS.iter().filter(|client| !directory.join(client.program).is_file()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if programs::find("go").is_none() {
        bail!("no Go: the tests with {} are skipped", missing.iter().map(|c| c.program).collect::<Vec<_>>().join(", "));
    }
    fs::create_dir_all(&directory)?;
    let mut failed = Vec::new();
    for client in missing {
        println!("    building {} {}", client.program, client.version);
        if let Err(error) = client.build(&directory.join(client.program)) {
            failed.push(format!("{}: {error:#}", client.program));
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("{}", failed.join("; ")) }
}

impl Client {
    fn build(&self, program: &PathBuf) -> Result<()> {
        let module = format!("{}@{}", self.module, self.version);
        let answer = Command::new("go").args(["mod", "download", "-json", &module]).output()?;
        let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).context("go mod download")?;
        let Some(source) = answer["Dir"].as_str() else { bail!("go mod download: {}", answer["Error"]) };
        let unfinished = program.with_extension("unfinished");
        let mut build = Command::new("go");
        // Compose asks buildx for its version.
        let flags = format!("-ldflags=-s -w -X {}/version.Version={}", self.module, self.version);
        build.args(["build", "-trimpath", &flags, "-o"]).arg(&unfinished).arg(self.package);
        steps::run(build.current_dir(source).env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=readonly"))?;
        Ok(fs::rename(unfinished, program)?)
    }
}
