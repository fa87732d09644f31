//! `system prune`: what nothing uses, kind by kind; with `--dry-run`, what that would be.

use client::{Client, Request};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::cli::{Args, Command, Kind, Parsed, flag, hidden};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::human;
use crate::image::plan;
use crate::options::filters;
use crate::out;
use crate::terminal::prompt;

/// Table of `system prune`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["system prune"],
    usage: "[OPTIONS]",
    about: "Remove unused data",
    flags: &[
        flag("all", 'a', Kind::Bool(false), "Remove all unused images not just dangling ones"),
        flag("filter", '\0', Kind::FILTER, "Provide filter values (e.g. \"label=<key>=<value>\")"),
        flag("force", 'f', Kind::Bool(false), "Do not prompt for confirmation"),
        flag("volumes", '\0', Kind::Bool(false), "Prune anonymous volumes"),
        hidden("dry-run", Kind::Bool(false)),
    ],
    args: Args::None,
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let wanted = parsed.list("filter");
    let (all, volumes) = (parsed.bool("all"), parsed.bool("volumes"));
    if volumes && wanted.iter().any(|filter| filter.starts_with("until=")) {
        return Err(Failure::new("ERROR: The \"until\" filter is not supported with \"--volumes\""));
    }
    if parsed.bool("dry-run") {
        if wanted.iter().any(|filter| filter.starts_with("until=")) {
            return Err(Failure::new("ERROR: The \"until\" filter is not supported with \"--dry-run\""));
        }
        return dry_run(context.client()?, &wanted, all, volumes);
    }
    if !parsed.bool("force") && !prompt::confirm(&warning(&wanted, all, volumes))? {
        return Ok(());
    }
    let client = context.client()?;
    let mut text = String::new();
    let mut freed = 0;
    for kind in kinds(volumes) {
        let extra = (kind.path == "/images/prune").then_some(if all { "dangling=false" } else { "dangling=true" });
        let filters = filters::encode(wanted.iter().copied().chain(extra));
        let mut request = Request::post(kind.path).query_some("filters", filters);
        if kind.path == "/build/prune" {
            request = request.query_if("all", all);
        }
        let report: Json = client.send(request)?.json()?;
        let items = report[kind.field].as_array().map(Vec::as_slice).unwrap_or_default();
        if !items.is_empty() {
            text.push_str(&format!("{}:\n", kind.title));
            items.iter().for_each(|item| text.push_str(&format!("{}\n", shown(item))));
            text.push('\n');
        }
        freed += report["SpaceReclaimed"].as_u64().unwrap_or(0);
    }
    text.push_str(&format!("Total reclaimed space: {}\n", human::size(freed as f64, 4)));
    out::text(&text)
}

/// A kind of thing: its route, the field of the answer, and the title of the list.
struct Pruned {
    path: &'static str,
    field: &'static str,
    title: &'static str,
}

fn kinds(volumes: bool) -> impl Iterator<Item = Pruned> {
    const KINDS: [(&str, &str, &str); 5] = [
        ("/containers/prune", "ContainersDeleted", "Deleted Containers"),
        ("/networks/prune", "NetworksDeleted", "Deleted Networks"),
        ("/volumes/prune", "VolumesDeleted", "Deleted Volumes"),
        ("/images/prune", "ImagesDeleted", "Deleted Images"),
        ("/build/prune", "CachesDeleted", "Deleted build cache objects"),
    ];
    KINDS
        .into_iter()
        .filter(move |(path, ..)| volumes || *path != "/volumes/prune")
        .map(|(path, field, title)| Pruned { path, field, title })
}

fn shown(item: &Json) -> String {
    match item {
        Json::String(text) => text.clone(),
        item => match (item["Untagged"].as_str(), item["Deleted"].as_str()) {
            (Some(name), _) => format!("untagged: {name}"),
            (None, id) => format!("deleted: {}", id.unwrap_or_default()),
        },
    }
}

fn warning(filters: &[&str], all: bool, volumes: bool) -> String {
    let mut text =
        "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n"
            .to_owned();
    if volumes {
        text.push_str("  - all anonymous volumes not used by at least one container\n");
    }
    text.push_str(match all {
        true => "  - all images without at least one container associated to them\n  - all build cache\n",
        false => "  - all dangling images\n  - unused build cache\n",
    });
    if !filters.is_empty() {
        text.push_str("\n  Items to be pruned will be filtered with:\n");
        filters.iter().for_each(|filter| text.push_str(&format!("  - {filter}\n")));
    }
    text.push_str("\nAre you sure you want to continue?");
    text
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    id: String,
    names: Option<Vec<String>>,
    status: String,
    #[serde(default)]
    size_rw: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Volume {
    name: String,
    labels: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Volumes {
    volumes: Option<Vec<Volume>>,
}

#[derive(Deserialize)]
struct Network {
    #[serde(rename = "Id")]
    id: String,
    #[serde(rename = "Name")]
    name: String,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(rename = "BuildCache")]
    build_cache: Option<Vec<Cached>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Cached {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    description: String,
    size: u64,
    shared: bool,
}

/// Looks at the same things as the prunes do, and changes nothing.
fn dry_run(client: &Client, wanted: &[&str], all: bool, volumes: bool) -> Outcome {
    let mut text = String::new();
    let mut freed = 0;
    let states = ["status=created", "status=exited", "status=dead"];
    let query = filters::encode(wanted.iter().copied().chain(states));
    let request = Request::get("/containers/json").query("all", "1").query("size", "1").query_some("filters", query);
    let containers: Vec<Container> = client.send(request)?.json()?;
    if !containers.is_empty() {
        text.push_str("Would remove containers:\n");
        for container in containers {
            let name = container
                .names
                .unwrap_or_default()
                .first()
                .map_or(String::new(), |name| format!(" ({})", name.trim_start_matches('/')));
            let (id, size) = (human::short_id(&container.id).to_owned(), human::size(container.size_rw as f64, 3));
            text.push_str(&format!("  container {id}{name}, {size}: not running ({})\n", container.status));
            freed += container.size_rw;
        }
        text.push('\n');
    }
    let query = filters::encode(wanted.iter().copied().chain(["dangling=true", "type=custom"]));
    let networks: Vec<Network> = client.send(Request::get("/networks").query_some("filters", query))?.json()?;
    if !networks.is_empty() {
        text.push_str("Would remove networks:\n");
        for network in networks {
            let id = human::short_id(&network.id);
            text.push_str(&format!("  network {id} ({}): no container uses it\n", network.name));
        }
        text.push('\n');
    }
    if volumes {
        let query = filters::encode(wanted.iter().copied().chain(["dangling=true"]));
        let found: Volumes = client.send(Request::get("/volumes").query_some("filters", query))?.json()?;
        let anonymous = |volume: &Volume| {
            volume.labels.as_ref().is_some_and(|labels| labels.contains_key("com.docker.volume.anonymous"))
        };
        let found: Vec<_> = found.volumes.unwrap_or_default().into_iter().filter(anonymous).collect();
        if !found.is_empty() {
            text.push_str("Would remove volumes:\n");
            for volume in found {
                text.push_str(&format!("  volume {}: anonymous, and no container uses it\n", volume.name));
            }
            text.push('\n');
        }
    }
    let query = filters::encode(wanted.iter().copied().chain([if all { "dangling=false" } else { "dangling=true" }]));
    let (images, bytes) = plan::describe(client, query)?;
    text.push_str(&images);
    let usage: Usage = client.send(Request::get("/system/df").query("type", "build-cache"))?.json()?;
    let cached: Vec<Cached> = usage.build_cache.into_iter().flatten().filter(|cached| all || !cached.shared).collect();
    if !cached.is_empty() {
        text.push_str("Would remove build cache:\n");
        for Cached { id, size, description, .. } in &cached {
            let description = description.lines().next().unwrap_or_default();
            text.push_str(&format!(
                "  step {}, {}: {description}\n",
                human::short_id(id),
                human::size(*size as f64, 3)
            ));
        }
        text.push('\n');
    }
    freed += cached.iter().map(|cached| cached.size).sum::<u64>();
    text.push_str(&format!("Space that would be reclaimed: {}\n", human::size((freed + bytes) as f64, 4)));
    out::text(&text)
}
