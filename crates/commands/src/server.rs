//! `registry`: the server and its chores are in `hoistd`, which takes this process' place, so that the client stays
//! small. What is typed is checked here.

pub(crate) mod looks;
pub(crate) mod serve;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::cli::Parsed;
use crate::failure::{Failure, Outcome};

/// Becomes `hoistd registry VERB --flag=value … -- arguments`.
fn become_hoistd(verb: &str, parsed: &Parsed) -> Outcome {
    let program = find().ok_or_else(|| {
        Failure::new(
            "the program hoistd, which has the registry in it, is neither beside this program nor in a directory of PATH",
        )
    })?;
    let mut command = Command::new(&program);
    command.arg("registry").arg(verb);
    command.args(parsed.given().map(|(name, value)| format!("--{name}={value}")));
    command.arg("--").args(&parsed.args);
    let error = command.exec();
    Err(Failure::new(crate::failure::io_text("exec", &program.display().to_string(), &error)))
}

/// Beside this program, then in PATH.
fn find() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|own| own.parent().map(|directory| directory.join("hoistd")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).filter(|directory| directory.is_absolute());
    let all: Vec<PathBuf> = beside.into_iter().chain(in_path.map(|directory| directory.join("hoistd"))).collect();
    all.into_iter().find(|file| {
        use std::os::unix::fs::PermissionsExt;
        file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    })
}
