//! Which part of a directory a build takes: paths and patterns, with all that links on the way lead to.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Links that are followed for one directory; the daemon's own number for one path is smaller.
const MAX_LINKS: usize = 10_000;

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
    let mut follower = Follower { root, found: BTreeSet::new(), links: 0 };
    for path in asked {
        follower.follow(Vec::new(), clean(path.as_bytes()));
    }
    Wanted(follower.found)
}

struct Follower<'a> {
    root: &'a Path,
    found: BTreeSet<Vec<u8>>,
    links: usize,
}

impl Follower<'_> {
    /// `rest` seen from `at`, which has no links in it.
    fn follow(&mut self, mut at: Vec<u8>, rest: Vec<Vec<u8>>) {
        for (number, part) in rest.iter().enumerate() {
            let behind = || rest[number + 1..].to_vec();
            if dockerfile::glob::has_meta(part) {
                let entries = fs::read_dir(self.root.join(std::ffi::OsStr::from_bytes(&at)));
                let mut names: Vec<_> =
                    entries.into_iter().flatten().flatten().map(|entry| entry.file_name().into_vec()).collect();
                names.sort();
                for name in names.into_iter().filter(|name| dockerfile::glob::matches(part, name).unwrap_or(false)) {
                    self.follow(at.clone(), std::iter::once(escaped(name)).chain(behind()).collect());
                }
                return;
            }
            let below = join(&at, &plain(part));
            let whole = self.root.join(std::ffi::OsStr::from_bytes(&below));
            let Ok(found) = fs::symlink_metadata(&whole) else { return };
            if !found.file_type().is_symlink() {
                at = below;
                continue;
            }
            let Ok(target) = fs::read_link(&whole) else { return };
            self.links += 1;
            if self.links > MAX_LINKS || !self.found.insert(below) && behind().is_empty() {
                return;
            }
            // Nothing leads out of the directory.
            let target = target.as_os_str().as_bytes();
            let target =
                if target.starts_with(b"/") { target.to_vec() } else { [&at, b"/".as_slice(), target].concat() };
            let target = clean(&target).into_iter().map(escaped);
            return self.follow(Vec::new(), target.chain(behind()).collect());
        }
        self.found.insert(at);
    }
}

/// The parts of a path, `..` taken away.
fn clean(path: &[u8]) -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part.to_vec()),
        }
    }
    parts
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

/// A name in which nothing is a pattern.
fn escaped(name: Vec<u8>) -> Vec<u8> {
    name.into_iter().flat_map(|byte| if b"*?[\\".contains(&byte) { vec![b'\\', byte] } else { vec![byte] }).collect()
}

/// The name that an escaped one stands for.
fn plain(part: &[u8]) -> Vec<u8> {
    let (mut name, mut bytes) = (Vec::new(), part.iter());
    while let Some(byte) = bytes.next() {
        name.push(if *byte == b'\\' { *bytes.next().unwrap_or(byte) } else { *byte });
    }
    name
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
