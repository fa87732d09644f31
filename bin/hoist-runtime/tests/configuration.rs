//! What a configuration says of the container as a whole, its user and its devices, with the built program. Needs root and
//! busybox.

#![allow(clippy::unwrap_used, reason = "a test")]

mod bundle;

use bundle::Bundle;
use oci::runtime::{Capabilities, Device, IdMapping, Namespace, Pids, Resources, Rlimit, User};

fn give(path: &std::path::Path, id: u32) {
    std::os::unix::fs::lchown(path, Some(id), Some(id)).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        std::fs::read_dir(path).unwrap().flatten().for_each(|entry| give(&entry.path(), id));
    }
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn host_and_domain_name_are_the_containers() {
    let Some(mut bundle) = Bundle::new("names") else { return };
    bundle.spec.hostname = "inside".to_owned();
    bundle.spec.domainname = "example.test".to_owned();
    bundle.args(&["cat", "/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname"]);
    assert_eq!(bundle.run_container("c1"), (0, "inside\nexample.test\n".to_owned(), String::new()));
    let own = std::fs::read_to_string("/proc/sys/kernel/domainname").unwrap();
    assert_ne!(own.trim(), "example.test");
}

#[test]
fn a_root_that_may_not_be_written() {
    let Some(mut bundle) = Bundle::new("readonly") else { return };
    for (readonly, expect) in [(true, "refused\n"), (false, "made\n")] {
        bundle.spec.root.as_mut().unwrap().readonly = readonly;
        bundle.args(&["sh", "-c", "touch /new 2>/dev/null && echo made || echo refused"]);
        assert_eq!(bundle.run_container("c1").1, expect);
        assert_eq!(bundle.rootfs().join("new").exists(), !readonly);
    }
}

#[test]
fn users_groups_and_limits_are_the_processes() {
    let Some(mut bundle) = Bundle::new("user") else { return };
    std::os::unix::fs::symlink("busybox", bundle.rootfs().join("bin/tr")).unwrap();
    let process = bundle.spec.process.as_mut().unwrap();
    process.user = User { uid: 33, gid: 44, umask: None, additional_gids: vec![55, 66] };
    process.capabilities = Some(Capabilities {
        bounding: names(&["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"]),
        permitted: names(&["CAP_CHOWN", "CAP_KILL"]),
        effective: names(&["CAP_CHOWN"]),
        inheritable: names(&["CAP_KILL"]),
        ambient: names(&["CAP_KILL"]),
    });
    process.rlimits = [("RLIMIT_NOFILE", 77, 99), ("RLIMIT_CORE", 0, 0)]
        .map(|(kind, soft, hard)| Rlimit { kind: kind.to_owned(), soft, hard })
        .to_vec();
    bundle.args(&["sh", "-c", "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs)' /proc/self/status; grep -E 'open files|core file' /proc/self/limits"]);
    for (no_new_privileges, expect) in [(true, "1"), (false, "0")] {
        bundle.spec.process.as_mut().unwrap().no_new_privileges = no_new_privileges;
        let (code, out, error) = bundle.run_container("c1");
        assert_eq!((code, error.as_str()), (0, ""));
        let field = |name: &str| -> Vec<&str> {
            let line = out.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {out}"));
            line[name.len()..].split_whitespace().collect()
        };
        assert_eq!(field("Uid:"), ["33"; 4]);
        assert_eq!(field("Gid:"), ["44"; 4]);
        // With its own group, which a program could otherwise give up to get past "not for this group" (CVE-2022-36109).
        assert_eq!(field("Groups:"), ["44", "55", "66"]);
        // A program that is no file with capabilities has those that are ambient.
        let kill = format!("{:016x}", 1 << 5);
        assert_eq!((field("CapInh:"), field("CapPrm:")), (vec![kill.as_str()], vec![kill.as_str()]));
        assert_eq!((field("CapEff:"), field("CapAmb:")), (vec![kill.as_str()], vec![kill.as_str()]));
        assert_eq!(field("CapBnd:"), [format!("{:016x}", 1 | 1 << 5 | 1 << 7)]);
        assert_eq!(field("NoNewPrivs:"), [expect]);
        assert_eq!(field("Max open files"), ["77", "99", "files"]);
        assert_eq!(field("Max core file size"), ["0", "0", "bytes"]);
    }
}

#[test]
fn a_working_directory_is_absolute() {
    let Some(mut bundle) = Bundle::new("cwd") else { return };
    for (cwd, args, words) in [
        ("bin", &["true"][..], "process.cwd \"bin\" is not absolute"),
        ("", &["true"], "process.cwd is not set"),
        ("/", &[], "process.args is empty"),
    ] {
        bundle.spec.process.as_mut().unwrap().cwd = cwd.to_owned();
        bundle.args(args);
        bundle.write();
        let error = bundle.fails(&["create", "c1"]);
        assert!(error.contains(words), "{error}");
    }
}

/// Those that nobody knows are an error for runtime-spec 1.0, and a warning since 1.1; those that this machine's root does
/// not have are a warning always.
#[test]
fn capabilities_that_cannot_be_granted_are_noted() {
    let Some(mut bundle) = Bundle::new("granted") else { return };
    bundle.args(&["grep", "CapBnd", "/proc/self/status"]);
    let with = |more: &str| {
        let set = names(&["CAP_CHOWN", more]);
        Some(Capabilities { bounding: set.clone(), permitted: set.clone(), effective: set, ..Capabilities::default() })
    };
    bundle.spec.process.as_mut().unwrap().capabilities = with("CAP_FUTURE");
    let (code, _, error) = bundle.run_container("c1");
    assert!(code == 1 && error.contains("CAP_FUTURE"), "{error}");
    bundle.spec.oci_version = "1.3.0".to_owned();
    let (code, out, error) = bundle.run_container("c1");
    assert_eq!((code, out.trim()), (0, "CapBnd:\t0000000000000001"), "{error}");
    assert!(error.contains("level=warning") || error.contains("warning"), "{error}");
    assert!(error.contains("CAP_FUTURE"), "{error}");
    // exec names what it does not know.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let held = status.lines().find_map(|line| line.strip_prefix("CapPrm:")).unwrap().trim();
    let held = u64::from_str_radix(held, 16).unwrap();
    if held & 1 << 24 == 0 {
        bundle.spec.process.as_mut().unwrap().capabilities = with("CAP_SYS_RESOURCE");
        let (code, out, error) = bundle.run_container("c1");
        assert_eq!((code, out.trim()), (0, "CapBnd:\t0000000000000001"), "{error}");
        assert!(error.contains("CAP_SYS_RESOURCE cannot be granted"), "{error}");
    }
}

#[test]
fn devices_are_what_the_list_says() {
    let Some(mut bundle) = Bundle::new("devices") else { return };
    let device = |kind: &str, path: &str, major, minor| Device {
        kind: kind.to_owned(),
        path: path.to_owned(),
        major,
        minor,
        ..Device::default()
    };
    bundle.spec.linux.devices = vec![
        Device { file_mode: Some(0o644), uid: Some(33), gid: Some(44), ..device("c", "/dev/first", 1, 5) },
        device("u", "/outside/of/dev", 1, 3),
        Device { file_mode: Some(0o600), ..device("b", "/dev/block", 7, 200) },
        device("p", "/dev/pipe", 0, 0),
        // One that is there already, and is this one.
        device("c", "/dev/null", 1, 3),
    ];
    bundle.args(&[
        "sh",
        "-c",
        "ls -ln /dev/first /outside/of/dev /dev/block /dev/pipe | while read a b c d e f rest; do echo $a $c $d $e $f; done; \
         head -c 3 /dev/first | dd bs=1 2>&1 >/dev/null | head -1; echo x > /outside/of/dev",
    ]);
    let (code, out, error) = bundle.run_container("c1");
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    let has = |start: &str| assert!(lines.iter().any(|line| line.starts_with(start)), "{start}: {out}");
    has("brw------- 0 0 7, 200");
    has("crw-r--r-- 33 44 1, 5");
    has("prw-rw-rw- 0 0");
    has("crw-rw-rw- 0 0 1, 3");
    has("3+0 records");
    // Something else is there: an error, and it stays what it is.
    std::fs::write(bundle.rootfs().join("taken"), "the image's").unwrap();
    for (kind, path, major, minor, words) in [
        ("c", "/taken", 1, 3, "/taken"),
        ("c", "/dev/null", 1, 5, "/dev/null"),
        ("x", "/dev/y", 1, 3, "device type \"x\""),
        ("c", "/dev/y", -1, 3, "-1:3"),
    ] {
        bundle.spec.linux.devices = vec![device(kind, path, major, minor)];
        let (code, _, error) = bundle.run_container("c1");
        assert!(code == 1 && error.contains(words), "{path}: {code} {error}");
    }
    assert_eq!(std::fs::read_to_string(bundle.rootfs().join("taken")).unwrap(), "the image's");
}

/// 0 was "no limit" until runtime-spec 1.3, where -1 is.
#[test]
fn no_limit_of_processes() {
    let Some(mut bundle) = Bundle::new("pids") else { return };
    bundle.args(&["sleep", "600"]);
    for (version, limit, expect) in [("1.0.2", 0, "max"), ("1.2.0", 0, "max"), ("1.3.0", 0, "0"), ("1.3.0", -1, "max")]
    {
        bundle.spec.oci_version = version.to_owned();
        bundle.spec.linux.resources =
            Some(Resources { pids: Some(Pids { limit: Some(limit) }), ..Resources::default() });
        bundle.write();
        bundle.ok(&["create", "c1"]);
        let files = Bundle::cgroups(&bundle.spec.linux.cgroups_path).into_iter().map(|dir| dir.join("pids.max"));
        let read: Vec<String> = files.filter_map(|file| std::fs::read_to_string(file).ok()).collect();
        assert_eq!(read, [format!("{expect}\n")], "{version} {limit}");
        bundle.ok(&["delete", "--force", "c1"]);
    }
}

#[test]
fn intel_rdt_is_refused_by_name() {
    let Some(mut bundle) = Bundle::new("rdt") else { return };
    bundle.args(&["true"]);
    for (rdt, words) in [
        (r#"{"closID":"guaranteed","l3CacheSchema":"L3:0=ff"}"#, "linux.intelRdt is not supported"),
        (r#"{"enableMonitoring":true}"#, "linux.intelRdt is not supported"),
        (r#"{"closID":"../a"}"#, "intelRdt.closID"),
        (r#"{"memBwSchema":"L3:0=f"}"#, "intelRdt.memBwSchema"),
    ] {
        bundle.spec.linux.intel_rdt = Some(serde_json::from_str(rdt).unwrap());
        bundle.write();
        let error = bundle.fails(&["create", "c1"]);
        assert!(error.contains(words), "{error}");
    }
    bundle.spec.linux.intel_rdt = None;
    bundle.write();
    let features: serde_json::Value = serde_json::from_str(&bundle.ok(&["features"])).unwrap();
    assert_eq!(features["linux"]["intelRdt"]["enabled"], false);
}

/// runtime-spec config-linux.md, "Cgroup ownership": on version 2, with namespaces of its own and a cgroup mount that may be
/// written, root of the container can divide its cgroup, and its limits stay the host's.
#[test]
fn a_cgroup_belongs_to_the_containers_user() {
    let Some(mut bundle) = Bundle::new("owner") else { return };
    if !std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        eprintln!("skipped: cgroup version 2 alone is not what this machine has");
        return;
    }
    let base = 700_000;
    bundle.spec.linux.namespaces.push(Namespace { kind: "user".to_owned(), path: String::new() });
    bundle.spec.linux.uid_mappings = vec![IdMapping { container_id: 0, host_id: base, size: 65536 }];
    bundle.spec.linux.gid_mappings = bundle.spec.linux.uid_mappings.clone();
    bundle.spec.linux.resources = Some(Resources { pids: Some(Pids { limit: Some(40) }), ..Resources::default() });
    bundle.args(&[
        "sh",
        "-c",
        "busybox mkdir /sys/fs/cgroup/below && echo made; echo 0 > /sys/fs/cgroup/below/cgroup.procs && echo moved; \
         echo 99 > /sys/fs/cgroup/pids.max || echo kept",
    ]);
    give(&bundle.rootfs(), base);
    for writable in [true, false] {
        for mount in bundle.spec.mounts.iter_mut().filter(|mount| mount.kind == "cgroup") {
            mount.options = names(if writable { &["nosuid"] } else { &["nosuid", "ro"] });
        }
        bundle.write();
        bundle.ok(&["create", "c1"]);
        let directory = Bundle::cgroups(&bundle.spec.linux.cgroups_path).remove(0);
        let owner = |name: &str| std::os::unix::fs::MetadataExt::uid(&directory.join(name).metadata().unwrap());
        let expect = if writable { base } else { 0 };
        assert_eq!((owner(""), owner("cgroup.procs"), owner("pids.max")), (expect, expect, 0));
        bundle.ok(&["delete", "--force", "c1"]);
        let (_, out, error) = bundle.run_container("c1");
        assert_eq!(out, if writable { "made\nmoved\nkept\n" } else { "kept\n" }, "{error}");
    }
}
