//! Which part of a directory a build takes: paths and patterns, with all that links on the way lead to.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Links that are followed on the way of one path.
const MAX_LINKS: usize = 64;

/// Paths below a directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted(BTreeSet<Vec<u8>>);

/// Where a path is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// One of the paths, or in one.
    Inside,
    /// A directory with some of them in it.
    Above,
    /// Neither.
    Outside,
}

impl Wanted {
    pub(super) fn place(&self, path: &[u8]) -> Place {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([path.len()]);
        if self.0.contains(b"".as_slice()) || ends.into_iter().any(|end| self.0.contains(&path[..end])) {
            return Place::Inside;
        }
        let below = [path, b"/"].concat();
        let next = self.0.range(below.clone()..).next();
        if next.is_some_and(|next| next.starts_with(&below)) { Place::Above } else { Place::Outside }
    }
}

/// The paths that these lead to. What is not there is left out.
pub(super) fn paths(root: &Path, asked: &[String]) -> Wanted {
    let mut follower = Follower { root, found: BTreeSet::new() };
    for path in asked {
        follower.follow(Vec::new(), clean(path.as_bytes()).map(Part::of_pattern).collect(), 0);
    }
    Wanted(follower.found)
}

/// A part of a path.
#[derive(Debug, Clone)]
enum Part {
    Name(Vec<u8>),
    Pattern(Vec<u8>),
}

impl Part {
    fn of_pattern(text: Vec<u8>) -> Part {
        if dockerfile::glob::has_meta(&text) { Part::Pattern(text) } else { Part::Name(text) }
    }
}

struct Follower<'a> {
    root: &'a Path,
    found: BTreeSet<Vec<u8>>,
}

impl Follower<'_> {
    /// `rest` seen from `at`, which has no links in it.
    fn follow(&mut self, mut at: Vec<u8>, rest: Vec<Part>, links: usize) {
        for (number, part) in rest.iter().enumerate() {
            let behind = &rest[number + 1..];
            let name = match part {
                Part::Name(name) => name,
                Part::Pattern(pattern) => {
                    let entries = fs::read_dir(self.root.join(OsStr::from_bytes(&at)));
                    let names = entries.into_iter().flatten().flatten().map(|entry| entry.file_name().into_vec());
                    let mut names: Vec<_> =
                        names.filter(|name| dockerfile::glob::matches(pattern, name).unwrap_or(false)).collect();
                    names.sort();
                    for name in names {
                        self.follow(at.clone(), [&[Part::Name(name)], behind].concat(), links);
                    }
                    return;
                }
            };
            let below = join(&at, name);
            let whole = self.root.join(OsStr::from_bytes(&below));
            let Ok(found) = fs::symlink_metadata(&whole) else { return };
            if !found.file_type().is_symlink() {
                at = below;
                continue;
            }
            let Ok(target) = fs::read_link(&whole) else { return };
            self.found.insert(below);
            if links == MAX_LINKS {
                return;
            }
            // Nothing leads out of the directory.
            let target = target.as_os_str().as_bytes();
            let target =
                if target.starts_with(b"/") { target.to_vec() } else { [&at, b"/".as_slice(), target].concat() };
            let target = clean(&target).map(Part::Name).chain(behind.iter().cloned()).collect();
            return self.follow(Vec::new(), target, links + 1);
        }
        self.found.insert(at);
    }
}

/// The parts of a path, `..` taken away.
fn clean(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part.to_vec()),
        }
    }
    parts.into_iter()
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_paths_lead_to() {
        let root = std::env::temp_dir().join(format!("hoist-follow-{}", std::process::id()));
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir_all(root.join("other")).unwrap();
        for file in ["a/b/one.txt", "a/b/two.txt", "a/b/x*y", "other/file"] {
            fs::write(root.join(file), "").unwrap();
        }
        for (link, target) in
            [("link", "a/b"), ("a/up", "../other"), ("loop", "loop"), ("out", "../../etc"), ("abs", "/other")]
        {
            let _ = std::os::unix::fs::symlink(target, root.join(link));
        }
        let lead = |path: &str| {
            let found = paths(&root, &[path.to_owned()]).0;
            found.into_iter().map(|path| String::from_utf8(path).unwrap()).collect::<Vec<_>>().join(" ")
        };
        for (path, expect) in [
            ("a/b", "a/b"),
            ("/a/./b/one.txt", "a/b/one.txt"),
            ("a/b/*.txt", "a/b/one.txt a/b/two.txt"),
            ("link/one.txt", "a/b/one.txt link"),
            ("link", "a/b link"),
            ("a/up", "a/up other"),
            ("abs/f*", "abs other/file"),
            ("loop", "loop"),
            ("out", "out"),
            ("missing/x", ""),
            (".", ""),
            ("a/b/x?y", "a/b/x*y"),
        ] {
            assert_eq!(lead(path), expect, "{path}");
        }
        let wanted = Wanted([b"a/b".to_vec(), b"a-b".to_vec()].into());
        for (path, place) in [
            ("a", Place::Above),
            ("a/b", Place::Inside),
            ("a/b/c", Place::Inside),
            ("a/bc", Place::Outside),
            ("a-b", Place::Inside),
            ("b", Place::Outside),
        ] {
            assert_eq!(wanted.place(path.as_bytes()), place, "{path}");
        }
        fs::remove_dir_all(root).unwrap();
    }
}
