//! Commands about images: one file per verb.

pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod load;
pub(crate) mod log;
pub(crate) mod pin;
pub(crate) mod plan;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod remove;
pub(crate) mod rollback;
pub(crate) mod save;
pub(crate) mod tag;
mod tree;

use client::path_escape;
use serde_json::json;

use crate::failure::{Failure, Outcome};

/// Path of an image's route.
pub(crate) fn route(name: &str, tail: &str) -> String {
    format!("/images/{}{tail}", path_escape(name))
}

/// A platform as the API takes it in queries.
pub(crate) fn platform_json(text: &str) -> Outcome<String> {
    let platform: oci::Platform = text.parse().map_err(|e| Failure::new(format!("invalid platform: {e}")))?;
    let mut body = json!({ "architecture": platform.architecture, "os": platform.os });
    if !platform.variant.is_empty() {
        body["variant"] = json!(platform.variant);
    }
    Ok(body.to_string())
}
