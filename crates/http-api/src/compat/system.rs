//! `GET /info` before 1.50, 1.49, 1.48 and 1.25.

use crate::version::Version;
use serde_json::{Value, json};

pub(super) fn info(version: Version, document: &mut Value) {
    let Some(members) = document.as_object_mut() else { return };
    let mut put = |name: &str, value: Value| drop(members.insert(name.to_owned(), value));
    // They were always there, and false since 28.2.
    put("BridgeNfIptables", json!(false));
    put("BridgeNfIp6tables", json!(false));
    if version < Version(1, 49) {
        members.remove("FirewallBackend");
        for name in ["ContainerdCommit", "RuncCommit", "InitCommit"] {
            if let Some(commit) = members.get_mut(name) {
                commit["Expected"] = commit["ID"].clone();
            }
        }
    }
    if version < Version(1, 48)
        && let Some(registries) = members.get_mut("RegistryConfig")
    {
        registries["AllowNondistributableArtifactsCIDRs"] = Value::Null;
        registries["AllowNondistributableArtifactsHostnames"] = Value::Null;
    }
    if version < Version(1, 25) {
        members.insert("ExecutionDriver".to_owned(), json!("<not supported>"));
        for option in members.get_mut("SecurityOptions").and_then(Value::as_array_mut).into_iter().flatten() {
            let text = option.as_str().unwrap_or_default();
            let name = text.split(',').find_map(|part| part.strip_prefix("name=")).unwrap_or(text);
            *option = json!(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_shapes() {
        let newest = json!({
            "FirewallBackend": { "Driver": "nftables" }, "RuncCommit": { "ID": "a" }, "RegistryConfig": {},
            "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
        });
        let lowered = |minor| {
            let mut document = newest.clone();
            info(Version(1, minor), &mut document);
            document
        };
        let at = lowered(49);
        assert_eq!((&at["BridgeNfIptables"], &at["RuncCommit"]), (&json!(false), &json!({ "ID": "a" })));
        assert!(at.get("FirewallBackend").is_some());
        let at = lowered(48);
        assert_eq!(at["RuncCommit"], json!({ "ID": "a", "Expected": "a" }));
        assert!(at.get("FirewallBackend").is_none() && at["RegistryConfig"] == json!({}));
        assert_eq!(lowered(47)["RegistryConfig"].as_object().map(serde_json::Map::len), Some(2));
        let at = lowered(24);
        assert_eq!(at["SecurityOptions"], json!(["seccomp", "cgroupns"]));
        assert_eq!(at["ExecutionDriver"], json!("<not supported>"));
        assert_eq!(lowered(25)["SecurityOptions"], newest["SecurityOptions"]);
    }
}
