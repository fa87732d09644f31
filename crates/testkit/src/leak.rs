//! What containers leave on the machine when an engine forgets to clean up: looked at from outside.
//!
//! A [`Snapshot`] is what the whole machine shows; [`Snapshot::new_since`] names what one has and an earlier one has not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use serde_json::Value;

use crate::{process, programs};

/// Everything of interest, one line per thing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Mount points of the machine's mount table, with type and source.
    pub mounts: BTreeSet<String>,
    /// Network interfaces of the machine's own network namespace.
    pub links: BTreeSet<String>,
    /// Rules, sets and elements of nftables tables called after the product.
    pub nft: BTreeSet<String>,
    /// Cgroup directories whose path names the product, in all hierarchies.
    pub cgroups: BTreeSet<String>,
    /// Named network namespaces.
    pub namespaces: BTreeSet<String>,
}

impl Snapshot {
    pub fn take() -> Result<Snapshot> {
        Ok(Snapshot {
            mounts: mounts()?,
            links: names(Path::new("/sys/class/net")),
            nft: nft()?,
            cgroups: cgroups(),
            namespaces: names(Path::new("/run/netns")),
        })
    }

    /// What is here and was not in `earlier`.
    pub fn new_since(&self, earlier: &Snapshot) -> Snapshot {
        let minus = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect();
        Snapshot {
            mounts: minus(&self.mounts, &earlier.mounts),
            links: minus(&self.links, &earlier.links),
            nft: minus(&self.nft, &earlier.nft),
            cgroups: minus(&self.cgroups, &earlier.cgroups),
            namespaces: minus(&self.namespaces, &earlier.namespaces),
        }
    }

    /// Tables of nftables, as `family name`.
    pub fn tables(&self) -> Vec<(String, String)> {
        let tables = self.nft.iter().filter_map(|line| line.strip_prefix("table "));
        tables.filter_map(|line| line.split_once(' ')).map(|(a, b)| (a.to_string(), b.to_string())).collect()
    }
}

fn mounts() -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string("/proc/self/mountinfo")?;
    Ok(text
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut right = right.split(' ');
            // ip-netns(8) makes it once, for all.
            if left.split(' ').nth(4) == Some("/run/netns") {
                return None;
            }
            Some(format!("{} ({} {})", left.split(' ').nth(4)?, right.next()?, right.next()?))
        })
        .collect())
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Whether a name has 64 hexadecimal digits in a row: a container's id.
pub fn names_container(text: &str) -> bool {
    let mut run = 0;
    text.bytes().any(|byte| {
        run = if byte.is_ascii_hexdigit() { run + 1 } else { 0 };
        run >= 64
    })
}

/// [`Snapshot::cgroups`] alone.
pub fn cgroups() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut todo = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let path = entry.path();
                if path.to_string_lossy().contains("hoist") {
                    found.insert(path.to_string_lossy().into_owned());
                }
                todo.push(path);
            }
        }
    }
    found
}

/// Removes cgroups of private daemons and of tests that ended without their hands: with nobody in them, and older than a
/// daemon takes to put its spawner in.
pub fn remove_abandoned_cgroups() {
    let all = cgroups();
    let name = |dir: &str| dir.split('/').find(|part| is_private(part)).map(str::to_owned);
    let names: BTreeSet<String> = all.iter().filter_map(|dir| name(dir)).collect();
    for own in names {
        let dirs: Vec<&String> = all.iter().filter(|dir| name(dir).as_ref() == Some(&own)).collect();
        let busy = |dir: &str| {
            let path = Path::new(dir);
            let young = path.metadata().and_then(|meta| meta.modified()).map(|time| time.elapsed());
            std::fs::read_to_string(path.join("cgroup.procs")).is_ok_and(|text| !text.is_empty())
                || !matches!(young, Ok(Ok(age)) if age.as_secs() > 60)
        };
        if dirs.iter().any(|dir| busy(dir)) {
            continue;
        }
        eprintln!("cleaning up after an earlier run: cgroup {own}");
        // Deepest first.
        for dir in dirs.iter().rev() {
            let _ = std::fs::remove_dir(dir);
        }
    }
}

/// `hoist-` and six hexadecimal digits, a private daemon's; or a test's, which ends in a process id.
fn is_private(part: &str) -> bool {
    let digits = |text: &str| text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    part.starts_with("hoist-test-") || part.strip_prefix("hoist-").is_some_and(digits)
}

/// Without the program `nft` there is nothing to see; `cargo xtask test` installs it.
fn nft() -> Result<BTreeSet<String>> {
    let Some(program) = programs::find("nft") else { return Ok(BTreeSet::new()) };
    let output = Command::new(program).args(["-j", "list", "ruleset"]).output()?;
    let Ok(list) = serde_json::from_slice::<Value>(&output.stdout) else { return Ok(BTreeSet::new()) };
    let mut lines = BTreeSet::new();
    for object in list["nftables"].as_array().into_iter().flatten() {
        let Some((kind, body)) = object.as_object().and_then(|object| object.iter().next()) else { continue };
        let table = body["table"].as_str().or(body["name"].as_str()).unwrap_or("");
        if kind == "metainfo" || !table.contains("hoist") {
            continue;
        }
        let mut body = body.clone();
        strip(&mut body);
        let family = body["family"].as_str().unwrap_or("").to_string();
        if kind == "table" {
            lines.insert(format!("table {family} {table}"));
            continue;
        }
        if let Some(elements) = body.as_object_mut().and_then(|body| body.remove("elem")) {
            for element in elements.as_array().into_iter().flatten() {
                lines.insert(format!("element {family} {table} {} {element}", body["name"].as_str().unwrap_or("")));
            }
        }
        lines.insert(format!("{kind} {body}"));
    }
    Ok(lines)
}

/// Takes out what changes by itself.
fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for key in ["handle", "packets", "bytes", "expires"] {
                map.remove(key);
            }
            map.values_mut().for_each(strip);
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}

/// Processes of the daemon rooted at `root` that still have to do with a container although none is left.
pub fn container_processes(root: &Path) -> Vec<String> {
    let containers = ["exec/containers/", "data/containers/"].map(|dir| root.join(dir).to_string_lossy().into_owned());
    let mut found = Vec::new();
    for pid in process::of_root(root) {
        let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let held: Vec<String> = fds
            .filter_map(|fd| std::fs::read_link(fd.path()).ok())
            .map(|to| to.to_string_lossy().into_owned())
            .filter(|to| containers.iter().any(|dir| to.starts_with(dir)))
            .collect();
        let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let line = process::command_line(pid);
        if let Some(held) = held.first() {
            found.push(format!("process {pid} ({line}) holds {held}"));
        } else if cgroup.lines().any(names_container) {
            found.push(format!("process {pid} ({line}) is in a container's cgroup"));
        }
    }
    found
}

/// Files of containers and unfinished downloads below a daemon's root.
pub fn container_files(root: &Path) -> Vec<String> {
    let dirs = ["exec/containers", "data/containers", "data/content/ingest"];
    dirs.iter().flat_map(|dir| names(&root.join(dir)).into_iter().map(move |name| format!("{dir}/{name}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_container_id() {
        assert!(names_container(&format!("/hoist/docker-{}.scope", "0123456789abcdef".repeat(4))));
        assert!(!names_container("/hoist/parked-0123456789abcdef"));
    }

    #[test]
    fn knows_private_cgroups() {
        for (part, expect) in
            [("hoist-9ae7c6", true), ("hoist-test-slow-14640", true), ("hoist", false), ("hoist-runtime", false)]
        {
            assert_eq!(is_private(part), expect, "{part}");
        }
    }

    #[test]
    fn difference_names_only_what_is_new() {
        let earlier = Snapshot { links: BTreeSet::from(["lo".into(), "eth0".into()]), ..Snapshot::default() };
        let mut later = earlier.clone();
        later.links.insert("veth1".into());
        let new = later.new_since(&earlier);
        assert_eq!(new.links, BTreeSet::from(["veth1".into()]));
        assert_eq!(earlier.new_since(&later), Snapshot::default());
    }
}
