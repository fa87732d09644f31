//! Commands about the daemon: one file per verb.

pub(crate) mod df;
pub(crate) mod dial;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod fsck;
pub(crate) mod info;
pub(crate) mod prune;
pub(crate) mod verify;
pub(crate) mod version;

use crate::failure::{Failure, Outcome};
use crate::template::{Mode, Template, Value};

/// Runs a template over a document of ours; status 64 for a bad template.
pub(crate) fn through_template(format: &str, document: &serde_json::Value) -> Outcome<String> {
    let text = if format == "json" { "{{json .}}" } else { format };
    let template = Template::parse(text).map_err(|why| Failure::code(64, format!("template parsing error: {why}")))?;
    let data = Value::from_json(document.to_string().as_bytes()).map_err(|e| Failure::new(e.to_string()))?;
    template.run(data.with_structs(), Mode::Document).map_err(Failure::new)
}
