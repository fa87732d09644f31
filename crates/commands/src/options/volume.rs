//! `-v`: what a volume spec means for the request.

/// Where a `-v` value goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Volume {
    /// A path in the container with a volume of its own.
    Anonymous(String),
    /// `source:target[:options]`, with a relative host path made absolute.
    Bind(String),
}

/// Parses one value.
pub(crate) fn parse(spec: &str) -> Result<Volume, String> {
    if spec.is_empty() {
        return Err("invalid empty volume spec".to_owned());
    }
    if spec.len() <= 2 {
        return Ok(Volume::Anonymous(spec.to_owned()));
    }
    let fail = |why: &str| format!("invalid spec: {spec}: {why}");
    let sections = sections(spec);
    if sections.iter().any(String::is_empty) {
        return Err(fail("empty section between colons"));
    }
    match sections.as_slice() {
        [_] => Ok(Volume::Anonymous(spec.to_owned())),
        [_, _] | [_, _, _] => Ok(Volume::Bind(absolute(spec))),
        _ => Err(fail("too many colons")),
    }
}

/// Splits at colons; a single letter in front of one is a drive and stays.
fn sections(spec: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    for c in spec.chars() {
        let current = out.last_mut().expect("never empty");
        let mut letters = current.chars();
        let drive = letters.next().is_some_and(char::is_alphabetic) && letters.next().is_none();
        if c == ':' && !drive {
            out.push(String::new());
        } else {
            current.push(c);
        }
    }
    out
}

fn absolute(spec: &str) -> String {
    match spec.split_once(':') {
        Some((host, rest)) if host.starts_with('.') => format!("{}:{rest}", absolute_path(host)),
        _ => spec.to_owned(),
    }
}

/// A path from the working directory, lexically cleaned as Go's `filepath.Abs`.
pub(crate) fn absolute_path(path: &str) -> String {
    let base = std::env::current_dir().map(|d| d.to_string_lossy().into_owned()).unwrap_or_else(|_| "/".to_owned());
    clean(&if path.starts_with('/') { path.to_owned() } else { format!("{base}/{path}") })
}

/// Go's `path.Clean`.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|p| *p != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            other => parts.push(other),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs() {
        let here = std::env::current_dir().expect("cwd").to_string_lossy().into_owned();
        for (spec, expect) in [
            ("/data", Ok(Volume::Anonymous("/data".into()))),
            ("v:/data", Ok(Volume::Anonymous("v:/data".into()))),
            ("vol:/data", Ok(Volume::Bind("vol:/data".into()))),
            ("/a:/b:ro", Ok(Volume::Bind("/a:/b:ro".into()))),
            ("./x:/b", Ok(Volume::Bind(format!("{here}/x:/b")))),
            (".:/b", Ok(Volume::Bind(format!("{here}:/b")))),
            ("/a:/b:ro:x", Err("invalid spec: /a:/b:ro:x: too many colons".to_owned())),
            (":/b:ro", Err("invalid spec: :/b:ro: empty section between colons".to_owned())),
            ("/a:", Err("invalid spec: /a:: empty section between colons".to_owned())),
            ("", Err("invalid empty volume spec".to_owned())),
        ] {
            assert_eq!(parse(spec), expect, "{spec}");
        }
    }

    #[test]
    fn cleaning() {
        for (path, expect) in [("/a/../b/./c/", "/b/c"), ("", "."), ("..", ".."), ("/..", "/"), ("a/..", ".")] {
            assert_eq!(clean(path), expect);
        }
    }
}
