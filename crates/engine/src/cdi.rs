//! Devices of the Container Device Interface: what vendors say has to be done to a container that gets one of theirs.
//!
//! ```text
//!  /etc/cdi/*.json, /var/run/cdi/*.json ── known ──▶ vendor/class=name: nodes, mounts, environment, groups
//! ```
//! The second directory is for what comes and goes with the machine's state, and counts more than the first. Files that
//! are no specification are left out with a warning, as are those in YAML.
//!
//! Source: <https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md>

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::{Error, Kind, Result};

/// Where specifications are, the least important first.
pub const DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// The largest specification, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// A device and what comes with it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// `vendor/class=name`
    pub name: String,
    /// Of the specification and of the device.
    pub annotations: BTreeMap<String, String>,
    /// What is done to a container.
    pub edits: Edits,
}

/// `containerEdits`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the specification's names")]
pub struct Edits {
    pub env: Vec<String>,
    pub device_nodes: Vec<Node>,
    pub mounts: Vec<Mount>,
    #[serde(rename = "additionalGids")]
    pub additional_gids: Vec<u32>,
    hooks: Vec<Value>,
    intel_rdt: Option<Value>,
    net_devices: Vec<Value>,
}

/// `deviceNodes`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the specification's names")]
pub struct Node {
    pub path: String,
    pub host_path: String,
    /// Of `rwm`; empty for all.
    pub permissions: String,
    pub file_mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

/// `mounts`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the specification's names")]
pub struct Mount {
    pub host_path: String,
    pub container_path: String,
    pub options: Vec<String>,
    #[serde(rename = "type")]
    pub kind: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Specification {
    cdi_version: String,
    kind: String,
    annotations: BTreeMap<String, String>,
    devices: Vec<Device>,
    container_edits: Edits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Device {
    name: String,
    annotations: BTreeMap<String, String>,
    container_edits: Edits,
}

/// All devices of these directories, by name.
#[must_use]
pub fn known(directories: &[impl AsRef<Path>]) -> Vec<Known> {
    let mut known = BTreeMap::new();
    for directory in directories {
        let mut files: Vec<_> =
            fs::read_dir(directory).into_iter().flatten().flatten().map(|file| file.path()).collect();
        files.sort();
        for path in files {
            let read = match path.extension().and_then(|extension| extension.to_str()) {
                Some("json") => read(&path),
                Some("yaml" | "yml") => Err("specifications in YAML are not read".to_owned()),
                _ => continue,
            };
            match read.and_then(|text| parse(&text)) {
                Ok(devices) => known.extend(devices.into_iter().map(|device| (device.name.clone(), device))),
                Err(error) => tracing::warn!(path = %path.display(), error, "a specification of devices is left out"),
            }
        }
    }
    known.into_values().collect()
}

fn read(path: &Path) -> std::result::Result<String, String> {
    use std::io::Read;
    let mut text = String::new();
    let file = fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text));
    match file {
        Ok(length) if length as u64 > MAX_BYTES => Err("it is too large".to_owned()),
        Ok(_) => Ok(text),
        Err(error) => Err(error.to_string()),
    }
}

fn parse(text: &str) -> std::result::Result<Vec<Known>, String> {
    let specification: Specification = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let plain = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c))
    };
    let kind = &specification.kind;
    if specification.cdi_version.is_empty() {
        return Err("it has no cdiVersion".to_owned());
    }
    if !kind.split_once('/').is_some_and(|(vendor, class)| plain(vendor) && plain(class)) {
        return Err(format!("invalid kind {kind:?}"));
    }
    let mut known = Vec::new();
    for device in specification.devices {
        if !plain(&device.name) {
            return Err(format!("invalid device name {:?}", device.name));
        }
        let mut edits = specification.container_edits.clone();
        let own = device.container_edits;
        edits.env.extend(own.env);
        edits.device_nodes.extend(own.device_nodes);
        edits.mounts.extend(own.mounts);
        edits.additional_gids.extend(own.additional_gids);
        edits.hooks.extend(own.hooks);
        edits.net_devices.extend(own.net_devices);
        edits.intel_rdt = own.intel_rdt.or(edits.intel_rdt);
        let mut annotations = specification.annotations.clone();
        annotations.extend(device.annotations);
        known.push(Known { name: format!("{kind}={}", device.name), annotations, edits });
    }
    Ok(known)
}

/// Whether an annotation says yes.
#[must_use]
pub fn is_true(value: &str) -> bool {
    ["1", "t", "T", "true", "TRUE", "True"].contains(&value)
}

impl Known {
    /// Refuses by name what is not done here.
    pub fn check(&self) -> Result<()> {
        const OPTIONS: [&str; 7] = ["ro", "rw", "bind", "rbind", "private", "rprivate", "nodev"];
        let edits = &self.edits;
        let mounted = |mount: &Mount| {
            let kind = (!["", "bind", "none"].contains(&mount.kind.as_str()))
                .then(|| format!("a mount of type {}", mount.kind));
            let option = mount.options.iter().find(|option| !OPTIONS.contains(&option.as_str()));
            kind.or_else(|| option.map(|option| format!("the mount option {option}")))
        };
        let what = match () {
            () if !edits.hooks.is_empty() => "hooks".to_owned(),
            () if edits.intel_rdt.is_some() => "intelRdt".to_owned(),
            () if !edits.net_devices.is_empty() => "netDevices".to_owned(),
            () => match edits.mounts.iter().find_map(mounted) {
                Some(what) => what,
                None => return Ok(()),
            },
        };
        let text = format!("{what} of the device {} is not supported", self.name);
        Err(Error::new(Kind::NotImplemented, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"cdiVersion": "0.6.0", "kind": "vendor.com/class", "annotations": {"a": "1", "b": "1"},
        "containerEdits": {"env": ["ALL=1"]},
        "devices": [
            {"name": "one", "annotations": {"b": "2"}, "containerEdits": {"env": ["ONE=1"],
                "deviceNodes": [{"path": "/dev/x", "hostPath": "/dev/null", "permissions": "rw", "uid": 5}],
                "mounts": [{"hostPath": "/a", "containerPath": "/b", "options": ["ro", "bind"]}],
                "additionalGids": [7]}},
            {"name": "two", "containerEdits": {"hooks": [{"hookName": "createContainer", "path": "/x"}]}}
        ]}"#;

    #[test]
    fn what_specifications_say() {
        let known = parse(TEXT).unwrap();
        let one = &known[0];
        assert_eq!(one.name, "vendor.com/class=one");
        assert_eq!((one.annotations["a"].as_str(), one.annotations["b"].as_str()), ("1", "2"));
        assert_eq!(one.edits.env, ["ALL=1", "ONE=1"]);
        assert_eq!((one.edits.device_nodes[0].uid, one.edits.additional_gids[0]), (Some(5), 7));
        assert!(one.check().is_ok());
        assert!(known[1].check().unwrap_err().full_text().contains("hooks of the device vendor.com/class=two"));
        for text in ["", "{}", r#"{"cdiVersion": "0.6.0", "kind": "x"}"#, r#"{"kind": "a/b", "devices": []}"#] {
            assert!(parse(text).is_err(), "{text}");
        }
        let bad = r#"{"cdiVersion": "0.6.0", "kind": "a/b", "devices": [{"name": "../x"}]}"#;
        assert_eq!(parse(bad), Err("invalid device name \"../x\"".to_owned()));
    }
}
