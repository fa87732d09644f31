//! The eight namespaces, and who else is in them.

use std::fs;

use api::container::Inspect;
use api::explain::Namespace;

use super::super::Record;
use crate::Engine;

const KINDS: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];

/// The number in `net:[4026531840]`.
fn inode(pid: &str, kind: &str) -> Option<i64> {
    let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()?;
    link.to_str()?.split_once('[')?.1.strip_suffix(']')?.parse().ok()
}

pub(super) fn read(engine: &Engine, record: &Record, known: &Inspect, differences: &mut Vec<String>) -> Vec<Namespace> {
    let others: Vec<(String, String)> = engine
        .containers
        .all()
        .iter()
        .map(|other| other.snapshot())
        .filter(|other| other.id != record.id && other.state.phase.is_alive())
        .map(|other| (other.state.pid.to_string(), other.name.clone()))
        .collect();
    let own = record.state.pid.to_string();
    let mut found = Vec::new();
    for kind in KINDS {
        let Some(inode_of_own) = inode(&own, kind) else { continue };
        let same = |pid: &str| inode(pid, kind) == Some(inode_of_own);
        let shared = if same("self") {
            "host".to_owned()
        } else {
            let with: Vec<&str> = others.iter().filter(|(pid, _)| same(pid)).map(|(_, name)| name.as_str()).collect();
            if with.is_empty() { "own".to_owned() } else { format!("container {}", with.join(", ")) }
        };
        found.push(Namespace { kind: kind.to_owned(), inode: inode_of_own, shared });
    }
    compare(&found, known, differences);
    found
}

/// `host` where the record says so, and nowhere else.
fn compare(found: &[Namespace], known: &Inspect, differences: &mut Vec<String>) {
    let host = &known.host_config;
    let modes = [
        ("net", &host.network_mode),
        ("pid", &host.pid_mode),
        ("ipc", &host.ipc_mode),
        ("uts", &host.uts_mode),
        ("cgroup", &host.cgroupns_mode),
    ];
    for (kind, mode) in modes {
        let Some(namespace) = found.iter().find(|namespace| namespace.kind == kind) else { continue };
        let (is_host, wants_host) = (namespace.shared == "host", mode.as_str() == "host");
        if is_host != wants_host {
            let has = if is_host { "the host's" } else { "not the host's" };
            differences.push(format!("the {kind} namespace is {has}, and the record says \"{mode}\""));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_eight() {
        for kind in KINDS {
            assert!(inode("self", kind).is_some(), "{kind}");
        }
        let namespace = |shared: &str| Namespace { kind: "net".to_owned(), inode: 1, shared: shared.to_owned() };
        let mut known = Inspect::default();
        let mut differences = Vec::new();
        compare(&[namespace("own")], &known, &mut differences);
        assert!(differences.is_empty());
        compare(&[namespace("host")], &known, &mut differences);
        known.host_config.network_mode = "host".to_owned();
        compare(&[namespace("own")], &known, &mut differences);
        assert_eq!(differences.len(), 2, "{differences:?}");
    }
}
