//! `history`.

use std::rc::Rc;

use client::Request;
use serde::Deserialize;

use super::route;
use crate::cli::{Args, Command, Kind, Parsed, flag, table_format};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::format::{self, Listing};
use crate::human::{self, ellipsis, short_id};
use crate::template::{Row, Value};

/// Table of `history`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["image history", "history"],
    usage: "[OPTIONS] IMAGE",
    about: "Show the history of an image",
    flags: &[
        table_format('\0'),
        flag("human", 'H', Kind::Bool(true), "Print sizes and dates in human readable format (default true)"),
        flag("no-trunc", '\0', Kind::Bool(false), "Don't truncate output"),
        flag(
            "platform",
            '\0',
            Kind::Str(""),
            "Show history for the given platform. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")",
        ),
        flag("quiet", 'q', Kind::Bool(false), "Only show image IDs"),
    ],
    args: Args::Exactly(1),
    interspersed: true,
    run,
};

const LISTING: Listing = Listing {
    headers: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
};

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Item {
    id: String,
    created: i64,
    created_by: String,
    size: i64,
    comment: String,
}

struct Line {
    item: Item,
    trunc: bool,
    human: bool,
    now: f64,
}

/// Times before the year 2000 stand for "not known".
const EPOCH: i64 = 946_684_800;

impl Line {
    fn created_at(&self) -> String {
        let Ok(stamp) = jiff::Timestamp::from_second(self.item.created) else { return String::new() };
        let zoned = stamp.to_zoned(jiff::tz::TimeZone::system());
        let text = zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
        text.strip_suffix("+00:00").map(|t| format!("{t}Z")).unwrap_or(text)
    }
}

impl Row for Line {
    fn column(&self, name: &str) -> Option<Value> {
        let item = &self.item;
        Some(Value::text(match name {
            "ID" if self.trunc => short_id(&item.id).to_owned(),
            "ID" => item.id.clone(),
            "CreatedAt" => self.created_at(),
            "CreatedSince" if !self.human => self.created_at(),
            "CreatedSince" if item.created <= EPOCH => "N/A".to_owned(),
            "CreatedSince" => human::duration(self.now - item.created as f64) + " ago",
            "CreatedBy" => {
                let by = item.created_by.replace('\t', " ");
                if self.trunc { ellipsis(&by, 45) } else { by }
            }
            "Size" if self.human => human::size(item.size as f64, 3),
            "Size" => item.size.to_string(),
            "Comment" => item.comment.clone(),
            _ => return None,
        }))
    }

    fn columns(&self) -> &[&'static str] {
        &["Comment", "CreatedAt", "CreatedBy", "CreatedSince", "ID", "Size"]
    }

    fn type_name(&self) -> &'static str {
        "*image.historyContext"
    }
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let mut request = Request::get(route(&parsed.args[0], "/history"));
    if let Some(platform) = parsed.text("platform") {
        request = request.query("platform", super::platform_json(platform)?);
    }
    let items: Vec<Item> = context.client()?.send(request)?.json().map_err(Failure::from)?;
    let quiet = parsed.bool("quiet");
    let human = parsed.bool("human");
    let text = match format::list::choose(parsed.str("format"), "", quiet) {
        "table" if quiet => "{{.ID}}",
        "table" if human => "table {{.ID}}\\t{{.CreatedSince}}\\t{{.CreatedBy}}\\t{{.Size}}\\t{{.Comment}}",
        "table" => "table {{.ID}}\\t{{.CreatedAt}}\\t{{.CreatedBy}}\\t{{.Size}}\\t{{.Comment}}",
        custom => custom,
    };
    let trunc = !parsed.bool("no-trunc");
    let now = human::now();
    let rows = items.into_iter().map(|item| Rc::new(Line { item, trunc, human, now }) as Rc<dyn Row>);
    format::write(&LISTING, text, rows)
}
