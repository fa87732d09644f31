//! `ps`.

mod ports;

use std::collections::BTreeMap;
use std::rc::Rc;

use client::Request;
use oci::Reference;
use serde::Deserialize;

use crate::cli::{Args, Command, Kind, Parsed, flag, table_format};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::format::{self, Listing, list};
use crate::human::{self, ellipsis, quote, short_id};
use crate::options::filters;
use crate::template::{Mode, Row, Value};
use ports::exposed;
pub(crate) use ports::{Port, ports};

/// Table of `ps`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["container ls", "container list", "container ps", "ps"],
    usage: "[OPTIONS]",
    about: "List containers",
    flags: &[
        flag("all", 'a', Kind::Bool(false), "Show all containers (default shows just running)"),
        flag("exposure", '\0', Kind::Bool(false), "Show from where each published port can be reached"),
        flag("filter", 'f', Kind::FILTER, "Filter output based on conditions provided"),
        table_format('\0'),
        flag("last", 'n', Kind::Int(-1), "Show n last created containers (includes all states) (default -1)"),
        flag("latest", 'l', Kind::Bool(false), "Show the latest created container (includes all states)"),
        flag("no-trunc", '\0', Kind::Bool(false), "Don't truncate output"),
        flag("quiet", 'q', Kind::Bool(false), "Only display container IDs"),
        flag("size", 's', Kind::Bool(false), "Display total file sizes"),
    ],
    args: Args::None,
    interspersed: true,
    run,
};

/// Titles of the columns.
pub(crate) const LISTING: Listing = Listing {
    headers: &[
        ("ID", "CONTAINER ID"),
        ("Names", "NAMES"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("Platform", "PLATFORM"),
        ("Ports", "PORTS"),
        ("State", "STATE"),
        ("Status", "STATUS"),
        ("Size", "SIZE"),
        ("Labels", "LABELS"),
        ("Mounts", "MOUNTS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Networks", "NETWORKS"),
    ],
};

/// One container of the list answer.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Summary {
    id: String,
    names: Option<Vec<String>>,
    image: String,
    #[serde(rename = "ImageID")]
    image_id: String,
    command: String,
    created: i64,
    ports: Option<Vec<Port>>,
    pub(crate) size_rw: i64,
    pub(crate) size_root_fs: i64,
    labels: Option<BTreeMap<String, String>>,
    pub(crate) state: String,
    status: String,
    network_settings: Option<Networks>,
    mounts: Option<Vec<Mount>>,
    image_manifest_descriptor: Option<Descriptor>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Networks {
    networks: Option<BTreeMap<String, serde::de::IgnoredAny>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Mount {
    name: String,
    source: String,
    driver: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Descriptor {
    platform: Option<oci::Platform>,
}

/// A container as a row.
pub(crate) struct Line {
    pub(crate) container: Summary,
    pub(crate) trunc: bool,
    pub(crate) exposure: bool,
    pub(crate) now: f64,
}

impl Line {
    fn image(&self) -> String {
        let c = &self.container;
        if c.image.is_empty() {
            return "<no image>".to_owned();
        }
        if !self.trunc {
            return c.image.clone();
        }
        if short_id(&c.image_id) == short_id(&c.image) {
            return short_id(&c.image_id).to_owned();
        }
        match Reference::parse(&c.image) {
            Ok(mut reference) => {
                reference.digest = None;
                reference.familiar()
            }
            Err(_) => c.image.clone(),
        }
    }

    fn names(&self) -> String {
        let names: Vec<&str> =
            self.container.names.iter().flatten().map(|n| n.strip_prefix('/').unwrap_or(n)).collect();
        match names.iter().find(|n| !n.contains('/')) {
            Some(first) if self.trunc => (*first).to_owned(),
            _ => names.join(","),
        }
    }

    fn size(&self) -> String {
        let own = human::size(self.container.size_rw as f64, 3);
        if self.container.size_root_fs > 0 {
            format!("{own} (virtual {})", human::size(self.container.size_root_fs as f64, 3))
        } else {
            own
        }
    }
}

impl Row for Line {
    fn column(&self, name: &str) -> Option<Value> {
        let c = &self.container;
        let trunc = |text: &str, width: usize| if self.trunc { ellipsis(text, width) } else { text.to_owned() };
        Some(Value::text(match name {
            "ID" => if self.trunc { short_id(&c.id) } else { &c.id }.to_owned(),
            "Names" => self.names(),
            "Image" => self.image(),
            "Command" => quote(&trunc(&c.command, 20)),
            "CreatedAt" => human::local_time(c.created),
            "RunningFor" => human::duration(self.now - c.created as f64) + " ago",
            "Ports" if self.exposure => exposed(c.ports.clone().unwrap_or_default()),
            "Ports" => ports(c.ports.clone().unwrap_or_default()),
            "State" => c.state.clone(),
            "Status" => c.status.clone(),
            "Size" => self.size(),
            "Labels" => {
                let pairs: Vec<String> = c.labels.iter().flatten().map(|(k, v)| format!("{k}={v}")).collect();
                pairs.join(",")
            }
            "Mounts" => {
                let names = c.mounts.iter().flatten().map(|m| if m.name.is_empty() { &m.source } else { &m.name });
                names.map(|n| trunc(n, 15)).collect::<Vec<_>>().join(",")
            }
            "LocalVolumes" => c.mounts.iter().flatten().filter(|m| m.driver == "local").count().to_string(),
            "Networks" => {
                let networks = c.network_settings.as_ref().and_then(|s| s.networks.as_ref());
                networks.map(|n| n.keys().cloned().collect::<Vec<_>>().join(",")).unwrap_or_default()
            }
            "Platform" => match c.image_manifest_descriptor.as_ref().and_then(|d| d.platform.as_ref()) {
                Some(platform) => platform.to_string(),
                None => return Some(Value::Nil),
            },
            _ => return None,
        }))
    }

    fn call(&self, name: &str, argument: &str) -> Option<Value> {
        let labels = self.container.labels.as_ref();
        (name == "Label")
            .then(|| Value::text(labels.and_then(|l| l.get(argument)).map(String::as_str).unwrap_or_default()))
    }

    fn columns(&self) -> &[&'static str] {
        &[
            "Command",
            "CreatedAt",
            "ID",
            "Image",
            "Labels",
            "LocalVolumes",
            "Mounts",
            "Names",
            "Networks",
            "Platform",
            "Ports",
            "RunningFor",
            "Size",
            "State",
            "Status",
        ]
    }

    fn type_name(&self) -> &'static str {
        "*formatter.ContainerContext"
    }
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let quiet = parsed.bool("quiet");
    let configured = if quiet { "" } else { context.config().ps_format.as_str() };
    let chosen = list::choose(parsed.str("format"), configured, quiet);
    let mut size = parsed.bool("size");
    let text = match chosen {
        "table" if quiet => "{{.ID}}".to_owned(),
        "table" => {
            let extra = if size { "\\t{{.Size}}" } else { "" };
            format!(
                "table {{{{.ID}}}}\\t{{{{.Image}}}}\\t{{{{.Command}}}}\\t{{{{.RunningFor}}}}\\t{{{{.Status}}}}\\t{{{{.Ports}}}}\\t{{{{.Names}}}}{extra}"
            )
        }
        "raw" if quiet => "container_id: {{.ID}}".to_owned(),
        "raw" => {
            let extra = if size { "size: {{.Size}}\\n" } else { "" };
            format!("{RAW}{extra}")
        }
        _ if quiet => "{{.ID}}".to_owned(),
        custom => custom.to_owned(),
    };
    if !quiet && !parsed.str("format").is_empty() {
        let template = list::parse(&text)
            .map_err(|f| Failure::new(f.text.replacen("template parsing error", "failed to parse template", 1)))?;
        // A dry run finds unknown columns before the daemon is asked.
        let nobody = Line { container: Summary::default(), trunc: true, exposure: false, now: 0.0 };
        template
            .run(Value::Row(Rc::new(nobody)), Mode::Rows)
            .map_err(|why| Failure::new(format!("failed to execute template: {why}")))?;
        if !parsed.changed("size") {
            size = template.mentions("Size") || text.contains("json .}");
        }
    }
    let last = parsed.int("last");
    let limit = if parsed.bool("latest") && last == -1 { 1 } else { last };
    let request = Request::get("/containers/json")
        .query_if("all", parsed.bool("all"))
        .query_some("limit", Some(limit.to_string()).filter(|_| limit > 0))
        .query_if("size", size)
        .query_some("filters", filters::encode(parsed.list("filter")));
    let containers: Vec<Summary> = context.client()?.send(request)?.json()?;
    let trunc = !parsed.bool("no-trunc");
    let exposure = parsed.bool("exposure");
    let now = human::now();
    let rows = containers.into_iter().map(|container| Rc::new(Line { container, trunc, exposure, now }) as Rc<dyn Row>);
    // Docker's table breaks at the edge of a narrow terminal; under our own name it fits.
    let own = chosen == "table" && !quiet && trunc && context.program == "hoist";
    match crate::terminal::tty::table_width().filter(|_| own) {
        Some(width) => crate::out::text(&fitting(&rows.collect::<Vec<_>>(), size, exposure, width)?),
        None => format::write(&LISTING, &text, rows),
    }
}

/// Columns in the order of the table; what is left out first has the largest number.
const FITTING: [(&str, u8); 8] = [
    ("ID", 0),
    ("Image", 3),
    ("Command", 5),
    ("RunningFor", 4),
    ("Status", 1),
    ("Ports", 2),
    ("Names", 0),
    ("Size", 0),
];

/// The default table with as many columns as a terminal has room for; what is still too wide is cut.
/// What was asked for by an option stays.
fn fitting(rows: &[Rc<dyn Row>], size: bool, exposure: bool, width: usize) -> Outcome<String> {
    let mut table = String::new();
    for most in (0..=5).rev() {
        let columns = FITTING.iter().filter(|(name, rank)| match *name {
            "Size" => size,
            "Ports" if exposure => true,
            _ => *rank <= most,
        });
        let columns: Vec<String> = columns.map(|(name, _)| format!("{{{{.{name}}}}}")).collect();
        table = list::render(&LISTING, &format!("table {}", columns.join("\\t")), rows.iter().cloned())?;
        if table.lines().all(|line| line.trim_end().chars().count() <= width) {
            return Ok(table.lines().map(|line| format!("{}\n", line.trim_end())).collect());
        }
    }
    Ok(table.lines().map(|line| format!("{}\n", ellipsis(line.trim_end(), width))).collect())
}

const RAW: &str = "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\nlabels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_fit() {
        let line = || {
            let container = Summary {
                id: "0123456789abcdef".to_owned(),
                names: Some(vec!["/a-service-with-a-long-name".to_owned()]),
                image: "registry.example.com/team/app".to_owned(),
                command: "/usr/bin/something --long".to_owned(),
                status: "Up 2 hours (healthy)".to_owned(),
                ports: Some(vec![Port::new("0.0.0.0", 8080, 80, "tcp")]),
                ..Summary::default()
            };
            vec![Rc::new(Line { container, trunc: true, exposure: false, now: 60.0 }) as Rc<dyn Row>]
        };
        for (width, head) in [
            (
                200,
                "CONTAINER ID   IMAGE                           COMMAND                  CREATED              STATUS                 PORTS                  NAMES",
            ),
            (
                150,
                "CONTAINER ID   IMAGE                           CREATED              STATUS                 PORTS                  NAMES",
            ),
            (125, "CONTAINER ID   IMAGE                           STATUS                 PORTS                  NAMES"),
            (90, "CONTAINER ID   STATUS                 PORTS                  NAMES"),
            (70, "CONTAINER ID   STATUS                 NAMES"),
            (50, "CONTAINER ID   NAMES"),
            (20, "CONTAINER ID   NAMES"),
        ] {
            let text = fitting(&line(), false, false, width).expect("no template of the user's");
            assert_eq!(text.lines().next(), Some(head), "{width}");
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}: {text}");
        }
    }
}
