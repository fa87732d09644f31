//! `--mount`.

use serde_json::{Map, Value, json};

use super::csv;
use crate::cli::parse::parse_bool;
use crate::human::parse_size;

/// The option groups of a mount, each only for one type.
#[derive(Default)]
struct Groups {
    volume: Option<Map<String, Value>>,
    image: Option<Map<String, Value>>,
    bind: Option<Map<String, Value>>,
    tmpfs: Option<Map<String, Value>>,
}

impl Groups {
    fn bind(&mut self, key: &str, value: impl Into<Value>) {
        self.bind.get_or_insert_default().insert(key.to_owned(), value.into());
    }
    fn tmpfs(&mut self, key: &str, value: impl Into<Value>) {
        self.tmpfs.get_or_insert_default().insert(key.to_owned(), value.into());
    }
    fn volume(&mut self) -> &mut Map<String, Value> {
        self.volume.get_or_insert_with(|| {
            let mut map = Map::new();
            map.insert("DriverConfig".to_owned(), json!({}));
            map
        })
    }
    /// Sets `name=value` in an inner map, `DriverConfig.Options` or `Labels`.
    fn volume_pair(&mut self, path: &[&str], pair: &str) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let mut at = self.volume();
        for step in path {
            let inner = at.entry(*step).or_insert_with(|| json!({}));
            match inner.as_object_mut() {
                Some(map) => at = map,
                None => return,
            }
        }
        if !key.is_empty() {
            at.insert(key.to_owned(), value.into());
        }
    }
}

fn truth(key: &str, value: &str) -> Result<bool, String> {
    parse_bool(value).ok_or_else(|| format!("invalid value for {key}: {value}"))
}

/// Whose files they are in the container: `match-user`, `match-user:USER` and `userns` as Docker's draft has them, and
/// `uids=SOURCE-CONTAINER-COUNT#…;gids=…`.
fn id_mapping(text: &str) -> Result<Value, String> {
    let invalid = || format!("invalid value for idmap: {text}");
    match text.split_once(':').unwrap_or((text, "")) {
        ("match-user", "") => return Ok(json!({ "Source": "match-user" })),
        ("match-user", user) => return Ok(json!({ "Source": "match-user", "User": user })),
        ("userns", "") => return Ok(json!({ "Source": "userns" })),
        _ => {}
    }
    let mut mapping = json!({ "Source": "explicit" });
    for part in text.split(';') {
        let (kind, ranges) = part.split_once('=').ok_or_else(invalid)?;
        let key = match kind {
            "uids" => "UIDMaps",
            "gids" => "GIDMaps",
            _ => return Err(invalid()),
        };
        let one = |range: &str| match range.split('-').map(str::parse::<u32>).collect::<Result<Vec<_>, _>>().as_deref()
        {
            Ok([source, inside, size]) => Ok(json!({ "HostID": source, "ContainerID": inside, "Size": size })),
            _ => Err(invalid()),
        };
        mapping[key] = ranges.split('#').map(one).collect::<Result<Vec<_>, _>>()?.into();
    }
    Ok(mapping)
}

/// A mount as the API takes it.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let mut mount = Map::new();
    let (mut kind, mut target, mut read_only) = ("volume".to_owned(), String::new(), false);
    let mut groups = Groups::default();
    for field in csv::split(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), value),
            None => {
                match field.to_lowercase().as_str() {
                    "readonly" | "ro" => read_only = true,
                    "volume-nocopy" => {
                        groups.volume().insert("NoCopy".to_owned(), true.into());
                    }
                    "bind-nonrecursive" => groups.bind("NonRecursive", true),
                    "map" | "idmap" | "bind-idmap" => groups.bind("IDMapping", id_mapping("match-user")?),
                    "bind-create-src" => groups.bind("CreateMountpoint", true),
                    _ => return Err(format!("invalid field '{field}' must be a key=value pair")),
                }
                continue;
            }
        };
        let invalid = || format!("invalid value for {key}: {value}");
        match key.as_str() {
            "type" => kind = value.to_lowercase(),
            "source" | "src" => {
                let source =
                    if value.starts_with('.') { super::volume::absolute_path(value) } else { value.to_owned() };
                mount.insert("Source".to_owned(), source.into());
            }
            "target" | "dst" | "destination" => target = value.to_owned(),
            "readonly" | "ro" => read_only = truth(&key, value)?,
            "consistency" => {
                mount.insert("Consistency".to_owned(), value.to_lowercase().into());
            }
            "bind-propagation" => groups.bind("Propagation", value.to_lowercase()),
            "bind-nonrecursive" => groups.bind("NonRecursive", truth(&key, value)?),
            "bind-recursive" => match value {
                "enabled" => {}
                "disabled" => groups.bind("NonRecursive", true),
                "writable" => groups.bind("ReadOnlyNonRecursive", true),
                "readonly" => groups.bind("ReadOnlyForceRecursive", true),
                _ => {
                    return Err(format!(
                        "invalid value for {key}: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
                    ));
                }
            },
            "map" | "idmap" | "bind-idmap" => groups.bind("IDMapping", id_mapping(value)?),
            "bind-create-src" => groups.bind("CreateMountpoint", truth(&key, value)?),
            "volume-subpath" => {
                groups.volume().insert("Subpath".to_owned(), value.into());
            }
            "volume-nocopy" => {
                let on = truth(&key, value)?;
                groups.volume().insert("NoCopy".to_owned(), on.into());
            }
            "volume-label" => groups.volume_pair(&["Labels"], value),
            "volume-driver" => groups.volume_pair(&["DriverConfig"], &format!("Name={value}")),
            "volume-opt" => groups.volume_pair(&["DriverConfig", "Options"], value),
            "image-subpath" => {
                groups.image.get_or_insert_default().insert("Subpath".to_owned(), value.into());
            }
            "tmpfs-size" => groups.tmpfs("SizeBytes", parse_size(value).map_err(|_| invalid())?),
            "tmpfs-mode" => groups.tmpfs("Mode", u32::from_str_radix(value, 8).map_err(|_| invalid())?),
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if kind.is_empty() {
        return Err("type is required".to_owned());
    }
    if target.is_empty() {
        return Err("target is required".to_owned());
    }
    finish(mount, &kind, &target, read_only, groups)
}

fn finish(
    mut mount: Map<String, Value>,
    kind: &str,
    target: &str,
    read_only: bool,
    groups: Groups,
) -> Result<Value, String> {
    for (name, group) in
        [("volume", &groups.volume), ("image", &groups.image), ("bind", &groups.bind), ("tmpfs", &groups.tmpfs)]
    {
        if group.is_some() && kind != name {
            return Err(format!("cannot mix '{name}-*' options with mount type '{kind}'"));
        }
    }
    if let Some(bind) = &groups.bind {
        for (key, word) in [("ReadOnlyNonRecursive", "writable"), ("ReadOnlyForceRecursive", "readonly")] {
            if bind.contains_key(key) && !read_only {
                return Err(format!(
                    "option 'bind-recursive={word}' requires 'readonly' to be specified in conjunction"
                ));
            }
        }
        if bind.contains_key("ReadOnlyForceRecursive") && bind.get("Propagation") != Some(&"rprivate".into()) {
            return Err(
                "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction"
                    .to_owned(),
            );
        }
    }
    mount.insert("Type".to_owned(), kind.into());
    mount.insert("Target".to_owned(), target.into());
    if read_only {
        mount.insert("ReadOnly".to_owned(), true.into());
    }
    for (name, group) in [
        ("VolumeOptions", groups.volume),
        ("ImageOptions", groups.image),
        ("BindOptions", groups.bind),
        ("TmpfsOptions", groups.tmpfs),
    ] {
        if let Some(mut group) = group {
            // Go leaves false, empty and zero members out.
            group.retain(|_, v| !matches!(v, Value::Bool(false)) && v != &json!("") && v != &json!(0));
            mount.insert(name.to_owned(), group.into());
        }
    }
    Ok(mount.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts() {
        for (text, expect) in [
            ("type=bind,src=/tmp,dst=/t,ro", json!({"Type":"bind","Source":"/tmp","Target":"/t","ReadOnly":true})),
            ("dst=/t", json!({"Type":"volume","Target":"/t"})),
            (
                "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770",
                json!({"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":1048576,"Mode":1016}}),
            ),
            (
                "type=bind,src=/a,dst=/b,bind-propagation=RSLAVE",
                json!({"Type":"bind","Source":"/a","Target":"/b","BindOptions":{"Propagation":"rslave"}}),
            ),
            (
                "type=bind,src=/a,dst=/b,map=match-user",
                json!({"Type":"bind","Source":"/a","Target":"/b","BindOptions":{"IDMapping":{"Source":"match-user"}}}),
            ),
            (
                "type=bind,src=/a,dst=/b,bind-idmap=match-user:33",
                json!({"Type":"bind","Source":"/a","Target":"/b",
                       "BindOptions":{"IDMapping":{"Source":"match-user","User":"33"}}}),
            ),
            (
                "type=bind,src=/a,dst=/b,idmap=uids=1000-0-1#5-6-2;gids=7-8-9",
                json!({"Type":"bind","Source":"/a","Target":"/b","BindOptions":{"IDMapping":{"Source":"explicit",
                    "UIDMaps":[{"HostID":1000,"ContainerID":0,"Size":1},{"HostID":5,"ContainerID":6,"Size":2}],
                    "GIDMaps":[{"HostID":7,"ContainerID":8,"Size":9}]}}}),
            ),
        ] {
            assert_eq!(parse(text).expect(text), expect);
        }
        for (text, why) in [
            ("type=bind", "target is required"),
            ("foo", "invalid field 'foo' must be a key=value pair"),
            ("dst=/x,foo=bar", "unexpected key 'foo' in 'foo=bar'"),
            ("type=bind,dst=/x,volume-nocopy", "cannot mix 'volume-*' options with mount type 'bind'"),
            ("dst=/x,ro=maybe", "invalid value for ro: maybe"),
            ("type=bind,src=/a,dst=/x,map=root", "invalid value for idmap: root"),
            ("type=bind,src=/a,dst=/x,idmap=uids=1-2", "invalid value for idmap: uids=1-2"),
            ("dst=/x,map", "cannot mix 'bind-*' options with mount type 'volume'"),
        ] {
            assert_eq!(parse(text).expect_err(text), why);
        }
    }
}
