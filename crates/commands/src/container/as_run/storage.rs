//! Mounts, volumes and what else a container has of files.

use serde_json::Value;

use super::{Words, csv, object};

pub(super) fn storage(out: &mut Words, config: &Value, host: &Value, base: &Value) -> Result<(), String> {
    out.truth("read-only", &host["ReadonlyRootfs"]);
    out.list("volume", &host["Binds"]);
    for (path, _) in object(&config["Volumes"]).filter(|(path, _)| base["Volumes"].get(path).is_none()) {
        out.value("volume", path);
    }
    out.field("volume-driver", &host["VolumeDriver"]);
    out.list("volumes-from", &host["VolumesFrom"]);
    for (path, options) in object(&host["Tmpfs"]) {
        match options.as_str().unwrap_or_default() {
            "" => out.value("tmpfs", path),
            options => out.value("tmpfs", &format!("{path}:{options}")),
        }
    }
    out.map("storage-opt", &host["StorageOpt"], &Value::Null);
    for mount in host["Mounts"].as_array().into_iter().flatten() {
        out.value("mount", &mount_words(mount)?);
    }
    if host["DeviceRequests"].as_array().is_some_and(|requests| !requests.is_empty()) {
        return Err("the container has device requests, which --as run does not write".to_owned());
    }
    Ok(())
}

/// A mount in the notation of `--mount`.
fn mount_words(mount: &Value) -> Result<String, String> {
    let mut fields = Vec::new();
    let mut field = |key: &str, value: &Value| {
        if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
            fields.push(format!("{key}={text}"));
        }
    };
    field("type", &mount["Type"]);
    field("source", &mount["Source"]);
    field("target", &mount["Target"]);
    field("consistency", &mount["Consistency"]);
    field("bind-propagation", &mount["BindOptions"]["Propagation"]);
    field("volume-subpath", &mount["VolumeOptions"]["Subpath"]);
    field("image-subpath", &mount["ImageOptions"]["Subpath"]);
    field("volume-driver", &mount["VolumeOptions"]["DriverConfig"]["Name"]);
    if mount["ReadOnly"] == true {
        fields.push("readonly".to_owned());
    }
    if mount["VolumeOptions"]["NoCopy"] == true {
        fields.push("volume-nocopy".to_owned());
    }
    for (flag, values) in [
        ("volume-label", &mount["VolumeOptions"]["Labels"]),
        ("volume-opt", &mount["VolumeOptions"]["DriverConfig"]["Options"]),
    ] {
        for (key, value) in object(values) {
            fields.push(format!("{flag}={key}={}", value.as_str().unwrap_or_default()));
        }
    }
    if let Some(size) = mount["TmpfsOptions"]["SizeBytes"].as_i64().filter(|size| *size != 0) {
        fields.push(format!("tmpfs-size={size}"));
    }
    if let Some(mode) = mount["TmpfsOptions"]["Mode"].as_u64().filter(|mode| *mode != 0) {
        fields.push(format!("tmpfs-mode={mode:o}"));
    }
    for (key, text) in [
        ("NonRecursive", "bind-recursive=disabled"),
        ("ReadOnlyNonRecursive", "bind-recursive=writable"),
        ("ReadOnlyForceRecursive", "bind-recursive=readonly"),
        ("CreateMountpoint", "bind-create-src"),
    ] {
        if mount["BindOptions"][key] == true {
            fields.push(text.to_owned());
        }
    }
    for (group, key) in [("BindOptions", "IDMapping"), ("TmpfsOptions", "Options")] {
        if !mount[group][key].is_null() {
            return Err(format!("the mount at {} has {key}, which --as run does not write", mount["Target"]));
        }
    }
    Ok(csv(fields))
}
