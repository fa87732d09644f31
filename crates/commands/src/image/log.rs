//! `image log`: what a tag has meant. Docker has no such command.

use std::rc::Rc;

use client::{Request, path_escape};
use serde::Deserialize;

use crate::cli::{Args, Command, Kind, Parsed, flag, table_format};
use crate::context::Context;
use crate::failure::Outcome;
use crate::format::{self, Listing, list};
use crate::human::{self, short_id};
use crate::template::{Row, Value};

/// Table of `image log`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["image log"],
    usage: "[OPTIONS] IMAGE[:TAG]",
    about: "Show which images a tag has meant, the newest first",
    flags: &[
        table_format('\0'),
        flag("no-trunc", '\0', Kind::Bool(false), "Don't truncate output"),
        flag("quiet", 'q', Kind::Bool(false), "Only show image IDs"),
    ],
    args: Args::Exactly(1),
    interspersed: true,
    run,
};

const LISTING: Listing =
    Listing { headers: &[("Version", "VERSION"), ("ID", "IMAGE ID"), ("Since", "SINCE"), ("Size", "SIZE")] };

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    back: u64,
    image: String,
    since: String,
    size: i64,
}

struct Line {
    version: Version,
    trunc: bool,
}

impl Row for Line {
    fn column(&self, name: &str) -> Option<Value> {
        let version = &self.version;
        Some(Value::text(match name {
            "Version" => format!("@{{{}}}", version.back),
            "ID" if self.trunc => short_id(&version.image).to_owned(),
            "ID" => version.image.clone(),
            "Since" => version.since.get(..19).unwrap_or("unknown").to_owned(),
            "Size" => human::size(version.size as f64, 3),
            _ => return None,
        }))
    }

    fn columns(&self) -> &[&'static str] {
        &["ID", "Since", "Size", "Version"]
    }

    fn type_name(&self) -> &'static str {
        "image.version"
    }
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let path = format!("/hoist/images/{}/log", path_escape(&parsed.args[0]));
    let versions: Vec<Version> = context.client()?.send(Request::get(path))?.json()?;
    let quiet = parsed.bool("quiet");
    let text = match list::choose(parsed.str("format"), "", quiet) {
        "table" if quiet => "{{.ID}}",
        "table" => "table {{.Version}}\\t{{.ID}}\\t{{.Since}}\\t{{.Size}}",
        custom => custom,
    };
    let trunc = !parsed.bool("no-trunc");
    let rows = versions.into_iter().map(|version| Rc::new(Line { version, trunc }) as Rc<dyn Row>);
    format::write(&LISTING, text, rows)
}
