//! Containers before 1.45 and 1.46.

use crate::version::Version;
use serde_json::{Value, json};

/// Before 1.46 the list said nothing of annotations.
pub(super) fn list(_: Version, document: &mut Value) {
    for container in document.as_array_mut().into_iter().flatten() {
        if let Some(host) = container.get_mut("HostConfig").and_then(Value::as_object_mut) {
            host.remove("Annotations");
        }
    }
}

/// Before 1.45 the aliases in networks of users held the short id and the host name, which are `DNSNames` since.
pub(super) fn inspect(_: Version, document: &mut Value) {
    let short = document["Id"].as_str().unwrap_or_default().chars().take(12).collect::<String>();
    let hostname = document["Config"]["Hostname"].clone();
    let networks = document.pointer_mut("/NetworkSettings/Networks").and_then(Value::as_object_mut);
    for (name, endpoint) in networks.into_iter().flatten() {
        if matches!(name.as_str(), "bridge" | "host" | "none" | "default") {
            continue;
        }
        let mut aliases = endpoint["Aliases"].as_array().cloned().unwrap_or_default();
        for alias in [json!(short), hostname.clone()] {
            if !aliases.contains(&alias) {
                aliases.push(alias);
            }
        }
        endpoint["Aliases"] = Value::Array(aliases);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_shapes() {
        let mut all = json!([{ "HostConfig": { "NetworkMode": "host", "Annotations": { "a": "b" } } }, {}]);
        list(Version(1, 45), &mut all);
        assert_eq!(all, json!([{ "HostConfig": { "NetworkMode": "host" } }, {}]));
        let mut container = json!({
            "Id": "0123456789abcdef", "Config": { "Hostname": "0123456789ab" },
            "NetworkSettings": { "Networks": { "bridge": { "Aliases": null }, "back": { "Aliases": ["db"] }, "x": { "Aliases": null } } },
        });
        inspect(Version(1, 44), &mut container);
        let networks = &container["NetworkSettings"]["Networks"];
        assert_eq!(networks["bridge"]["Aliases"], Value::Null);
        assert_eq!(networks["back"]["Aliases"], json!(["db", "0123456789ab"]));
        assert_eq!(networks["x"]["Aliases"], json!(["0123456789ab"]));
    }
}
