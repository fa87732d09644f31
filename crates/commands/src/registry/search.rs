//! `search`.

use std::rc::Rc;

use client::Request;
use serde::Deserialize;

use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::Outcome;
use crate::format::{self, Listing, list};
use crate::human::ellipsis;
use crate::options::filters;
use crate::template::{Row, Value};

/// Table of `search`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["search"],
    usage: "[OPTIONS] TERM",
    about: "Search Docker Hub for images",
    flags: &[
        flag("filter", 'f', Kind::FILTER, "Filter output based on conditions provided"),
        flag("format", '\0', Kind::Str(""), "Pretty-print search using a Go template"),
        flag("limit", '\0', Kind::Int(0), "Max number of search results"),
        flag("no-trunc", '\0', Kind::Bool(false), "Don't truncate output"),
    ],
    args: Args::Exactly(1),
    interspersed: true,
    run,
};

const LISTING: Listing = Listing {
    headers: &[
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("StarCount", "STARS"),
        ("IsOfficial", "OFFICIAL"),
        ("IsAutomated", "AUTOMATED"),
    ],
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Found {
    name: String,
    description: String,
    star_count: i64,
    is_official: bool,
    is_automated: bool,
}

struct Line {
    found: Found,
    trunc: bool,
}

fn mark(set: bool) -> String {
    if set { "[OK]".to_owned() } else { String::new() }
}

impl Row for Line {
    fn column(&self, name: &str) -> Option<Value> {
        let found = &self.found;
        Some(Value::text(match name {
            "Name" => found.name.clone(),
            "Description" => {
                let text = found.description.replace(['\n', '\r'], " ");
                if self.trunc { ellipsis(&text, 45) } else { text }
            }
            "StarCount" => found.star_count.to_string(),
            "IsOfficial" => mark(found.is_official),
            "IsAutomated" => mark(found.is_automated),
            _ => return None,
        }))
    }

    fn columns(&self) -> &[&'static str] {
        &["Description", "IsAutomated", "IsOfficial", "Name", "StarCount"]
    }

    fn type_name(&self) -> &'static str {
        "*registry.searchContext"
    }
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let term = parsed.args[0].as_str();
    let domain = match term.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    };
    let limit = parsed.text("limit").filter(|limit| *limit != "0");
    let request = Request::get("/images/search")
        .query("term", term)
        .query_some("limit", limit)
        .query_some("filters", filters::encode(parsed.list("filter")))
        .header("X-Registry-Auth", context.config().registry_auth(domain)?);
    let found: Vec<Found> = context.client()?.send(request)?.json()?;
    let text = match list::choose(parsed.str("format"), "", false) {
        "table" => "table {{.Name}}\\t{{.Description}}\\t{{.StarCount}}\\t{{.IsOfficial}}",
        custom => custom,
    };
    let trunc = !parsed.bool("no-trunc");
    format::write(&LISTING, text, found.into_iter().map(|found| Rc::new(Line { found, trunc }) as Rc<dyn Row>))
}
