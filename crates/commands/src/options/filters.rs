//! `--filter` values to the query parameter.

use serde_json::{Map, Value};

/// `{"status":{"running":true}}`, or nothing when there are none.
pub(crate) fn encode<'a>(filters: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut out: Map<String, Value> = Map::new();
    for filter in filters {
        if let Some((name, value)) = filter.split_once('=') {
            let values = out.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if let Some(values) = values.as_object_mut() {
                values.insert(value.to_owned(), Value::Bool(true));
            }
        }
    }
    if out.is_empty() { None } else { Some(Value::Object(out).to_string()) }
}
