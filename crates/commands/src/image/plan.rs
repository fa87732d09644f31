//! What a prune would do, in words.

use client::{Client, Request};
use serde::Deserialize;

use crate::failure::Outcome;
use crate::human::{self, short_id};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Plan {
    remove: Vec<Planned>,
    keep: Vec<Planned>,
    space_reclaimed: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Planned {
    kind: String,
    id: String,
    names: Vec<String>,
    size: u64,
    reason: String,
}

impl Planned {
    fn line(&self) -> String {
        let names = if self.names.is_empty() { String::new() } else { format!(" ({})", self.names.join(", ")) };
        let size = human::size(self.size as f64, 3);
        format!("  {} {}{names}, {size}: {}\n", self.kind, short_id(&self.id), self.reason)
    }
}

/// Asks the daemon what `image prune` with these filters would do; the answer as text, and the bytes.
pub(crate) fn describe(client: &Client, filters: Option<String>) -> Outcome<(String, u64)> {
    let request = Request::get("/hoist/images/prune").query_some("filters", filters);
    let plan: Plan = client.send(request)?.json()?;
    let mut text = String::new();
    for (title, rows) in [("Would remove:\n", &plan.remove), ("Would keep:\n", &plan.keep)] {
        if !rows.is_empty() {
            text.push_str(title);
            rows.iter().for_each(|row| text.push_str(&row.line()));
            text.push('\n');
        }
    }
    Ok((text, plan.space_reclaimed))
}
