//! `--device`.

use serde_json::{Value, json};

use super::volume::clean;

/// A device from the host, or a name of the container device interface.
pub(crate) enum Device {
    Path(Value),
    Cdi(String),
}

/// `vendor/class=name`.
fn is_cdi(text: &str) -> bool {
    let Some((kind, name)) = text.split_once('=') else { return false };
    let Some((vendor, class)) = kind.split_once('/') else { return false };
    let word = |w: &str, extra: &str| {
        w.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
            && w.bytes().all(|b| b.is_ascii_alphanumeric() || extra.as_bytes().contains(&b))
    };
    word(vendor, "_-.") && word(class, "_-.") && !name.is_empty() && !name.contains('/')
}

fn valid_mode(mode: &str) -> bool {
    !mode.is_empty()
        && mode.len() <= 3
        && mode.chars().enumerate().all(|(i, c)| "rwm".contains(c) && mode.find(c) == Some(i))
}

/// Parses one value for a Linux daemon.
pub(crate) fn parse(text: &str) -> Result<Device, String> {
    if is_cdi(text) {
        return Ok(Device::Cdi(text.to_owned()));
    }
    let parts: Vec<&str> = text.split(':').collect();
    let bad = || format!("bad format for path: {text}");
    let (source, target, mode) = match parts.as_slice() {
        [""] | ["", ..] => return Err(bad()),
        [path] => (clean(path), clean(path), "rwm"),
        [path, mode] if valid_mode(mode) => (clean(path), clean(path), *mode),
        [path, target] => ((*path).to_owned(), clean(target), "rwm"),
        [path, target, mode] => {
            if !valid_mode(mode) {
                return Err(format!("bad mode specified: {mode}"));
            }
            ((*path).to_owned(), (*target).to_owned(), *mode)
        }
        _ => return Err(bad()),
    };
    let shown = match parts.as_slice() {
        [path] => path,
        [path, mode] if valid_mode(mode) => path,
        [_, target, ..] => target,
        [] => "",
    };
    if !shown.starts_with('/') {
        return Err(format!("{shown} is not an absolute path"));
    }
    Ok(Device::Path(json!({ "PathOnHost": source, "PathInContainer": target, "CgroupPermissions": mode })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices() {
        let path = |text: &str| match parse(text) {
            Ok(Device::Path(v)) => {
                format!("{}>{}:{}", v["PathOnHost"], v["PathInContainer"], v["CgroupPermissions"]).replace('"', "")
            }
            Ok(Device::Cdi(name)) => format!("cdi {name}"),
            Err(why) => format!("error {why}"),
        };
        for (text, expect) in [
            ("/dev/null", "/dev/null>/dev/null:rwm"),
            ("/dev/null:r", "/dev/null>/dev/null:r"),
            ("/dev/null:/dev/x", "/dev/null>/dev/x:rwm"),
            ("/dev/null:/dev/x:rw", "/dev/null>/dev/x:rw"),
            ("vendor.com/gpu=0", "cdi vendor.com/gpu=0"),
            ("null", "error null is not an absolute path"),
            ("/dev/a:/dev/b:q", "error bad mode specified: q"),
            ("a:b:c:d", "error bad format for path: a:b:c:d"),
        ] {
            assert_eq!(path(text), expect);
        }
    }
}
