//! What a step has written: from the overlay's upper directory to the entries of a layer.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use archive::tar::{Kind, Time};
use rustix::fs::OFlags;

use crate::copy::walk::{Content, Entry, walk};
use crate::error::{Error, Result};
use crate::tree::Tree;

/// Marks a directory that hides what is below it (overlayfs).
const OPAQUE: &str = "trusted.overlay.opaque";

/// The entries of an upper directory. `stubs` are paths that were only made to be mounted on: they are left out as long as
/// they are empty. Times after `latest` become that.
pub(super) fn entries(upper: OwnedFd, stubs: &BTreeSet<Vec<u8>>, latest: Option<i64>) -> Result<Vec<Entry>> {
    let tree = Arc::new(Tree::of_directory(upper));
    let mut entries = Vec::new();
    for mut entry in walk(&tree, b"", &|_, _| false)? {
        let metadata = &mut entry.metadata;
        // The root is there in every image; its own change would only be the time.
        if metadata.path.is_empty() {
            continue;
        }
        if let Some(latest) = latest.filter(|latest| metadata.mtime.seconds >= *latest) {
            metadata.mtime = Time { seconds: latest, nanos: 0 };
        }
        match metadata.kind {
            Kind::CharDevice if metadata.device == (0, 0) => {
                let name = metadata.path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
                let mut path = metadata.path[..name].to_vec();
                path.extend_from_slice(b".wh.");
                path.extend_from_slice(&metadata.path[name..]);
                entries.push(Entry::of_content(path, 0o600, Vec::new()));
            }
            Kind::Directory => {
                let failed = |error: std::io::Error| Error::system("look at what a step has written", error);
                let directory = tree.open(&entry.source, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
                metadata.xattrs = crate::copy::layer::xattrs(&directory).map_err(failed)?;
                let mut value = [0u8; 4];
                let opaque = rustix::fs::fgetxattr(directory.as_fd(), OPAQUE, &mut value)
                    .is_ok_and(|length| &value[..length] == b"y");
                let path = metadata.path.clone();
                entries.push(entry);
                if opaque {
                    entries.push(Entry::of_content([&path, &b"/.wh..wh..opq"[..]].concat(), 0o600, Vec::new()));
                }
            }
            _ => entries.push(entry),
        }
    }
    Ok(without_stubs(entries, stubs))
}

/// Takes out mount points that nobody has written to, and the directories that were made only for them.
fn without_stubs(mut entries: Vec<Entry>, stubs: &BTreeSet<Vec<u8>>) -> Vec<Entry> {
    if stubs.is_empty() {
        return entries;
    }
    // Children come after their parents: backwards, a directory is looked at when its children are decided.
    let mut needed: BTreeSet<Vec<u8>> = BTreeSet::new();
    let mut kept = Vec::with_capacity(entries.len());
    while let Some(entry) = entries.pop() {
        let path = &entry.metadata.path;
        let empty = match entry.metadata.kind {
            Kind::Directory => !needed.contains(path),
            Kind::File => matches!(entry.content, Content::Tree(_)) && entry.metadata.size == 0,
            _ => false,
        };
        if empty && stubs.contains(path) {
            continue;
        }
        if let Some(slash) = path.iter().rposition(|byte| *byte == b'/') {
            needed.insert(path[..slash].to_vec());
        }
        kept.push(entry);
    }
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stubs_go_and_what_was_written_stays() {
        let file = |path: &str, content: &str| Entry::of_content(path, 0o644, content.as_bytes().to_vec());
        let entries = vec![
            Entry::directory("a"),
            Entry::directory("a/b"),
            Entry::directory("c"),
            file("c/kept", "x"),
            Entry::directory("d"),
        ];
        let stubs = ["a", "a/b", "c"].iter().map(|path| path.as_bytes().to_vec()).collect();
        let left: Vec<String> = without_stubs(entries, &stubs)
            .iter()
            .map(|entry| String::from_utf8(entry.metadata.path.clone()).unwrap())
            .collect();
        assert_eq!(left, ["c", "c/kept", "d"]);
    }
}
