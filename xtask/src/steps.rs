//! Says what is being done and how long it took.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A duration as people read it.
pub fn human(took: Duration) -> String {
    let seconds = took.as_secs_f64();
    if seconds >= 60.0 {
        format!("{} min {:.0} s", took.as_secs() / 60, seconds % 60.0)
    } else if seconds >= 1.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{:.1} ms", seconds * 1000.0)
    }
}

/// Announces `what`, does it, and prints how long it took.
pub fn step<T>(what: &str, action: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("==> {what}");
    let begun = Instant::now();
    let result = action().with_context(|| format!("failed: {what}"))?;
    println!("    took {}", human(begun.elapsed()));
    Ok(result)
}

/// Runs a program with its output on this terminal.
pub fn run(command: &mut Command) -> Result<()> {
    let text = text(command);
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot run {text}"))?;
    if !status.success() {
        bail!("{text}: {status}");
    }
    Ok(())
}

/// A command as it would be typed.
pub fn text(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Cargo in this workspace.
pub fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).current_dir(testkit::programs::workspace());
    // What `cargo xtask` set for this very program would make other crates build again.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
            command.env_remove(name);
        }
    }
    command
}

/// Builds the three programs, release.
pub fn build() -> Result<()> {
    if std::env::var_os("HOIST_BIN_DIR").is_some() {
        println!("    HOIST_BIN_DIR is set: its programs are used, nothing is built");
        return Ok(());
    }
    let mut command = cargo(&["build", "--release", "--quiet", "-p", "hoist", "-p", "hoistd", "-p", "hoist-runtime"]);
    println!("    $ {}", text(&command));
    run(&mut command)
}
