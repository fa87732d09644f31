//! `system prune`: what nothing uses, kind by kind; with `--dry-run`, what that would be.

use client::{Client, Request};
use serde::Deserialize;

use crate::cli::{Args, Command, Kind, Parsed, flag, hidden};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::human;
use crate::image::plan;
use crate::options::filters;
use crate::out;
use crate::prune::{BUILD_CACHE, CONTAINERS, IMAGES, NETWORKS, VOLUMES, total, wanted};
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
    let wanted = wanted(context, parsed);
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
    for kind in [CONTAINERS, NETWORKS, VOLUMES, IMAGES, BUILD_CACHE] {
        if kind == VOLUMES && !volumes {
            continue;
        }
        let extra = (kind == IMAGES).then_some(if all { "dangling=false" } else { "dangling=true" });
        let filters = filters::encode(wanted.iter().copied().chain(extra));
        let request = kind.request().query_some("filters", filters).query_if("all", all && kind == BUILD_CACHE);
        let (gone, bytes) = kind.send(client, request)?;
        text.push_str(&gone);
        freed += bytes;
    }
    text.push_str(&total(freed));
    out::text(&text)
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
