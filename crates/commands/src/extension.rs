//! Programs that add commands: Docker's CLI plugins, `docker-compose` and `docker-buildx` for example.
//!
//! A program `docker-NAME` in one of the directories is the command `NAME`. It is asked what it is with the word
//! `docker-cli-plugin-metadata`, and takes our place with all our arguments when the command is used.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::contexts::DEFAULT;
use crate::failure::{Failure, Outcome, io_text};

/// Searched behind the user's own.
const DIRECTORIES: [&str; 4] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];

const PREFIX: &str = "docker-";

/// What a program says of itself is not longer.
const LIMIT: usize = 64 * 1024;

/// What a program says of itself, and what was found out about it.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Metadata {
    schema_version: String,
    vendor: String,
    pub(crate) version: String,
    pub(crate) short_description: String,
    #[serde(rename = "URL", skip_serializing_if = "String::is_empty")]
    url: String,
    #[serde(skip_deserializing)]
    pub(crate) name: String,
    #[serde(skip_deserializing)]
    pub(crate) path: String,
    #[serde(skip_deserializing, skip_serializing_if = "String::is_empty")]
    pub(crate) err: String,
}

fn directories(context: &Context) -> Vec<PathBuf> {
    let config = context.config();
    let own = config.directory().map(|directory| directory.join("cli-plugins"));
    config.plugin_directories.iter().cloned().chain(own).chain(DIRECTORIES.map(PathBuf::from)).collect()
}

/// `^[a-z][a-z0-9]*$`.
fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// The program behind a command.
pub(crate) fn find(context: &Context, name: &str) -> Option<PathBuf> {
    if !is_name(name) {
        return None;
    }
    directories(context).into_iter().map(|directory| directory.join(format!("{PREFIX}{name}"))).find(|p| is_program(p))
}

/// All programs with what they say of themselves, by name; of two with one name the first found counts.
pub(crate) fn list(context: &Context) -> Vec<Metadata> {
    let mut all: Vec<Metadata> = Vec::new();
    for directory in directories(context) {
        let Ok(entries) = std::fs::read_dir(directory) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(name) = file.strip_prefix(PREFIX).filter(|name| is_name(name)) else { continue };
            if is_program(&path) && !all.iter().any(|known| known.name == name) {
                let mut metadata = ask(&path).unwrap_or_else(|err| Metadata { err, ..Metadata::default() });
                metadata.name = name.to_owned();
                metadata.path = path.display().to_string();
                all.push(metadata);
            }
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn ask(path: &Path) -> Result<Metadata, String> {
    let output = Command::new(path)
        .arg("docker-cli-plugin-metadata")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(|error| format!("failed to fetch metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("failed to fetch metadata: {}", output.status));
    }
    if output.stdout.len() > LIMIT {
        return Err("its metadata is too long".to_owned());
    }
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("invalid metadata: {error}"))?;
    if metadata.schema_version != "0.1.0" {
        return Err(format!("plugin SchemaVersion {:?} is not valid, must be \"0.1.0\"", metadata.schema_version));
    }
    if metadata.vendor.is_empty() {
        return Err("plugin metadata does not define a vendor".to_owned());
    }
    Ok(metadata)
}

/// Becomes the program, with the options in front of the command and everything from the command on.
pub(crate) fn become_it(context: &Context, program: &Path, arguments: &[String]) -> Outcome {
    let own = std::env::args_os().next().unwrap_or_else(|| context.program.into());
    let mut command = Command::new(program);
    command.args(&context.globals.written).args(arguments).env("DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND", &own);
    // Its own default is Docker's socket, and it does not know our variable.
    let ours = std::env::var_os("HOIST_HOST").is_some() || std::env::var_os("DOCKER_HOST").is_none();
    if ours && context.globals.hosts.is_empty() && context.context_name()? == DEFAULT {
        let (host, _) = context.place()?;
        command.env("DOCKER_HOST", host.to_string());
    }
    let error = command.exec();
    Err(Failure::new(io_text("exec", &program.display().to_string(), &error)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn names() {
        for (word, expect) in
            [("compose", true), ("x2", true), ("2x", false), ("a-b", false), ("../x", false), ("", false), ("A", false)]
        {
            assert_eq!(super::is_name(word), expect, "{word}");
        }
    }
}
