//! `volume ls`.

use std::collections::BTreeMap;
use std::rc::Rc;

use client::Request;
use serde::Deserialize;

use crate::cli::{Args, Command, Kind, Parsed, flag, table_format};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::format::{self, Listing, list};
use crate::human;
use crate::options::filters;
use crate::template::{Row, Value};

/// Table of `volume list`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["volume ls", "volume list"],
    usage: "[OPTIONS]",
    about: "List volumes",
    flags: &[
        flag(
            "cluster",
            '\0',
            Kind::Bool(false),
            "Display only cluster volumes, and use cluster volume list formatting",
        ),
        flag("filter", 'f', Kind::FILTER, "Provide filter values (e.g. \"dangling=true\")"),
        table_format('\0'),
        flag("quiet", 'q', Kind::Bool(false), "Only display volume names"),
    ],
    args: Args::None,
    interspersed: true,
    run,
};

/// Titles of the columns.
pub(crate) const LISTING: Listing = Listing {
    headers: &[
        ("Name", "VOLUME NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("Availability", "AVAILABILITY"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
        ("Group", "GROUP"),
        ("Status", "STATUS"),
    ],
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    volumes: Option<Vec<Volume>>,
}

/// One volume of the list answer.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Volume {
    name: String,
    driver: String,
    scope: String,
    mountpoint: String,
    labels: Option<BTreeMap<String, String>>,
    pub(crate) usage_data: Option<Usage>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Usage {
    pub(crate) size: i64,
    pub(crate) ref_count: i64,
}

/// A volume as a row.
pub(crate) struct Line(pub(crate) Volume);

impl Row for Line {
    fn column(&self, name: &str) -> Option<Value> {
        let volume = &self.0;
        Some(Value::text(match name {
            "Name" => volume.name.clone(),
            "Driver" => volume.driver.clone(),
            "Scope" => volume.scope.clone(),
            "Mountpoint" => volume.mountpoint.clone(),
            "Labels" => volume.labels.iter().flatten().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(","),
            "Links" => volume.usage_data.as_ref().map_or_else(|| "N/A".to_owned(), |u| u.ref_count.to_string()),
            "Size" => volume.usage_data.as_ref().map_or_else(|| "N/A".to_owned(), |u| human::size(u.size as f64, 4)),
            "Group" | "Availability" | "Status" => "N/A".to_owned(),
            _ => return None,
        }))
    }

    fn call(&self, name: &str, argument: &str) -> Option<Value> {
        let labels = self.0.labels.as_ref();
        (name == "Label")
            .then(|| Value::text(labels.and_then(|l| l.get(argument)).map(String::as_str).unwrap_or_default()))
    }

    fn columns(&self) -> &[&'static str] {
        &["Availability", "Driver", "Group", "Labels", "Links", "Mountpoint", "Name", "Scope", "Size", "Status"]
    }

    fn type_name(&self) -> &'static str {
        "*formatter.volumeContext"
    }
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let quiet = parsed.bool("quiet");
    if parsed.bool("cluster") {
        return Err(Failure::new(format!("{}: 'volume ls --cluster' is not supported yet", context.program)));
    }
    let configured = if quiet { "" } else { context.config().volumes_format.as_str() };
    let text = match list::choose(parsed.str("format"), configured, quiet) {
        "table" if quiet => "{{.Name}}",
        "table" => "table {{.Driver}}\\t{{.Name}}",
        "raw" if quiet => "name: {{.Name}}",
        "raw" => "name: {{.Name}}\ndriver: {{.Driver}}\n",
        custom => custom,
    };
    let request = Request::get("/volumes").query_some("filters", filters::encode(parsed.list("filter")));
    let answer: Answer = context.client()?.send(request)?.json()?;
    let mut volumes = answer.volumes.unwrap_or_default();
    volumes.sort_by(|a, b| a.name.cmp(&b.name));
    format::write(&LISTING, text, volumes.into_iter().map(|v| Rc::new(Line(v)) as Rc<dyn Row>))
}
