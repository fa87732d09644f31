//! `rmi`.

use client::Request;
use serde::Deserialize;

use super::route;
use crate::cli::{Args, Command, Kind, Parsed, check, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Table of `rmi`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["image rm", "image remove", "rmi"],
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Remove one or more images",
    flags: &[
        flag("force", 'f', Kind::Bool(false), "Force removal of the image"),
        flag("no-prune", '\0', Kind::Bool(false), "Do not delete untagged parents"),
        flag(
            "platform",
            '\0',
            Kind::Many("strings", check::any),
            "Remove only the given platform variant. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")",
        ),
    ],
    args: Args::AtLeast(1),
    interspersed: true,
    run,
};

/// One line of what a removal or a prune did.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Deleted {
    #[serde(default)]
    untagged: String,
    #[serde(default)]
    deleted: String,
}

impl Deleted {
    /// `Untagged: x`, `Deleted: sha256:…`.
    pub(crate) fn shown(&self) -> String {
        if self.deleted.is_empty() {
            format!("Untagged: {}", self.untagged)
        } else {
            format!("Deleted: {}", self.deleted)
        }
    }
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let client = context.client()?;
    let force = parsed.bool("force");
    let mut errors = Vec::new();
    let mut fatal = false;
    for name in &parsed.args {
        let mut request =
            Request::delete(route(name, "")).query_if("force", force).query_if("noprune", parsed.bool("no-prune"));
        for platform in parsed.list("platform").into_iter().flat_map(|p| p.split(',')) {
            request = request.query("platforms", super::platform_json(platform)?);
        }
        match client.send(request).and_then(|r| r.json::<Vec<Deleted>>()) {
            Ok(deleted) => {
                for item in deleted {
                    crate::out::line(&item.shown())?;
                }
            }
            Err(error) => {
                fatal |= !error.is_not_found();
                errors.push(error.to_string());
            }
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    let text = errors.join("\n");
    if fatal || !force {
        return Err(Failure::new(text));
    }
    // With --force, images that do not exist are only told.
    crate::out::warn(&text);
    Ok(())
}
