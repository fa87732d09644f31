use oci::runtime::{Namespace, Process, Scheduler};

use super::*;

fn spec() -> Spec {
    let namespace = |kind: &str| Namespace { kind: kind.to_owned(), path: String::new() };
    let mut spec = Spec { oci_version: "1.0.2".to_owned(), process: Some(Process::default()), ..Spec::default() };
    spec.linux.namespaces = ["pid", "mount", "uts"].map(namespace).to_vec();
    spec
}

fn refused(change: impl FnOnce(&mut Spec)) -> String {
    let mut spec = spec();
    change(&mut spec);
    match Plan::of(&spec, &[]) {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.message(),
    }
}

#[test]
fn versions() {
    for (version, expect) in [
        ("1.0.0", "accepted"),
        ("1.3.0", "accepted"),
        ("1.0.2-dev", "accepted"),
        ("1.7.0+x", "accepted"),
        ("", "invalid configuration: ociVersion is not set"),
        ("1.0", "invalid configuration: ociVersion \"1.0\" is no version"),
        ("x", "invalid configuration: ociVersion \"x\" is no version"),
        ("2.0.0", "ociVersion \"2.0.0\" is not supported: versions 1.x are"),
    ] {
        assert_eq!(refused(|spec| spec.oci_version = version.to_owned()), expect, "{version}");
    }
}

#[test]
fn unknown_names_are_said() {
    let process = |change: fn(&mut Process)| refused(|spec| change(spec.process.as_mut().unwrap()));
    let scheduler = |policy: &str, priority, flags: &[&str]| {
        refused(|spec| {
            spec.process.as_mut().unwrap().scheduler = Some(Scheduler {
                policy: policy.to_owned(),
                priority,
                flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
                ..Scheduler::default()
            });
        })
    };
    let json = |key: &'static str, value: serde_json::Value| {
        refused(|spec| match key {
            "memoryPolicy" => spec.linux.memory_policy = Some(value),
            _ => spec.linux.intel_rdt = Some(value),
        })
    };
    for (got, words) in [
        (scheduler("SCHED_FIFO", 10, &["SCHED_FLAG_RESET_ON_FORK"]), "accepted"),
        (scheduler("SCHED_SWIFT", 0, &[]), "unknown scheduler policy \"SCHED_SWIFT\""),
        (scheduler("SCHED_OTHER", 5, &[]), "priority 5"),
        (scheduler("SCHED_OTHER", 0, &["SCHED_FLAG_X"]), "unknown scheduler flag"),
        (scheduler("SCHED_ISO", 0, &[]), "SCHED_ISO"),
        (process(|p| p.oom_score_adj = Some(2000)), "oomScoreAdj"),
        (process(|p| p.user.umask = Some(0o1000)), "umask"),
        (process(|p| p.args = vec!["a\0b".to_owned()]), "NUL"),
        (
            process(|p| {
                p.io_priority = Some(oci::runtime::IoPriority { class: "IOPRIO_CLASS_X".to_owned(), priority: 0 });
            }),
            "unknown ioPriority class",
        ),
        (
            process(|p| {
                let affinity = oci::runtime::CpuAffinity { initial: "0-".to_owned(), last: String::new() };
                p.exec_cpu_affinity = Some(affinity);
            }),
            "CPU list \"0-\"",
        ),
        (
            process(|p| {
                let limit = oci::runtime::Rlimit { kind: "RLIMIT_NOFILE".to_owned(), soft: 1, hard: 1 };
                p.rlimits = vec![limit.clone(), limit];
            }),
            "RLIMIT_NOFILE is listed twice",
        ),
        (json("memoryPolicy", serde_json::json!({ "mode": "MPOL_BIND", "nodes": "0-1,3" })), "accepted"),
        (json("memoryPolicy", serde_json::json!({ "mode": "MPOL_BIND" })), "needs nodes"),
        (json("memoryPolicy", serde_json::json!({ "mode": "MPOL_X" })), "unknown memoryPolicy mode"),
        (
            json("memoryPolicy", serde_json::json!({ "mode": "MPOL_DEFAULT", "flags": ["MPOL_F_X"] })),
            "memoryPolicy flag",
        ),
        (json("intelRdt", serde_json::json!({ "closID": "a", "memBwSchema": "MB:0=20" })), "accepted"),
        (json("intelRdt", serde_json::json!({ "closID": "../a" })), "closID"),
        (json("intelRdt", serde_json::json!({ "memBwSchema": "L3:0=f" })), "does not begin with"),
        (json("intelRdt", serde_json::json!({ "schemata": ["a\nb"] })), "schemata"),
        (refused(|spec| spec.linux.mount_label = "x\"y".to_owned()), "linux.mountLabel"),
        (refused(|spec| spec.linux.rootfs_propagation = "sideways".to_owned()), "\"sideways\""),
        (
            refused(|spec| {
                let domain = oci::runtime::Personality { domain: "BSD".to_owned(), flags: vec![] };
                spec.linux.personality = Some(domain);
            }),
            "unknown personality domain \"BSD\"",
        ),
        (refused(|spec| spec.linux.masked_paths = vec!["proc".to_owned()]), "is not absolute"),
        (
            refused(|spec| {
                spec.linux.net_devices.insert("eth0".to_owned(), oci::runtime::NetDevice::default());
            }),
            "needs a network namespace",
        ),
        (
            refused(|spec| {
                spec.annotations.insert(String::new(), String::new());
            }),
            "empty key",
        ),
    ] {
        assert!(got.contains(words), "{got} / {words}");
    }
}

#[test]
fn mappings() {
    let with = |ranges: &[(u32, u32, u32)]| {
        refused(|spec| {
            spec.linux.namespaces.push(Namespace { kind: "user".to_owned(), path: String::new() });
            spec.linux.uid_mappings = ranges
                .iter()
                .map(|(container_id, host_id, size)| IdMapping {
                    container_id: *container_id,
                    host_id: *host_id,
                    size: *size,
                })
                .collect();
            spec.linux.gid_mappings = vec![IdMapping { container_id: 0, host_id: 1, size: 1 }];
        })
    };
    assert_eq!(with(&[(0, 1000, 10), (10, 2000, 5)]), "accepted");
    for wrong in [
        &[][..],
        &[(0, 0, 0)],
        &[(0, 1000, 10), (9, 3000, 1)],
        &[(0, 1000, 10), (20, 1009, 1)],
        &[(u32::MAX, 0, 2)],
        &[(0, u32::MAX, 2)],
    ] {
        assert_ne!(with(wrong), "accepted", "{wrong:?}");
    }
    let many: Vec<(u32, u32, u32)> = (0..341).map(|n| (n, n + 1000, 1)).collect();
    assert!(with(&many).contains("more than 340"));
}

#[test]
fn numbers() {
    let mut spec = spec();
    let process = spec.process.as_mut().unwrap();
    process.io_priority = Some(oci::runtime::IoPriority { class: "IOPRIO_CLASS_IDLE".to_owned(), priority: 3 });
    process.exec_cpu_affinity = Some(oci::runtime::CpuAffinity { initial: "0-1,64".to_owned(), last: "1".to_owned() });
    spec.linux.memory_policy =
        Some(serde_json::json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"] }));
    spec.linux.personality = Some(oci::runtime::Personality { domain: "LINUX32".to_owned(), flags: vec![] });
    let plan = Plan::of(&spec, &[]).unwrap();
    assert_eq!(plan.process.io_priority, Some(3 << 13 | 3));
    assert_eq!(plan.process.initial_cpus, Some(vec![3, 1]));
    assert_eq!(plan.process.final_cpus, Some(vec![2]));
    assert_eq!(plan.memory_policy, Some(MemoryPolicy { mode: 2 | 1 << 15, nodes: vec![1] }));
    assert_eq!(plan.personality, Some(8));
}
