//! `--gpus`.

use serde_json::{Value, json};

use super::{csv, kvfile};

fn count(text: &str) -> Result<i64, String> {
    if text == "all" {
        return Ok(-1);
    }
    text.parse()
        .map_err(|_| format!("invalid count ({text}): value must be either \"all\" or an integer: invalid syntax"))
}

/// A device request as the API takes it.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let (mut driver, mut number, mut ids) = (String::new(), None, Value::Null);
    let mut capabilities = json!([["gpu"]]);
    let mut options = json!({});
    let mut seen: Vec<String> = Vec::new();
    for field in csv::split(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field.as_str(), None),
        };
        if seen.iter().any(|s| s == key) {
            return Err(format!("gpu request key '{key}' can be specified only once"));
        }
        seen.push(key.to_owned());
        match (key, value) {
            (all, None) => number = Some(count(all)?),
            ("driver", Some(value)) => driver = value.to_owned(),
            ("count", Some(value)) => number = Some(count(value)?),
            ("device", Some(value)) => ids = value.split(',').collect(),
            ("capabilities", Some(value)) => {
                let list: Vec<&str> = value.split(',').chain(["gpu"]).collect();
                capabilities = json!([list]);
            }
            ("options", Some(value)) => {
                let fields = csv::split(value).map_err(|e| format!("failed to read gpu options: {e}"))?;
                options = kvfile::to_map(fields.iter().map(String::as_str)).into();
            }
            (_, Some(_)) => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    let number = number.unwrap_or(if ids.is_null() { 1 } else { 0 });
    Ok(json!({ "Driver": driver, "Count": number, "DeviceIDs": ids, "Capabilities": capabilities, "Options": options }))
}
