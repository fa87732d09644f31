//! Images before 1.44 and 1.50.

use crate::version::Version;
use serde_json::{Value, json};

/// Before 1.44 the size was there twice.
pub(super) fn list(_: Version, document: &mut Value) {
    for image in document.as_array_mut().into_iter().flatten() {
        virtual_size(image);
    }
}

/// Before 1.50 the image's configuration had all members of a container's.
pub(super) fn inspect(version: Version, document: &mut Value) {
    if version < Version(1, 44) {
        virtual_size(document);
    }
    let Some(config) = document.get_mut("Config").and_then(Value::as_object_mut) else { return };
    let defaults = json!({
        "Hostname": "", "Domainname": "", "User": "", "AttachStdin": false, "AttachStdout": false, "AttachStderr": false,
        "Tty": false, "OpenStdin": false, "StdinOnce": false, "Env": null, "Cmd": null, "Image": "", "Volumes": null,
        "WorkingDir": "", "Entrypoint": null, "OnBuild": null, "Labels": null,
    });
    if let Value::Object(defaults) = defaults {
        for (key, value) in defaults {
            config.entry(key).or_insert(value);
        }
    }
}

fn virtual_size(image: &mut Value) {
    if let (Some(size), Some(members)) = (image.get("Size").cloned(), image.as_object_mut()) {
        members.insert("VirtualSize".to_owned(), size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_shapes() {
        let mut images = json!([{ "Size": 5 }]);
        list(Version(1, 40), &mut images);
        assert_eq!(images, json!([{ "Size": 5, "VirtualSize": 5 }]));
        let mut image = json!({ "Size": 5, "Config": { "Cmd": ["sh"] } });
        inspect(Version(1, 45), &mut image);
        assert_eq!(image["Config"]["Cmd"], json!(["sh"]));
        assert_eq!(image["Config"]["Entrypoint"], Value::Null);
        assert_eq!(image["Config"]["Tty"], json!(false));
        assert!(image.get("VirtualSize").is_none());
    }
}
