//! What the prune commands share: kinds of things, and the list of what went.

use client::{Client, Request};
use serde_json::Value as Json;

use crate::cli::Parsed;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::human;
use crate::options::filters;
use crate::terminal::prompt;

/// A kind of thing that can be pruned.
#[derive(PartialEq, Eq)]
pub(crate) struct Pruned {
    path: &'static str,
    /// Of the answer.
    field: &'static str,
    title: &'static str,
}

const fn kind(path: &'static str, field: &'static str, title: &'static str) -> Pruned {
    Pruned { path, field, title }
}

pub(crate) const CONTAINERS: Pruned = kind("/containers/prune", "ContainersDeleted", "Deleted Containers");
pub(crate) const NETWORKS: Pruned = kind("/networks/prune", "NetworksDeleted", "Deleted Networks");
pub(crate) const VOLUMES: Pruned = kind("/volumes/prune", "VolumesDeleted", "Deleted Volumes");
pub(crate) const IMAGES: Pruned = kind("/images/prune", "ImagesDeleted", "Deleted Images");
pub(crate) const BUILD_CACHE: Pruned = kind("/build/prune", "CachesDeleted", "Deleted build cache objects");

impl Pruned {
    /// The request, without options.
    pub fn request(&self) -> Request<'static> {
        Request::post(self.path)
    }

    /// Prunes; what went, as text, and the bytes that came of it.
    pub fn send(&self, client: &Client, request: Request<'_>) -> Result<(String, u64), Failure> {
        let report: Json = client.send(request)?.json()?;
        let items = report[self.field].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut text = String::new();
        if !items.is_empty() {
            text.push_str(&format!("{}:\n", self.title));
            items.iter().for_each(|item| text.push_str(&format!("{}\n", shown(item))));
            text.push('\n');
        }
        Ok((text, report["SpaceReclaimed"].as_u64().unwrap_or(0)))
    }
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

/// What `--filter` says and `pruneFilters` of the configuration adds. Where the two say opposite things of a label, the
/// command line is right.
pub(crate) fn wanted<'a>(context: &'a Context, parsed: &'a Parsed) -> Vec<&'a str> {
    let mut wanted = parsed.list("filter");
    for filter in &context.config().prune_filters {
        let opposite = match filter.split_once('=') {
            Some(("label", value)) => format!("label!={value}"),
            Some(("label!", value)) => format!("label={value}"),
            Some(_) => String::new(),
            None => continue,
        };
        if !wanted.contains(&opposite.as_str()) {
            wanted.push(filter);
        }
    }
    wanted
}

/// The whole of a prune that has no options but `--filter` and `--force`: the report.
pub(crate) fn plainly(
    context: &Context,
    parsed: &Parsed,
    kind: &Pruned,
    warning: &str,
) -> Outcome<Option<(String, u64)>> {
    if !parsed.bool("force") && !prompt::confirm(warning)? {
        return Ok(None);
    }
    let request = kind.request().query_some("filters", filters::encode(wanted(context, parsed)));
    kind.send(context.client()?, request).map(Some)
}

/// The last line.
pub(crate) fn total(bytes: u64) -> String {
    format!("Total reclaimed space: {}\n", human::size(bytes as f64, 4))
}
