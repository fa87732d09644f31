//! `cgroupsPath` in the form that runc has for systemd, and the names that follow from it.

use crate::Error;

/// Where a container's unit is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub slice: String,
    pub unit: String,
}

impl Location {
    /// Reads `slice:prefix:name`; empty: `system.slice` (`user.slice` for a user) with the container's id.
    ///
    /// A name that ends with `.slice` is a unit as it is; any other becomes `prefix-name.scope`.
    pub fn parse(path: &str, id: &str, user: bool) -> Result<Location, Error> {
        let default = if user { "user.slice" } else { "system.slice" };
        let invalid = || Error::CgroupsPath(path.to_owned());
        let (slice, prefix, name) = if path.is_empty() {
            (default, "hoist", id)
        } else {
            let mut parts = path.split(':');
            match (parts.next(), parts.next(), parts.next(), parts.next()) {
                (Some(slice), Some(prefix), Some(name), None) => (slice, prefix, name),
                _ => return Err(invalid()),
            }
        };
        let slice = if slice.is_empty() { default } else { slice };
        let unit = match (prefix, name) {
            (_, name) if name.ends_with(".slice") => name.to_owned(),
            ("", name) => format!("{name}.scope"),
            (prefix, name) => format!("{prefix}-{name}.scope"),
        };
        // systemd.unit(5), "Unit names".
        let plain = |text: &str| {
            text.len() <= 255 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b))
        };
        if name.is_empty() || !plain(&unit) || !plain(slice) || control_group_of_slice(slice).is_none() {
            return Err(invalid());
        }
        Ok(Location { slice: slice.to_owned(), unit })
    }
}

/// The cgroup of a slice: `a-b.slice` is `/a.slice/a-b.slice` (systemd.slice(5)). `None` when it is no slice's name.
pub fn control_group_of_slice(slice: &str) -> Option<String> {
    if slice == "-.slice" {
        return Some(String::new());
    }
    let name = slice.strip_suffix(".slice")?;
    let valid = !name.is_empty() && !name.contains(['/', ':']) && name.split('-').all(|part| !part.is_empty());
    let ends = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
    valid.then(|| ends.map(|end| format!("/{}.slice", &name[..end])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations() {
        for (path, expect) in [
            ("", "system.slice hoist-c1.scope"),
            ("machine.slice:libpod:abc", "machine.slice libpod-abc.scope"),
            (":docker:abc", "system.slice docker-abc.scope"),
            ("a-b.slice::abc", "a-b.slice abc.scope"),
            ("kubepods.slice:x:pod1.slice", "kubepods.slice pod1.slice"),
            ("/plain/path", "none"),
            ("a:b", "none"),
            ("a:b:c", "none"),
            ("a.slice:b:", "none"),
            ("a.slice:b:c:d", "none"),
            ("../x.slice:b:c", "none"),
            ("a--b.slice:b:c", "none"),
            ("a.slice:b:c/d", "none"),
        ] {
            let said = Location::parse(path, "c1", false);
            let text = said.map_or("none".to_owned(), |location| format!("{} {}", location.slice, location.unit));
            assert_eq!(text, expect, "{path}");
        }
        assert_eq!(Location::parse("", "c1", true).unwrap().slice, "user.slice");
    }

    #[test]
    fn slices_are_nested() {
        for (slice, expect) in [
            ("system.slice", Some("/system.slice")),
            ("a-b-c.slice", Some("/a.slice/a-b.slice/a-b-c.slice")),
            ("-.slice", Some("")),
            ("-a.slice", None),
            (".slice", None),
            ("a.scope", None),
        ] {
            assert_eq!(control_group_of_slice(slice).as_deref(), expect, "{slice}");
        }
    }
}
