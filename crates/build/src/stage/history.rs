//! What an image tells of its steps.

use dockerfile::instruction::{Command, Transfer};
use oci::History;

use super::Stage;

/// BuildKit's name for this frontend; tools look for it.
const COMMENT: &str = "buildkit.dockerfile.v0";

impl Stage<'_> {
    /// Adds a step that made no layer.
    ///
    /// Its time is that of the step before, so that a build in which every layer is known gives the same image again.
    pub fn note(&mut self, created_by: String) {
        let config = &self.outcome.config;
        let before = config.history.last().and_then(|step| step.created.clone()).or_else(|| config.created.clone());
        let created = match self.build.epoch {
            Some(epoch) => logs_time(epoch),
            None => before.unwrap_or_else(|| logs_time(self.build.now)),
        };
        self.add(created_by, true, created);
    }

    /// Adds a step that made a layer, at the time it was made.
    pub fn note_layer(&mut self, created_by: String, created: u64) {
        let created = logs_time(self.build.epoch.map_or(created, |epoch| created.min(epoch)));
        self.add(of_layer(&created_by), false, created);
    }

    fn add(&mut self, created_by: String, empty_layer: bool, created: String) {
        self.outcome.config.history.push(History {
            created: Some(created),
            created_by,
            comment: COMMENT.to_string(),
            empty_layer,
            ..History::default()
        });
    }
}

/// What history says of a step that made a layer.
pub(crate) fn of_layer(created_by: &str) -> String {
    format!("{created_by} # buildkit")
}

/// RFC 3339 of nanoseconds since the epoch.
pub(crate) fn logs_time(ns: u64) -> String {
    logs::time::format_rfc3339_nano(ns)
}

/// `CMD ["a" "b"]`: Go's way to print a list.
pub(crate) fn list(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

/// A command in one line.
pub(crate) fn command(command: &Command, shell: &[String]) -> Vec<String> {
    if command.shell {
        shell.iter().cloned().chain(command.words.iter().cloned()).collect()
    } else {
        command.words.clone()
    }
}

/// `COPY --chown=1:2 a b /c/`
pub(crate) fn transfer(keyword: &str, transfer: &Transfer) -> String {
    let mut parts = vec![keyword.to_string()];
    for (flag, value) in [
        ("from", &transfer.from),
        ("chown", &transfer.chown),
        ("chmod", &transfer.chmod),
        ("checksum", &transfer.checksum),
    ] {
        if !value.is_empty() {
            parts.push(format!("--{flag}={value}"));
        }
    }
    for (flag, set) in [("link", transfer.link), ("parents", transfer.parents)] {
        if set {
            parts.push(format!("--{flag}"));
        }
    }
    parts.extend(transfer.excludes.iter().map(|pattern| format!("--exclude={pattern}")));
    parts.extend(transfer.sources.iter().cloned());
    parts.extend(transfer.contents.iter().map(|heredoc| format!("<<{}", heredoc.name)));
    parts.push(transfer.destination.clone());
    parts.join(" ")
}
