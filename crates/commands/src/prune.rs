//! What the prune commands share: kinds of things, and the list of what went.

use client::{Client, Request};
use serde_json::Value as Json;

use crate::failure::Failure;
use crate::human;

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

/// The last line.
pub(crate) fn total(bytes: u64) -> String {
    format!("Total reclaimed space: {}\n", human::size(bytes as f64, 4))
}
