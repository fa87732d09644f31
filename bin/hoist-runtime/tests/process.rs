//! Properties of the process, with the built program. Needs root and busybox.

#![allow(clippy::unwrap_used, reason = "a test")]

mod bundle;

use std::io::Read;
use std::os::unix::net::UnixListener;

use bundle::Bundle;
use oci::runtime::{CpuAffinity, IoPriority, Personality, Scheduler, Seccomp, SyscallRule};

#[test]
fn schedulers_and_personality_arrive_in_the_kernel() {
    let Some(mut bundle) = Bundle::new("process") else { return };
    std::os::unix::fs::symlink("busybox", bundle.rootfs().join("bin/ionice")).unwrap();
    let process = bundle.spec.process.as_mut().unwrap();
    process.scheduler = Some(Scheduler { policy: "SCHED_BATCH".to_owned(), nice: 7, ..Scheduler::default() });
    process.io_priority = Some(IoPriority { class: "IOPRIO_CLASS_BE".to_owned(), priority: 6 });
    process.exec_cpu_affinity = Some(CpuAffinity { initial: "0".to_owned(), last: "0".to_owned() });
    process.oom_score_adj = Some(321);
    process.user.umask = Some(0o027);
    bundle.spec.linux.personality = Some(Personality { domain: "LINUX32".to_owned(), flags: vec![] });
    bundle.args(&[
        "sh",
        "-c",
        "cat /proc/self/stat; ionice -p 1; grep Cpus_allowed_list /proc/self/status; \
         cat /proc/1/oom_score_adj; umask; cat /proc/1/personality",
    ]);
    let (code, out, error) = bundle.run_container("c1");
    assert_eq!((code, error.as_str()), (0, ""));
    let lines: Vec<&str> = out.lines().collect();
    // Field 19 is the nice value, field 41 the policy: SCHED_BATCH is 3.
    let fields: Vec<&str> = lines[0].rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
    assert_eq!((fields[16], fields[38]), ("7", "3"), "{out}");
    assert_eq!(lines[1], "best-effort: prio 6");
    assert_eq!(lines[2].split_ascii_whitespace().last(), Some("0"));
    assert_eq!(&lines[3..], ["321", "0027", "00000008"]);
}

#[test]
fn memory_policy_and_propagation_of_the_root() {
    let Some(mut bundle) = Bundle::new("policy") else { return };
    bundle.args(&["sh", "-c", "head -1 /proc/self/numa_maps 2>/dev/null; cat /proc/self/mountinfo"]);
    if std::path::Path::new("/proc/self/numa_maps").exists() {
        let policy = serde_json::json!({"mode": "MPOL_BIND", "nodes": "0"});
        bundle.spec.linux.memory_policy = Some(serde_json::from_value(policy).unwrap());
    } else {
        eprintln!("skipped in part: the kernel has no memory policies");
    }
    for (word, expect) in [("shared", "shared:"), ("slave", ""), ("private", ""), ("unbindable", "unbindable")] {
        bundle.spec.linux.rootfs_propagation = word.to_owned();
        let (code, out, error) = bundle.run_container("c");
        assert_eq!((code, error.as_str()), (0, ""), "{word}");
        if bundle.spec.linux.memory_policy.is_some() {
            assert!(out.lines().next().is_some_and(|line| line.contains("bind:0")), "{out}");
        }
        let root = out.lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap_or_default();
        assert!(root.contains(expect), "{word}: {root}");
        assert!(!expect.is_empty() || !root.contains("shared:") && !root.contains("unbindable"), "{word}: {root}");
    }
}

#[test]
fn what_the_kernel_lacks_is_an_error_by_name() {
    let Some(mut bundle) = Bundle::new("lacks") else { return };
    bundle.args(&["true"]);
    let has = |path: &str| std::path::Path::new(path).exists();
    if !has("/sys/module/apparmor") {
        bundle.spec.process.as_mut().unwrap().apparmor_profile = "docker-default".to_owned();
        let error = bundle.run_container("c").2;
        assert!(error.contains("\"docker-default\": AppArmor is not enabled"), "{error}");
        bundle.spec.process.as_mut().unwrap().apparmor_profile = "unconfined".to_owned();
        assert_eq!(bundle.run_container("c").0, 0);
        bundle.spec.process.as_mut().unwrap().apparmor_profile.clear();
    }
    if !has("/sys/fs/selinux/enforce") {
        bundle.spec.process.as_mut().unwrap().selinux_label = "system_u:system_r:x_t:s0".to_owned();
        let error = bundle.run_container("c").2;
        assert!(error.contains("SELinux is not enabled"), "{error}");
        bundle.spec.process.as_mut().unwrap().selinux_label.clear();
    }
    // A process is needed by start, not by create.
    let process = bundle.spec.process.take();
    bundle.write();
    bundle.ok(&["create", "c"]);
    assert!(bundle.fails(&["start", "c"]).contains("process is not set"));
    bundle.ok(&["delete", "--force", "c"]);
    bundle.spec.process = process;
    assert_eq!(bundle.run_container("c").0, 0);
}

fn notifying(names: &[&str]) -> Seccomp {
    Seccomp {
        default_action: "SCMP_ACT_ALLOW".to_owned(),
        syscalls: vec![SyscallRule {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            action: "SCMP_ACT_NOTIFY".to_owned(),
            ..SyscallRule::default()
        }],
        ..Seccomp::default()
    }
}

#[test]
fn notifications_go_to_the_listener() {
    let Some(mut bundle) = Bundle::new("notify") else { return };
    let path = bundle.base.join("agent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    for (no_new_privileges, names) in [(true, &["sendmsg", "getcwd"][..]), (false, &["sendmsg"])] {
        let process = bundle.spec.process.as_mut().unwrap();
        process.no_new_privileges = no_new_privileges;
        let mut seccomp = notifying(names);
        seccomp.listener_path = path.to_str().unwrap().to_owned();
        seccomp.listener_metadata = "opaque".to_owned();
        seccomp.flags = vec!["SECCOMP_FILTER_FLAG_TSYNC".to_owned(), "SECCOMP_FILTER_FLAG_LOG".to_owned()];
        bundle.spec.linux.seccomp = Some(seccomp);
        bundle.spec.annotations.insert("org.example".to_owned(), "kept".to_owned());
        bundle.args(&["sleep", "600"]);
        bundle.write();
        bundle.ok(&["create", "c1"]);
        bundle.ok(&["start", "c1"]);
        let (mut agent, _) = listener.accept().unwrap();
        let mut buffer = vec![0; 65536];
        let (length, descriptors) = sys::socket::receive(&agent, &mut buffer).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&buffer[..length]).unwrap();
        assert_eq!(document["fds"], serde_json::json!(["seccompFd"]));
        assert_eq!(document["metadata"], "opaque");
        assert_eq!(document["pid"], bundle.state("c1").pid);
        assert_eq!(document["state"]["id"], "c1");
        assert_eq!(document["state"]["annotations"]["org.example"], "kept");
        assert_eq!(descriptors.len(), 1);
        let link = std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&descriptors[0])));
        assert_eq!(link.unwrap().to_str(), Some("anon_inode:seccomp notify"));
        // One state for a connection, which is closed then.
        assert_eq!(agent.read(&mut buffer).unwrap(), 0);
        bundle.ok(&["delete", "--force", "c1"]);
    }
    for (change, words) in [
        ((|seccomp| seccomp.listener_path.clear()) as fn(&mut Seccomp), "without listenerPath"),
        (|seccomp| seccomp.default_action = "SCMP_ACT_NOTIFY".to_owned(), "the default action"),
        (|seccomp| seccomp.syscalls[0].names.push("write".to_owned()), "the write syscall"),
        (|seccomp| seccomp.listener_path = "/nowhere/agent".to_owned(), "listenerPath /nowhere/agent"),
    ] {
        let mut seccomp = notifying(&["getcwd"]);
        seccomp.listener_path = path.to_str().unwrap().to_owned();
        change(&mut seccomp);
        bundle.spec.linux.seccomp = Some(seccomp);
        bundle.write();
        let error = bundle.fails(&["create", "c1"]);
        assert!(error.contains(words), "{error}");
    }
}
