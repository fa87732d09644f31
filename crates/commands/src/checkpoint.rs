//! `checkpoint`: asked of the daemon, which says whether it can.

use std::rc::Rc;

use client::{Request, path_escape};
use serde::Deserialize;
use serde_json::json;

use crate::cli::{Args, Command, Flag, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::Outcome;
use crate::format::{self, Listing};
use crate::template::{Row, Value};

const DIRECTORY: Flag = flag("checkpoint-dir", '\0', Kind::Str(""), "Use a custom checkpoint storage directory");

/// Table of `checkpoint create`.
pub(crate) const CREATE: Command = Command {
    spellings: &["checkpoint create"],
    usage: "[OPTIONS] CONTAINER CHECKPOINT",
    about: "Create a checkpoint from a running container",
    flags: &[DIRECTORY, flag("leave-running", '\0', Kind::Bool(false), "Leave the container running after checkpoint")],
    args: Args::Exactly(2),
    interspersed: true,
    run: |context, parsed| {
        let body = json!({
            "CheckpointID": parsed.args[1],
            "CheckpointDir": parsed.str("checkpoint-dir"),
            "Exit": !parsed.bool("leave-running"),
        });
        context.client()?.send(Request::post(place(&parsed.args[0])).json(&body))?.discard()?;
        crate::out::line(&parsed.args[1])
    },
};

/// Table of `checkpoint ls`.
pub(crate) const LIST: Command = Command {
    spellings: &["checkpoint ls", "checkpoint list"],
    usage: "[OPTIONS] CONTAINER",
    about: "List checkpoints for a container",
    flags: &[DIRECTORY],
    args: Args::Exactly(1),
    interspersed: true,
    run: list,
};

/// Table of `checkpoint rm`.
pub(crate) const REMOVE: Command = Command {
    spellings: &["checkpoint rm", "checkpoint remove"],
    usage: "[OPTIONS] CONTAINER CHECKPOINT",
    about: "Remove a checkpoint",
    flags: &[DIRECTORY],
    args: Args::Exactly(2),
    interspersed: true,
    run: |context, parsed| {
        let path = format!("{}/{}", place(&parsed.args[0]), path_escape(&parsed.args[1]));
        let request = Request::delete(path).query_some("dir", parsed.text("checkpoint-dir"));
        Ok(context.client()?.send(request)?.discard()?)
    },
};

fn place(container: &str) -> String {
    format!("/containers/{}/checkpoints", path_escape(container))
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "Name", default)]
    name: String,
}

impl Row for Line {
    fn column(&self, name: &str) -> Option<Value> {
        (name == "Name").then(|| Value::text(&self.name))
    }
    fn columns(&self) -> &[&'static str] {
        &["Name"]
    }
    fn type_name(&self) -> &'static str {
        "*checkpoint.checkpointContext"
    }
}

fn list(context: &Context, parsed: &Parsed) -> Outcome {
    let request = Request::get(place(&parsed.args[0])).query_some("dir", parsed.text("checkpoint-dir"));
    let lines: Option<Vec<Line>> = context.client()?.send(request)?.json()?;
    let listing = Listing { headers: &[("Name", "CHECKPOINT NAME")] };
    let rows = lines.unwrap_or_default().into_iter().map(|line| Rc::new(line) as Rc<dyn Row>);
    format::write(&listing, "table {{.Name}}", rows)
}
