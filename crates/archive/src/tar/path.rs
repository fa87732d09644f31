//! Names from archives, made safe.

use super::{Error, limits, shown};

/// Normalises the name of a member: leading, doubled and trailing slashes and `.` components go away.
///
/// An absolute name is taken relative to the archive's root, as Docker does. `..` is refused even where it would stay
/// inside: what `a/../b` means depends on what `a` is.
pub(super) fn normalise(name: &[u8]) -> Result<Vec<u8>, Error> {
    if name.len() > limits::PATH {
        return Err(Error::PathTooLong { path: shown(name) });
    }
    if name.contains(&0) {
        return Err(Error::Nul { path: shown(name) });
    }
    let mut path = Vec::with_capacity(name.len());
    for component in name.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => continue,
            b".." => return Err(Error::Escapes { path: shown(name) }),
            _ if component.len() > limits::NAME => return Err(Error::PathTooLong { path: shown(name) }),
            _ => {}
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(component);
    }
    Ok(path)
}

/// Checks the target of a symbolic link; it is kept as it is.
pub(super) fn symlink_target(path: &[u8], target: Vec<u8>) -> Result<Vec<u8>, Error> {
    if target.is_empty() {
        return Err(Error::NoTarget { path: shown(path) });
    }
    if target.contains(&0) {
        return Err(Error::Nul { path: shown(&target) });
    }
    if target.len() > limits::PATH {
        return Err(Error::PathTooLong { path: shown(&target) });
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check = |name: &str, expect: Option<&str>| {
            assert_eq!(normalise(name.as_bytes()).ok().as_deref(), expect.map(str::as_bytes), "{name:?}");
        };
        check("a", Some("a"));
        check("./a/b", Some("a/b"));
        check("/etc//passwd/", Some("etc/passwd"));
        check(".", Some(""));
        check("./", Some(""));
        check("/", Some(""));
        check("...", Some("..."));
        check("a/.b", Some("a/.b"));
        check("../x", None);
        check("a/../b", None);
        check("a/..", None);
        check("/..", None);
        check("a\0b", None);
        check(&"x".repeat(255), Some(&"x".repeat(255)));
        check(&"x".repeat(256), None);
        check(&"x/".repeat(2100), None);
    }
}
