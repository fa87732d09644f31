//! Commands that look at containers or change their limits, and the log, with the built program. Needs root and busybox.

#![allow(clippy::unwrap_used, reason = "a test")]

mod bundle;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use bundle::{Bundle, texts};
use serde_json::Value;

fn running(name: &str, script: &str) -> Option<Bundle> {
    let mut bundle = Bundle::new(name)?;
    bundle.args(&["sh", "-c", script]);
    bundle.write();
    bundle.ok(&["run", "-d", "c1"]);
    Some(bundle)
}

#[test]
fn containers_are_listed() {
    let Some(bundle) = running("list", "sleep 600") else { return };
    let list: Value = serde_json::from_str(&bundle.ok(&["list", "--format", "json"])).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1);
    let state: Value = serde_json::from_str(&bundle.ok(&["state", "c1"])).unwrap();
    assert_eq!(list[0], state);
    for (field, expect) in [("id", "c1"), ("status", "running"), ("owner", "root"), ("ociVersion", "1.3.0")] {
        assert_eq!(state[field], expect);
    }
    assert!(state["rootfs"].as_str().unwrap().ends_with("bundle/rootfs"));
    assert!(state["created"].as_str().unwrap().ends_with('Z'));
    assert_eq!(bundle.ok(&["list", "-q"]), "c1\n");
    assert!(bundle.ok(&["list"]).starts_with("ID          PID         STATUS      BUNDLE"));
    assert_eq!(bundle.fails(&["list", "-f", "xml"]), "invalid format option");
    bundle.ok(&["delete", "-f", "c1"]);
    assert_eq!(bundle.ok(&["list", "-f", "json"]), "[]\n");
}

#[test]
fn a_paused_container_stands_still() {
    let Some(bundle) = running("pause", "while :; do :; done") else { return };
    bundle.ok(&["pause", "c1"]);
    assert_eq!(bundle.state("c1").status, "paused");
    assert_eq!(bundle.fails(&["pause", "c1"]), "cannot pause a container in the paused state");
    bundle.ok(&["resume", "c1"]);
    assert_eq!(bundle.fails(&["resume", "c1"]), "container not paused");
    assert_eq!(bundle.state("c1").status, "running");
    // SIGKILL ends it all the same, and so does delete.
    bundle.ok(&["pause", "c1"]);
    bundle.ok(&["kill", "c1", "9"]);
    bundle.until("c1", "stopped");
    assert_eq!(bundle.fails(&["pause", "c1"]), "container not running");
    bundle.ok(&["delete", "c1"]);
    bundle.ok(&["run", "-d", "c1"]);
    bundle.ok(&["pause", "c1"]);
    bundle.ok(&["delete", "--force", "c1"]);
}

#[test]
fn limits_change_while_it_runs() {
    let Some(bundle) = running("update", "sleep 600") else { return };
    let path = bundle.spec.linux.cgroups_path.clone();
    let read = |names: &[&str]| -> String {
        let files = Bundle::cgroups(&path).into_iter().flat_map(|dir| names.iter().map(move |name| dir.join(name)));
        files.filter_map(|file| std::fs::read_to_string(file).ok()).next().unwrap_or_default().trim().to_owned()
    };
    bundle.ok(&["update", "c1", "--memory", "64m", "--pids-limit", "20", "--cpu-quota", "20000", "--cpu-share", "512"]);
    assert_eq!(read(&["memory.limit_in_bytes", "memory.max"]), (64 << 20).to_string());
    assert_eq!(read(&["pids.max"]), "20");
    assert!(["20000", "20000 100000"].contains(&read(&["cpu.cfs_quota_us", "cpu.max"]).as_str()));
    assert!(["512", "59"].contains(&read(&["cpu.shares", "cpu.weight"]).as_str()));
    let file = bundle.base.join("resources.json");
    std::fs::write(&file, r#"{"pids":{"limit":21},"cpu":{"period":50000}}"#).unwrap();
    bundle.ok(&["update", "--resources", file.to_str().unwrap(), "c1"]);
    assert_eq!(read(&["pids.max"]), "21");
    // The quota of before holds with the new period.
    assert!(["20000", "20000 50000"].contains(&read(&["cpu.cfs_quota_us", "cpu.max"]).as_str()));
    let mut child = bundle.command(&["update", "-r", "-", "c1"]).stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), br#"{"pids":{"limit":-1}}"#).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(read(&["pids.max"]), "max");
    for (arguments, words) in [
        (&["--memory", "lots"][..], "invalid value \"lots\" for flag --memory"),
        (&["--kernel-memory", "5"], "--kernel-memory"),
        (&["--l3-cache-schema", "x"], "Intel RDT"),
        (&["--resources", "/nowhere"], "/nowhere"),
    ] {
        let error = bundle.fails(&[&["update", "c1"], arguments].concat());
        assert!(error.contains(words), "{error}");
    }
    bundle.ok(&["delete", "-f", "c1"]);
}

#[test]
fn counters_and_ends_are_told() {
    let Some(bundle) = running("events", "sleep 600") else { return };
    let stats: Value = serde_json::from_str(&bundle.ok(&["events", "--stats", "c1"])).unwrap();
    assert_eq!((&stats["type"], &stats["id"]), (&"stats".into(), &"c1".into()));
    assert_eq!(stats["data"]["pids"]["current"], 1);
    assert!(stats["data"]["memory"]["usage"]["usage"].as_u64().is_some());
    let mut child = bundle.command(&["events", "--interval", "20ms", "c1"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(event["type"], "stats");
    }
    bundle.ok(&["kill", "c1", "KILL"]);
    assert!(lines.map_while(Result::ok).all(|line| line.contains("\"stats\"")));
    assert!(child.wait().unwrap().success());
    bundle.ok(&["delete", "c1"]);
    // The OOM killer is heard of.
    let Some(mut bundle) = Bundle::new("oom") else { return };
    bundle.spec.linux.resources = serde_json::from_str(r#"{"memory":{"limit":16777216,"swap":16777216}}"#).unwrap();
    bundle.args(&["sh", "-c", "read x < /fifo; x=$(dd if=/dev/zero bs=1M count=64 | cat -v); sleep 600"]);
    bundle.write();
    rustix::fs::mkfifoat(rustix::fs::CWD, bundle.rootfs().join("fifo"), rustix::fs::Mode::RWXU).unwrap();
    bundle.ok(&["run", "-d", "c1"]);
    let mut child = bundle.command(&["events", "--interval", "1h", "c1"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("\"stats\""));
    std::fs::write(bundle.rootfs().join("fifo"), "go\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), r#"{"id":"c1","type":"oom"}"#);
    bundle.ok(&["delete", "-f", "c1"]);
    child.wait().unwrap();
}

#[test]
fn a_configuration_to_start_from() {
    let Some(bundle) = Bundle::new("spec") else { return };
    bundle.ok(&["spec"]);
    assert_eq!(bundle.fails(&["spec"]), "File config.json exists. Remove it first");
    let mut child = bundle.command(&["run", "c1"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"echo $((6*7)); exit 3\n").unwrap();
    let (code, out, _) = texts(&child.wait_with_output().unwrap());
    assert!(code == 3 && out.contains("42\r\n"), "{code} {out}");
    let features: Value = serde_json::from_str(&bundle.ok(&["features"])).unwrap();
    assert_eq!((&features["ociVersionMin"], &features["ociVersionMax"]), (&"1.0.0".into(), &"1.3.0".into()));
    for command in ["checkpoint", "restore"] {
        let error = bundle.fails(&[command, "--image-path", "/x", "c1"]);
        assert_eq!(error, format!("{command} (it needs CRIU) is not supported by this runtime"));
    }
    let (code, out, _) = bundle.run(&["--version"]);
    assert!(code == 0 && out.starts_with("hoist-runtime version ") && out.ends_with("\nspec: 1.3.0\n"), "{out}");
    assert!(bundle.ok(&["create", "--help"]).contains("--no-pivot"));
}

#[test]
fn errors_are_noted_in_the_log() {
    let Some(bundle) = Bundle::new("log") else { return };
    let log = bundle.base.join("log");
    bundle.fails(&["--log", log.to_str().unwrap(), "--log-format", "json", "state", "nobody"]);
    let note: Value = serde_json::from_str(std::fs::read_to_string(&log).unwrap().trim()).unwrap();
    assert_eq!((&note["level"], &note["msg"]), (&"error".into(), &"container does not exist".into()));
    assert!(note["time"].as_str().unwrap().ends_with('Z'));
    bundle.fails(&["--log", log.to_str().unwrap(), "state", "nobody"]);
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.lines().nth(1).unwrap().ends_with("level=error msg=\"container does not exist\""), "{text}");
    assert_eq!(bundle.fails(&["--log-format", "xml", "list"]), "unknown log-format \"xml\"");
    assert!(bundle.fails(&["--log", "/nowhere/log", "list"]).contains("/nowhere/log"));
}

#[test]
fn a_root_in_a_ramdisk_and_a_record_that_stays() {
    let Some(mut bundle) = Bundle::new("keep") else { return };
    bundle.spec.linux.masked_paths.retain(|path| path != "/proc/keys");
    bundle.args(&["sh", "-c", "ls / | head -1; grep -q _ses.c1 /proc/keys"]);
    bundle.write();
    let (code, out, err) = bundle.run(&["run", "--no-pivot", "--keep", "c1"]);
    assert_eq!((code, out.lines().next(), err.as_str()), (0, Some("bin"), ""));
    assert_eq!(bundle.state("c1").status, "stopped");
    bundle.ok(&["delete", "c1"]);
    // The session keyring is the container's own unless the caller's is asked for.
    assert_eq!(bundle.run(&["run", "c1"]).0, 0);
    bundle.args(&["grep", "-q", "_ses.c2", "/proc/keys"]);
    bundle.write();
    assert_eq!(bundle.run(&["run", "--no-new-keyring", "c2"]).0, 1);
}
