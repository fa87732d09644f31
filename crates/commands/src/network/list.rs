//! `network ls`.

use std::collections::BTreeMap;
use std::rc::Rc;

use client::Request;
use serde::Deserialize;

use crate::cli::{Args, Command, Kind, Parsed, flag, table_format};
use crate::context::Context;
use crate::failure::Outcome;
use crate::format::{self, Listing, list};
use crate::human::short_id;
use crate::options::filters;
use crate::template::{Row, Value};

/// Table of `network list`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["network ls", "network list"],
    usage: "[OPTIONS]",
    about: "List networks",
    flags: &[
        flag("filter", 'f', Kind::FILTER, "Provide filter values (e.g. \"driver=bridge\")"),
        table_format('\0'),
        flag("no-trunc", '\0', Kind::Bool(false), "Do not truncate the output"),
        flag("quiet", 'q', Kind::Bool(false), "Only display network IDs"),
    ],
    args: Args::None,
    interspersed: true,
    run,
};

const LISTING: Listing = Listing {
    headers: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
    ],
};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Network {
    name: String,
    id: String,
    created: String,
    scope: String,
    driver: String,
    #[serde(rename = "EnableIPv4")]
    ipv4: Option<bool>,
    #[serde(rename = "EnableIPv6")]
    ipv6: bool,
    internal: bool,
    labels: Option<BTreeMap<String, String>>,
}

struct Line {
    network: Network,
    trunc: bool,
}

impl Row for Line {
    fn column(&self, name: &str) -> Option<Value> {
        let network = &self.network;
        Some(Value::text(match name {
            "ID" if self.trunc => short_id(&network.id).to_owned(),
            "ID" => network.id.clone(),
            "Name" => network.name.clone(),
            "Driver" => network.driver.clone(),
            "Scope" => network.scope.clone(),
            "IPv4" => network.ipv4.unwrap_or(true).to_string(),
            "IPv6" => network.ipv6.to_string(),
            "Internal" => network.internal.to_string(),
            "Labels" => network.labels.iter().flatten().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(","),
            "CreatedAt" => created(&network.created),
            _ => return None,
        }))
    }

    fn call(&self, name: &str, argument: &str) -> Option<Value> {
        let labels = self.network.labels.as_ref();
        (name == "Label")
            .then(|| Value::text(labels.and_then(|l| l.get(argument)).map(String::as_str).unwrap_or_default()))
    }

    fn columns(&self) -> &[&'static str] {
        &["CreatedAt", "Driver", "ID", "IPv4", "IPv6", "Internal", "Labels", "Name", "Scope"]
    }

    fn type_name(&self) -> &'static str {
        "*network.networkContext"
    }
}

/// A time of the API as Go prints one: `2006-01-02 15:04:05.999999999 -0700 MST`.
fn created(text: &str) -> String {
    let Ok(stamp) = text.parse::<jiff::Timestamp>() else { return text.to_owned() };
    let fraction = format!("{:09}", stamp.subsec_nanosecond());
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    // Go keeps the offset of the text; the daemon writes UTC or its local offset.
    let (offset, name) = match text.rfind(['+', '-']).filter(|at| *at > 10) {
        Some(at) => (text[at..].replace(':', ""), text[at..].replace(':', "")),
        None => ("+0000".to_owned(), "UTC".to_owned()),
    };
    let local = text.get(..19).unwrap_or(text).replace('T', " ");
    format!("{local}{dot}{fraction} {offset} {name}")
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let quiet = parsed.bool("quiet");
    let configured = if quiet { "" } else { context.config().networks_format.as_str() };
    let text = match list::choose(parsed.str("format"), configured, quiet) {
        "table" if quiet => "{{.ID}}",
        "table" => "table {{.ID}}\\t{{.Name}}\\t{{.Driver}}\\t{{.Scope}}",
        "raw" if quiet => "network_id: {{.ID}}",
        "raw" => "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n",
        custom => custom,
    };
    let request = Request::get("/networks").query_some("filters", filters::encode(parsed.list("filter")));
    let mut networks: Vec<Network> = context.client()?.send(request)?.json()?;
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    let trunc = !parsed.bool("no-trunc");
    let rows = networks.into_iter().map(|network| Rc::new(Line { network, trunc }) as Rc<dyn Row>);
    format::write(&LISTING, text, rows)
}
