//! `--systemd-cgroup` with the built program. Needs root, busybox and a systemd that is process 1.

#![allow(clippy::unwrap_used, reason = "a test")]

mod bundle;

use std::process::Command;

use bundle::Bundle;

fn show(unit: &str, property: &str) -> String {
    let output = Command::new("systemctl").args(["show", "--value", "-p", property, unit]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Beside version 1 hierarchies systemd would put back what it knows of: refused by name, before anything is made.
#[test]
fn version_1_is_refused() {
    let Some(mut bundle) = Bundle::new("systemd-v1") else { return };
    if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        eprintln!("skipped: this machine has version 2 alone");
        return;
    }
    bundle.spec.linux.cgroups_path = "hoisttest.slice:x:c1".to_owned();
    bundle.args(&["true"]);
    bundle.write();
    let error = bundle.fails(&["--systemd-cgroup", "create", "c1"]);
    assert!(error.contains("--systemd-cgroup beside cgroup version 1"), "{error}");
}

#[test]
fn the_list_of_devices_is_systemds_too() {
    if !std::path::Path::new("/run/systemd/system").exists()
        || !std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
    {
        eprintln!("skipped: needs systemd and cgroup version 2 alone");
        return;
    }
    let Some(mut bundle) = Bundle::new("systemd-devices") else { return };
    bundle.spec.linux.cgroups_path = "hoisttest.slice:x:d1".to_owned();
    bundle.spec.linux.resources = serde_json::from_str(
        r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"minor":200,"access":"rw"}]}"#,
    )
    .unwrap();
    std::os::unix::fs::symlink("busybox", bundle.rootfs().join("bin/mknod")).unwrap();
    let caps = bundle.spec.process.as_mut().unwrap().capabilities.as_mut().unwrap();
    for set in [&mut caps.bounding, &mut caps.permitted, &mut caps.effective] {
        set.push("CAP_MKNOD".to_owned());
    }
    bundle.args(&["sleep", "600"]);
    bundle.write();
    bundle.ok(&["--systemd-cgroup", "create", "c1"]);
    bundle.ok(&["start", "c1"]);
    assert_eq!(show("x-d1.scope", "DevicePolicy"), "strict");
    let allowed = show("x-d1.scope", "DeviceAllow");
    for device in ["/dev/char/10:200 rw", "/dev/char/1:3 rwm", "char-pts rwm"] {
        assert!(allowed.lines().any(|line| line == device), "{device}: {allowed}");
    }
    // systemd has written its own again, and both filters are still there: an allowed device works, others do not.
    assert!(Command::new("systemctl").arg("daemon-reload").status().unwrap().success());
    let script = "echo x > /dev/null && echo null; mknod /dev/mine c 1 11 && echo made; (echo x > /dev/kmsg2) 2>/dev/null; \
                  head -c 1 /dev/zero >/dev/null && echo zero; mknod /block b 7 0 && head -c 1 /block && echo block";
    let (_, out, error) = bundle.run(&["exec", "c1", "sh", "-c", script]);
    assert!(out.contains("null\n") && out.contains("zero\n") && !out.ends_with("block\n"), "{out} {error}");
    bundle.ok(&["delete", "--force", "c1"]);
}

#[test]
fn a_container_is_a_scope_of_systemds() {
    if !std::path::Path::new("/run/systemd/system").exists() {
        eprintln!("skipped: systemd is not running");
        return;
    }
    let Some(mut bundle) = Bundle::new("systemd") else { return };
    if !std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        eprintln!("skipped: cgroup version 2 alone is not what this machine has");
        return;
    }
    bundle.spec.linux.cgroups_path = "hoisttest.slice:x:c1".to_owned();
    bundle.spec.linux.resources =
        serde_json::from_str(r#"{"memory":{"limit":67108864},"cpu":{"shares":512},"pids":{"limit":50}}"#).unwrap();
    bundle.args(&["sleep", "600"]);
    bundle.write();
    bundle.ok(&["--systemd-cgroup", "create", "c1"]);
    bundle.ok(&["start", "c1"]);
    let unit = "x-c1.scope";
    let path = "/hoisttest.slice/x-c1.scope";
    for (property, expect) in [
        ("ActiveState", "active"),
        ("Slice", "hoisttest.slice"),
        ("Delegate", "yes"),
        ("TasksMax", "50"),
        ("ControlGroup", path),
    ] {
        assert_eq!(show(unit, property), expect, "{property}");
    }
    let members = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let pid = bundle.state("c1").pid.to_string();
    for directory in Bundle::cgroups(path) {
        assert_eq!(members(&std::fs::read_to_string(directory.join("cgroup.procs")).unwrap()), [pid.as_str()]);
    }
    bundle.ok(&["update", "--pids-limit", "60", "c1"]);
    assert_eq!(show(unit, "TasksMax"), "60");
    // systemd has written all of its own again, and the limits are still there.
    assert!(Command::new("systemctl").arg("daemon-reload").status().unwrap().success());
    let limits: Vec<String> =
        Bundle::cgroups(path).iter().filter_map(|dir| std::fs::read_to_string(dir.join("pids.max")).ok()).collect();
    assert_eq!(limits, ["60\n"]);
    // The name is taken.
    let error = bundle.fails(&["--systemd-cgroup", "create", "c2"]);
    assert!(error.contains("UnitExists") || error.contains("already"), "{error}");
    bundle.ok(&["delete", "--force", "c1"]);
    assert_eq!(show(unit, "ActiveState"), "inactive");
    assert!(Bundle::cgroups(path).is_empty());
    for wrong in ["/plain/path", "a:b:c", "a.slice:b:c/d"] {
        bundle.spec.linux.cgroups_path = wrong.to_owned();
        bundle.write();
        let error = bundle.fails(&["--systemd-cgroup", "create", "c1"]);
        assert!(error.contains("slice:prefix:name"), "{error}");
    }
}
