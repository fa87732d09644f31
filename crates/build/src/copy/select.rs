//! Sources of `COPY`: from patterns to paths.

use dockerfile::glob;
use rustix::fs::{Dir, FileType, OFlags};

use crate::error::{Error, Result};
use crate::tree::{Tree, clean, components};

/// The most paths that the patterns of one instruction may match.
const MAX_MATCHES: usize = 1_000_000;

/// One path that a source names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Without links, relative to the tree's root.
    pub path: Vec<u8>,
    /// As the source names it, for `--parents`: what stays behind the pivot `/./`, or all of it.
    pub named: Vec<u8>,
    /// What it is, links followed.
    pub kind: FileType,
}

/// The paths that one source names, in order. A pattern may match nothing; a plain path has to exist.
pub fn select(tree: &Tree, source: &str) -> Result<Vec<Match>> {
    let (before, after) = source.split_once("/./").map_or(("", source), |(before, after)| (before, after));
    let pattern = clean(format!("{before}/{after}").as_bytes());
    let skipped = components(&clean(before.as_bytes())).count();
    let parts: Vec<&[u8]> = components(&pattern).collect();
    let mut found: Vec<Vec<u8>> = vec![Vec::new()];
    let mut wild = false;
    for (index, part) in parts.iter().enumerate() {
        let mut next = Vec::new();
        for path in &found {
            if *part == b"**" {
                wild = true;
                deep(tree, path, &mut next, index + 1 == parts.len())?;
            } else if glob::has_meta(part) {
                wild = true;
                next.extend(
                    children(tree, path)?
                        .into_iter()
                        .filter(|name| glob::matches(part, name).unwrap_or(false))
                        .map(|name| join(path, &name)),
                );
            } else {
                next.push(join(path, part));
            }
            if next.len() > MAX_MATCHES {
                return Err(Error::Invalid(format!("the pattern {source:?} matches too many files")));
            }
        }
        found = next;
    }
    found.sort();
    found.dedup();
    let mut matches = Vec::new();
    for named in found {
        let resolved = tree.resolve(&named).map_err(|error| Error::system(format!("look for {source:?}"), error))?;
        let Some(kind) = resolved.kind else {
            if wild {
                continue;
            }
            return Err(Error::NotFound { path: format!("/{}", String::from_utf8_lossy(&named)) });
        };
        let named = components(&named).skip(skipped).collect::<Vec<_>>().join(&b'/');
        matches.push(Match { path: resolved.path, named, kind });
    }
    Ok(matches)
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

/// The names in a directory; none if it is no directory.
pub(crate) fn children(tree: &Tree, path: &[u8]) -> Result<Vec<Vec<u8>>> {
    let failed = |error: std::io::Error| Error::system(format!("list {}", String::from_utf8_lossy(path)), error);
    let resolved = tree.resolve(path).map_err(failed)?;
    if resolved.kind != Some(FileType::Directory) {
        return Ok(Vec::new());
    }
    let directory = tree.open(&resolved.path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
    let mut names = Vec::new();
    for entry in Dir::new(directory).map_err(|errno| failed(errno.into()))? {
        let name = entry.map_err(|errno| failed(errno.into()))?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Every directory below `path`, itself included; at the end of a pattern every file too.
fn deep(tree: &Tree, path: &[u8], into: &mut Vec<Vec<u8>>, files: bool) -> Result<()> {
    let mut waiting = vec![path.to_vec()];
    while let Some(path) = waiting.pop() {
        for name in children(tree, &path)? {
            let below = join(&path, &name);
            let kind = tree.resolve_parent(&below).ok().and_then(|found| found.kind);
            if kind == Some(FileType::Directory) {
                waiting.push(below);
            } else if files {
                into.push(below);
            }
        }
        if !files {
            into.push(path);
        }
        if into.len() > MAX_MATCHES {
            return Ok(());
        }
    }
    Ok(())
}
