//! The real kernel: whatever layout this machine has, in a cgroup of its own. Needs root.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cgroup::{Cgroup, Controller, Error, Hierarchies, Kind, Layout};
use oci::runtime::Resources;

/// A cgroup that is removed at the end of the test, whatever happens.
struct Scratch {
    hierarchies: Hierarchies,
    name: String,
}

impl Scratch {
    /// `None`, and a reason on standard error, where the test cannot run.
    fn new(test: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        let hierarchies = match Hierarchies::detect() {
            Ok(hierarchies) => hierarchies,
            Err(error) => {
                eprintln!("skipped: {error}");
                return None;
            }
        };
        let name = format!("/hoist-test-{}-{test}", std::process::id());
        if let Err(error) = hierarchies.create(&name) {
            eprintln!("skipped: cannot make cgroups here: {error}: {:?}", std::error::Error::source(&error));
            return None;
        }
        Some(Self { hierarchies, name })
    }

    fn create(&self, name: &str) -> Cgroup {
        self.hierarchies.create(&format!("{}/{name}", self.name)).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Ok(group) = self.hierarchies.open(&self.name) {
            let _ = group.kill_all();
            if let Err(error) = group.remove_within(Duration::from_secs(5)) {
                eprintln!("left behind: {}: {error}", self.name);
            }
        }
    }
}

/// A process that waits for its standard input to end.
struct Sleeper(Child);

impl Sleeper {
    fn new() -> Self {
        Self(Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    /// Whether it answers.
    fn echo(&mut self) {
        self.0.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        let mut byte = [0];
        self.0.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn mount_of(layout: &Layout, controller: &str, v2: &str) -> Option<PathBuf> {
    let v1 = layout.v1.iter().find(|mount| mount.controllers.iter().any(|own| own == controller));
    match v1 {
        Some(mount) => Some(PathBuf::from(&mount.mount_point)),
        None => {
            let mount = PathBuf::from(layout.v2.as_ref()?);
            let offered = std::fs::read_to_string(mount.join("cgroup.controllers")).unwrap();
            offered.split_whitespace().any(|own| own == v2).then_some(mount)
        }
    }
}

fn layout() -> Layout {
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    Layout::parse(&mountinfo, &std::fs::read_to_string("/proc/cgroups").unwrap_or_default()).unwrap()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
}

fn resources(json: &str) -> Resources {
    serde_json::from_str(json).unwrap()
}

/// The cgroup of a process in every hierarchy that counts, without duplicates.
fn cgroups_of(pid: i32, hierarchies: &Hierarchies) -> BTreeSet<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let counts = |line: &&str| {
        let controllers = line.split(':').nth(1).unwrap();
        match controllers {
            "" => hierarchies.kind() != Kind::V1,
            "name=systemd" => layout().v1.iter().any(|mount| mount.name.is_some()),
            other => layout().v1.iter().any(|mount| mount.controllers.join(",") == other),
        }
    };
    text.lines().filter(counts).map(|line| line.splitn(3, ':').nth(2).unwrap().to_owned()).collect()
}

fn paths_left(scratch: &Scratch, name: &str) -> Vec<PathBuf> {
    let layout = layout();
    let mounts = layout.v1.iter().map(|mount| mount.mount_point.clone()).chain(layout.v2.clone());
    let path = |mount| PathBuf::from(format!("{mount}{}/{name}", scratch.name));
    mounts.map(path).filter(|path| path.exists()).collect()
}

#[test]
fn join_rename_and_remove() {
    let Some(scratch) = Scratch::new("rename") else { return };
    let mut group = scratch.create("pool-1");
    assert_eq!(group.path(), format!("{}/pool-1", &scratch.name[1..]));
    assert_eq!(group.needs_join(), scratch.hierarchies.kind() != Kind::V2);
    let mut sleeper = Sleeper::new();
    group.join(sleeper.pid()).unwrap();
    assert_eq!(cgroups_of(sleeper.pid(), &scratch.hierarchies), BTreeSet::from([format!("{}/pool-1", scratch.name)]));
    assert_eq!(group.processes().unwrap(), [sleeper.pid()]);

    group.rename("own").unwrap();
    assert_eq!(group.path(), format!("{}/own", &scratch.name[1..]));
    assert_eq!(cgroups_of(sleeper.pid(), &scratch.hierarchies), BTreeSet::from([format!("{}/own", scratch.name)]));
    assert!(paths_left(&scratch, "pool-1").is_empty());
    assert!(matches!(group.rename("../x"), Err(Error::InvalidPath { .. })));
    assert!(matches!(group.rename(".."), Err(Error::InvalidPath { .. })));
    sleeper.echo();

    // The name is taken: everything keeps the old one.
    let other = scratch.create("other");
    let other_sleeper = Sleeper::new();
    other.join(other_sleeper.pid()).unwrap();
    if group.needs_join() {
        assert!(group.rename("other").is_err());
        assert_eq!(cgroups_of(sleeper.pid(), &scratch.hierarchies), BTreeSet::from([format!("{}/own", scratch.name)]));
    }

    assert!(matches!(group.remove(), Err(Error::Busy { .. })));
    drop(sleeper);
    group.remove_within(Duration::from_secs(5)).unwrap();
    group.remove().unwrap();
    assert!(paths_left(&scratch, "own").is_empty());
    assert!(matches!(scratch.hierarchies.open(&format!("{}/own", scratch.name)), Err(Error::NotFound { .. })));
}

#[test]
fn limits_arrive() {
    let Some(scratch) = Scratch::new("limits") else { return };
    let group = scratch.create("a");
    let layout = layout();
    let path = |mount: PathBuf, file: &str| mount.join(group.path()).join(file);
    if let Some(mount) = mount_of(&layout, "pids", "pids") {
        group.apply(&resources(r#"{"pids":{"limit":7}}"#)).unwrap();
        assert_eq!(read(&path(mount.clone(), "pids.max")), "7");
        group.apply(&resources(r#"{"pids":{"limit":-1}}"#)).unwrap();
        assert_eq!(read(&path(mount, "pids.max")), "max");
    }
    if let Some(mount) = mount_of(&layout, "memory", "memory") {
        let v1 = mount != Path::new(layout.v2.as_deref().unwrap_or("-"));
        let file = path(mount.clone(), if v1 { "memory.limit_in_bytes" } else { "memory.max" });
        let has_swap = path(mount, if v1 { "memory.memsw.limit_in_bytes" } else { "memory.swap.max" }).exists();
        // Up and down: the kernel refuses memory above memory and swap, so the order has to change.
        for mib in [64u64, 16, 512, 32] {
            let bytes = mib << 20;
            let swap = if has_swap { format!(r#","swap":{}"#, bytes * 2) } else { String::new() };
            group.apply(&resources(&format!(r#"{{"memory":{{"limit":{bytes}{swap}}}}}"#))).unwrap();
            assert_eq!(read(&file), bytes.to_string());
        }
        assert_eq!(group.stats().unwrap().memory.limit, Some(32 << 20));
        group.apply(&resources(r#"{"memory":{"limit":-1}}"#)).unwrap();
        assert_eq!(group.stats().unwrap().memory.limit, None);
        assert_eq!(group.oom_kills().unwrap(), 0);
    }
    if let Some(mount) = mount_of(&layout, "cpu", "cpu") {
        let v1 = mount != Path::new(layout.v2.as_deref().unwrap_or("-"));
        for (quota, period) in [(50_000, 100_000), (10_000, 20_000), (400_000, 800_000)] {
            let json = format!(r#"{{"cpu":{{"shares":2048,"quota":{quota},"period":{period}}}}}"#);
            group.apply(&resources(&json)).unwrap();
            if v1 {
                assert_eq!(read(&path(mount.clone(), "cpu.cfs_quota_us")), quota.to_string());
                assert_eq!(read(&path(mount.clone(), "cpu.cfs_period_us")), period.to_string());
                assert_eq!(read(&path(mount.clone(), "cpu.shares")), "2048");
            } else {
                assert_eq!(read(&path(mount.clone(), "cpu.max")), format!("{quota} {period}"));
                assert_eq!(read(&path(mount.clone(), "cpu.weight")), "174");
            }
        }
    }
    if let Some(mount) = mount_of(&layout, "cpuset", "cpuset") {
        group.apply(&resources(r#"{"cpu":{"cpus":"0"}}"#)).unwrap();
        assert_eq!(read(&path(mount, "cpuset.cpus")), "0");
    }
    group.stats().unwrap();
    group.remove().unwrap();
}

#[test]
fn missing_controllers_are_named() {
    let Some(scratch) = Scratch::new("missing") else { return };
    let group = scratch.create("a");
    if !scratch.hierarchies.offers(Controller::Rdma) {
        let error = group.apply(&resources(r#"{"rdma":{"mlx5_1":{"hcaHandles":3}}}"#)).unwrap_err();
        assert_eq!(error.to_string(), "cgroup controller \"rdma\" is not available");
    }
    if group.needs_join() && !scratch.hierarchies.offers(Controller::NetCls) {
        let error = group.apply(&resources(r#"{"network":{"classID":1}}"#)).unwrap_err();
        assert_eq!(error.to_string(), "cgroup controller \"net_cls\" is not available");
    }
    for key in ["../x", "cgroup.procs", "a/b", ""] {
        let mut resources = Resources::default();
        resources.unified.insert(key.to_owned(), "1".to_owned());
        assert!(matches!(group.apply(&resources), Err(Error::InvalidValue { .. })), "{key}");
    }
    let mut unified = Resources::default();
    unified.unified.insert("no.such".to_owned(), "1".to_owned());
    assert!(matches!(group.apply(&unified), Err(Error::UnifiedNeedsV2 { .. } | Error::MissingFile { .. })));
    if scratch.hierarchies.kind() != Kind::V1 {
        let mut unified = Resources::default();
        unified.unified.insert("cgroup.max.depth".to_owned(), "5".to_owned());
        group.apply(&unified).unwrap();
    }
}

#[test]
fn freeze_kill_and_nested_cgroups() {
    let Some(scratch) = Scratch::new("freeze") else { return };
    let group = scratch.create("a");
    let below = scratch.create("a/below/deeper");
    let mut first = Sleeper::new();
    let mut second = Sleeper::new();
    // Version 2 has no processes beside enabled controllers: everyone goes below.
    below.join(first.pid()).unwrap();
    below.join(second.pid()).unwrap();
    first.echo();
    assert!(!group.is_frozen().unwrap());
    group.freeze().unwrap();
    assert!(group.is_frozen().unwrap());
    first.0.stdin.as_mut().unwrap().write_all(b"y").unwrap();
    group.thaw().unwrap();
    assert!(!group.is_frozen().unwrap());
    let mut byte = [0];
    first.0.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();

    let mut expect = [first.pid(), second.pid()];
    expect.sort_unstable();
    assert_eq!(group.processes().unwrap(), expect);
    // Killing works on frozen processes too.
    group.freeze().unwrap();
    group.kill_all().unwrap();
    for child in [&mut first.0, &mut second.0] {
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }
    group.kill_all().unwrap();
    group.remove_within(Duration::from_secs(5)).unwrap();
    assert!(paths_left(&scratch, "a").is_empty());
}

#[test]
fn devices_are_refused() {
    let Some(scratch) = Scratch::new("devices") else { return };
    let group = scratch.create("a");
    let rules = r#"{"devices":[{"allow":false,"access":"rwm"},
        {"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"},
        {"allow":true,"type":"c","major":1,"minor":5,"access":"r"}]}"#;
    match group.apply(&resources(rules)) {
        Err(Error::DeviceFilter { op, source, .. }) if scratch.hierarchies.kind() == Kind::V2 => {
            eprintln!("skipped: cannot {op} a device filter here: {source}");
            return;
        }
        result => result.unwrap(),
    }
    // A second time: the new filter replaces the old one.
    group.apply(&resources(rules)).unwrap();
    let can = |command: &str| {
        // The child waits until it has joined.
        let mut child = Command::new("sh")
            .args(["-c", &format!("read x; {command}")])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        group.join(child.id() as i32).unwrap();
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        child.wait().unwrap().success()
    };
    assert!(can("echo > /dev/null"));
    assert!(can(": < /dev/zero"));
    assert!(!can("echo > /dev/zero"));
    assert!(!can(": < /dev/full"));
    group.apply(&resources(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#)).unwrap();
    assert!(can(": < /dev/full"));
}

#[test]
fn create_and_apply_are_quick() {
    let Some(scratch) = Scratch::new("speed") else { return };
    scratch.create("warm").remove().unwrap();
    let limits = resources(
        r#"{"memory":{"limit":67108864},"cpu":{"shares":512},"pids":{"limit":100},"devices":[
        {"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"},
        {"allow":true,"type":"c","major":1,"minor":5,"access":"rwm"},{"allow":true,"type":"c","access":"m"}]}"#,
    );
    let mut times = [const { Vec::new() }; 4];
    for round in 0..50 {
        let begin = Instant::now();
        let mut group = scratch.create(&format!("g{round}"));
        times[0].push(begin.elapsed());
        let begin = Instant::now();
        group.rename(&format!("h{round}")).unwrap();
        times[1].push(begin.elapsed());
        let begin = Instant::now();
        if let Err(error) = group.apply(&limits) {
            eprintln!("not measured: {error}");
        }
        times[2].push(begin.elapsed());
        let begin = Instant::now();
        group.remove().unwrap();
        times[3].push(begin.elapsed());
    }
    for (what, times) in ["create", "rename", "apply", "remove"].iter().zip(&mut times) {
        times.sort();
        println!("{what}: median {:?}, fastest {:?}", times[25], times[0]);
    }
}
