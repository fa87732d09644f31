//! Builds: many small steps, known steps, many files, branches side by side. dockerd takes part twice: with its classic
//! builder, and with BuildKit, if there is a client for that.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use testkit::{process, programs};

use super::engine::Engine;
use super::table::Table;

/// The column of dockerd with BuildKit.
pub const BUILDKIT: &str = "BuildKit";

/// Longest that one build may take.
const LIMIT: Duration = Duration::from_secs(600);

/// Files of the large context, by directories of this many.
const FOLDER: usize = 200;

/// A way to build.
struct Builder<'a> {
    engine: &'a Engine,
    column: String,
    /// In front of the context.
    flags: &'static str,
    env: Vec<(&'static str, String)>,
}

pub fn rounds(engines: &[Engine], table: &mut Table, scratch: &Path, quick: bool, rounds: usize) -> Result<()> {
    let folder = scratch.join("builds");
    fs::create_dir_all(&folder)?;
    let files = if quick { 2_000 } else { 20_000 };
    let builders = builders(engines, &folder)?;
    for round in 0..=rounds {
        for builder in &builders {
            let mut note = |row: &str, milliseconds: f64| {
                if round > 0 {
                    table.add(row, &builder.column, "ms", milliseconds);
                }
            };
            let mark = format!("{}-{round}", builder.column.replace(' ', ""));
            let steps: String = (0..10).map(|step| format!("RUN : {mark} {step}\n")).collect();
            let steps = context(&folder.join("steps"), &format!("FROM {}\n{steps}", builder.engine.image))?;
            note("build, ten steps, cold", builder.time(&steps)?);
            note("build, ten steps, known", builder.time(&steps)?);
            note("build, ten steps, known again", builder.time(&steps)?);
            let branch = |name: &str| {
                format!("FROM {} AS {name}\nRUN sleep 1; : {mark} {name}; touch /{name}\n", builder.engine.image)
            };
            let both = format!(
                "{}{}FROM {}\nCOPY --from=a /a /\nCOPY --from=b /b /\n",
                branch("a"),
                branch("b"),
                builder.engine.image
            );
            note("build, two branches of one second each", builder.time(&context(&folder.join("both"), &both)?)?);
            // What is copied is new in every round, for each builder.
            let dockerfile = format!("FROM {}\nCOPY . /src\n", builder.engine.image);
            let many = large(&folder, files, &dockerfile, &mark)?;
            note(&format!("build, COPY of {files} files, cold"), builder.time(&many)?);
            note(&format!("build, context of {files} files, unchanged"), builder.time(&many)?);
            builder.engine.command("image prune -f").output().context("image prune")?;
        }
    }
    for engine in engines {
        // What is left of it goes with the engine's directories.
        let _ = engine.command("builder prune -af").output();
    }
    fs::remove_dir_all(&folder)?;
    Ok(())
}

fn builders<'a>(engines: &'a [Engine], folder: &Path) -> Result<Vec<Builder<'a>>> {
    let mut builders = Vec::new();
    for engine in engines {
        let name = engine.name.clone();
        let classic = vec![("DOCKER_BUILDKIT", "0".to_owned())];
        match name.as_str() {
            "dockerd" => {
                builders.push(Builder { engine, column: name, flags: "", env: classic });
                match programs::find("docker-buildx") {
                    None => println!("    without BuildKit: docker-buildx is not there (cargo xtask test builds it)"),
                    Some(buildx) => {
                        let config = folder.join("docker");
                        fs::create_dir_all(config.join("cli-plugins"))?;
                        symlink(buildx, config.join("cli-plugins/docker-buildx"))?;
                        let config = config.display().to_string();
                        let env = vec![("DOCKER_BUILDKIT", "1".to_owned()), ("DOCKER_CONFIG", config)];
                        builders.push(Builder { engine, column: BUILDKIT.into(), flags: "", env });
                    }
                }
            }
            "podman" => builders.push(Builder { engine, column: name, flags: "--layers", env: Vec::new() }),
            _ => builders.push(Builder { engine, column: name, flags: "", env: Vec::new() }),
        }
    }
    Ok(builders)
}

impl Builder<'_> {
    /// Milliseconds of one build.
    fn time(&self, context: &Path) -> Result<f64> {
        let line = format!("build -q {} {}", self.flags, context.display());
        let mut command: Command = self.engine.command(&line);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        let begun = std::time::Instant::now();
        let output = process::run(&mut command, LIMIT)?;
        let took = begun.elapsed().as_secs_f64() * 1000.0;
        if output.code != 0 {
            bail!("{}: {line}\n{}", self.column, output.describe());
        }
        Ok(took)
    }
}

fn context(folder: &Path, dockerfile: &str) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("Dockerfile"), dockerfile)?;
    Ok(folder.to_path_buf())
}

/// A context of many small files; those of one directory are new for each mark.
fn large(folder: &Path, files: usize, dockerfile: &str, mark: &str) -> Result<PathBuf> {
    let folder = context(&folder.join("many"), dockerfile)?;
    for number in 0..files {
        let directory = folder.join(format!("d{}", number / FOLDER));
        let path = directory.join(format!("file-{number}"));
        if number < FOLDER || !path.exists() {
            fs::create_dir_all(directory)?;
            fs::write(path, format!("{mark} {number}\n").repeat(20))?;
        }
    }
    Ok(folder)
}
