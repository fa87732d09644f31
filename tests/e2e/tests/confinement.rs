//! How a container is shut in, looked at from inside.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use testkit::harness::{Lab, Test};
use testkit::images::digest;
use testkit::{programs, tests};

use crate::check::{eq, has};

pub const TESTS: &[Test] = tests![
    namespaces,
    masked_and_read_only_paths,
    capabilities,
    seccomp,
    descriptors,
    devices,
    read_only_root,
    privileged,
    programs_of_the_host_are_out_of_reach,
    dangerous_calls_are_refused,
    mount_table,
];

fn namespaces(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name box busybox sleep 1000")?;
    lab.client.ok("run -d --name other busybox sleep 1000")?;
    for kind in ["pid", "mnt", "net", "ipc", "uts", "cgroup"] {
        let host = std::fs::read_link(format!("/proc/self/ns/{kind}"))?.display().to_string();
        let inside = lab.client.ok(&format!("exec box readlink /proc/1/ns/{kind}"))?;
        ensure!(inside.starts_with(kind) && inside != host, "{kind} namespace {inside}, the host's is {host}");
        let other = lab.client.ok(&format!("exec other readlink /proc/1/ns/{kind}"))?;
        ensure!(inside != other, "two containers share the {kind} namespace {inside}");
    }
    // Only the container's own processes are there.
    let comms = lab.client.ok("exec box sh -c 'cat /proc/[0-9]*/comm'")?;
    let comms: BTreeSet<&str> = comms.lines().collect();
    ensure!(comms.is_subset(&BTreeSet::from(["sleep", "sh", "cat"])), "processes inside: {comms:?}");
    for line in lab.client.ok("exec box cat /proc/self/cgroup")?.lines() {
        ensure!(line.ends_with(":/"), "the cgroup namespace shows {line:?}");
    }
    Ok(())
}

fn masked_and_read_only_paths(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name box busybox sleep 1000")?;
    for path in ["/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug"] {
        let text = lab.client.ok(&format!("exec box sh -c 'test ! -e {path} || head -c 1 {path} | wc -c'"))?;
        ensure!(text.is_empty() || text == "0", "{path} can be read");
    }
    for path in ["/proc/acpi", "/proc/scsi", "/proc/asound", "/sys/firmware", "/sys/devices/virtual/powercap"] {
        let text = lab.client.ok(&format!("exec box sh -c 'test ! -e {path} || ls -A {path} | wc -l'"))?;
        ensure!(text.is_empty() || text == "0", "{path} has {text} entries");
    }
    for path in ["/proc/sys/kernel/panic", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity"] {
        let output = lab.client.run(&format!("exec box sh -c 'test ! -e {path} || echo 0 > {path}'"))?;
        let there = lab.client.run(&format!("exec box test -e {path}"))?.code == 0;
        ensure!(!there || output.stderr.contains("Read-only file system"), "{path}: {}", output.describe());
    }
    has(&lab.client.run("exec box mkdir /sys/x")?.stderr, "Read-only file system")?;
    let cgroup = lab
        .client
        .run("exec box sh -c 'for d in /sys/fs/cgroup /sys/fs/cgroup/*/; do mkdir $d/x && echo made $d; done'")?;
    ensure!(!cgroup.stdout.contains("made"), "cgroups can be made inside: {}", cgroup.describe());
    Ok(())
}

fn status(lab: &Lab, options: &str, key: &str) -> Result<u64> {
    let text = lab.client.ok(&format!("run --rm {options} busybox grep ^{key}: /proc/self/status"))?;
    let value = text.split_whitespace().last().context("no value")?;
    Ok(u64::from_str_radix(value, 16)?)
}

/// Capabilities that this machine's root holds at all.
fn held() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("CapBnd:")).context("no CapBnd")?;
    Ok(u64::from_str_radix(line.trim(), 16)?)
}

/// chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service, net_raw, sys_chroot, mknod,
/// audit_write, setfcap.
const DEFAULT: u64 = 0xa804_25fb;

fn capabilities(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let held = held()?;
    for key in ["CapPrm", "CapEff", "CapBnd"] {
        eq(key, status(lab, "", key)?, DEFAULT & held)?;
    }
    for key in ["CapInh", "CapAmb"] {
        eq(key, status(lab, "", key)?, 0)?;
    }
    eq("--cap-drop ALL", status(lab, "--cap-drop ALL", "CapBnd")?, 0)?;
    eq("--cap-drop one", status(lab, "--cap-drop NET_RAW", "CapEff")?, DEFAULT & held & !(1 << 13))?;
    eq("--cap-add one", status(lab, "--cap-add NET_ADMIN", "CapEff")?, (DEFAULT | 1 << 12) & held)?;
    eq("--cap-add with prefix", status(lab, "--cap-add cap_sys_time", "CapEff")?, (DEFAULT | 1 << 25) & held)?;
    eq("all but one", status(lab, "--cap-drop ALL --cap-add CHOWN", "CapEff")?, 1 & held)?;
    eq("--cap-add ALL", status(lab, "--cap-add ALL", "CapEff")?, held)?;
    lab.client
        .fails(125, "run --rm --cap-add NOPE busybox true")?
        .stderr_has("invalid CapAdd: unknown capability: \"CAP_NOPE\"")?;
    Ok(())
}

fn seccomp(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    eq("mode", status(lab, "", "Seccomp")?, 2)?;
    eq("no_new_privs by default", status(lab, "", "NoNewPrivs")?, 0)?;
    // Refused by the profile, not by a missing capability alone: the call fails although CAP_SYS_ADMIN is not asked for.
    let output = lab.client.run("run --rm busybox unshare -U true")?;
    ensure!(output.code != 0 && output.stderr.contains("Operation not permitted"), "{}", output.describe());
    Ok(())
}

fn descriptors(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    for options in ["-d", "-d -i", "-d -t", "-d --network none", "-d --network host", "-d -v /tmp:/m"] {
        lab.client.ok(&format!("run {options} --name box busybox sleep 1000"))?;
        let list = lab.client.ok("exec box ls /proc/1/fd")?;
        eq(&format!("descriptors of process 1 with {options}"), list.lines().collect::<Vec<_>>(), vec!["0", "1", "2"])?;
        // `ls` itself has its directory open besides.
        let list = lab.client.ok("exec box ls /proc/self/fd")?;
        eq("descriptors of an exec", list.lines().collect::<Vec<_>>(), vec!["0", "1", "2", "3"])?;
        lab.client.ok("rm -f box")?;
    }
    Ok(())
}

fn devices(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let list = lab.client.ok("run --rm busybox ls /dev")?;
    let found: BTreeSet<&str> = list.lines().collect();
    let mut expect = BTreeSet::from([
        "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom",
        "zero",
    ]);
    if std::path::Path::new("/proc/kcore").exists() {
        expect.insert("core");
    }
    eq("/dev", found, expect)?;
    lab.client.ok("run --rm busybox sh -c 'echo x > /dev/null; head -c 4 /dev/zero; head -c 4 /dev/urandom'")?;
    lab.client.ok("run --rm busybox sh -c 'touch /dev/shm/x && test $(stat -f -c %T /dev/shm) = tmpfs'")?;
    has(&lab.client.ok("run --rm -t busybox ls /dev")?, "console")?;
    // mknod is allowed, opening what it makes is not: the device list of the cgroup.
    for (name, numbers) in [("block", "b 7 0"), ("mem", "c 1 1"), ("kmsg", "c 1 11")] {
        let script = format!("mknod /{name} {numbers} && head -c 1 /{name}");
        let output = lab.client.run(&format!("run --rm busybox sh -c '{script}'"))?;
        ensure!(output.code != 0 && output.stderr.contains("not permitted"), "{name}: {}", output.describe());
    }
    Ok(())
}

fn read_only_root(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    for path in ["/x", "/etc/x", "/dev/x"] {
        let output = lab.client.run(&format!("run --rm --read-only busybox touch {path}"))?;
        let ok = path.starts_with("/dev") || output.stderr.contains("Read-only file system");
        ensure!(ok, "{path}: {}", output.describe());
    }
    lab.client.ok("run --rm --read-only --tmpfs /t busybox touch /t/x /dev/shm/x")?;
    lab.client.ok("run --rm --read-only -v data:/d busybox touch /d/x")?;
    lab.daemon.api("DELETE", "/volumes/data", None)?.success()?;
    Ok(())
}

fn privileged(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    eq("capabilities", status(lab, "--privileged", "CapEff")?, held()?)?;
    eq("seccomp", status(lab, "--privileged", "Seccomp")?, 0)?;
    lab.client.ok("run --rm --privileged busybox sh -c 'mount -t tmpfs none /mnt 2>/dev/null || mkdir /m && mount -t tmpfs none /m'")?;
    let list = lab.client.ok("run --rm --privileged busybox ls /dev")?;
    ensure!(list.lines().any(|name| name == "kmsg"), "/dev of a privileged container lacks the host's devices: {list}");
    let text = lab.client.ok("run --rm --privileged busybox cat /proc/mounts")?;
    let sys = text.lines().find(|line| line.contains(" /sys sysfs ")).context("no /sys")?;
    ensure!(sys.contains("rw"), "/sys is read-only: {sys}");
    Ok(())
}

/// CVE-2019-5736: a container that runs `/proc/self/exe` must not get at a writable program of the host.
fn programs_of_the_host_are_out_of_reach(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let program = programs::product("hoist-runtime")?;
    let before = digest(&std::fs::read(&program)?);
    lab.client.run("run --rm --entrypoint /proc/self/exe busybox --version")?;
    lab.client.ok("run -d --name box busybox sleep 1000")?;
    lab.client.run("exec box /proc/self/exe --version")?;
    // Overwrite what every process in sight runs.
    let script = "for i in $(seq 50); do for e in /proc/[0-9]*/exe; do echo broken > $e; done; done 2>/dev/null; true";
    let attack = lab.client.spawn(&format!("exec box sh -c '{script}'"))?;
    for _ in 0..10 {
        lab.client.run("exec box true")?;
    }
    attack.finish(testkit::client::LIMIT)?;
    eq("hoist-runtime", digest(&std::fs::read(&program)?), before)?;
    let exe = lab.client.ok("exec box readlink /proc/self/exe")?;
    ensure!(exe.starts_with("/bin/"), "the exec runs {exe}");
    Ok(())
}

fn dangerous_calls_are_refused(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    for line in [
        "mount -t tmpfs none /tmp",
        "umount /proc",
        "hostname other",
        "ip link set lo down",
        "unshare -m true",
        "chroot /proc/1/root sh -c 'umount /proc'",
        "date -s 2000-01-01",
        "insmod /etc/passwd",
        "swapoff -a /etc/passwd",
        "reboot -f",
        "dmesg -c",
    ] {
        let output = lab.client.run(&format!("run --rm busybox {line}"))?;
        // Some of busybox's programs complain and exit with 0.
        let refused = output.code != 0 || output.stderr.contains("not permitted");
        ensure!(refused, "{line} worked\n{}", output.describe());
    }
    Ok(())
}

fn mount_table(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let table = lab.client.ok("run --rm busybox cat /proc/self/mountinfo")?;
    let point = |line: &str| line.split(' ').nth(4).map(str::to_string).unwrap_or_default();
    let points: Vec<String> = table.lines().map(point).collect();
    for must in [
        "/",
        "/proc",
        "/dev",
        "/dev/pts",
        "/dev/shm",
        "/dev/mqueue",
        "/sys",
        "/etc/hosts",
        "/etc/hostname",
        "/etc/resolv.conf",
    ] {
        ensure!(points.iter().any(|p| p == must), "{must} is no mount point:\n{table}");
    }
    ensure!(!table.contains("master:") && !table.contains("shared:"), "mounts propagate:\n{table}");
    // And the host sees none of it.
    lab.client.ok("run -d --name box busybox sleep 1000")?;
    let host = std::fs::read_to_string("/proc/self/mountinfo")?;
    ensure!(!host.contains(&lab.daemon.root().display().to_string()), "the machine's mount table shows:\n{host}");
    Ok(())
}
