//! Limits.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use testkit::harness::{Lab, SOON, Test};
use testkit::{tests, wait};

use crate::check::{eq, has};

pub const TESTS: &[Test] =
    tests![memory_limit, out_of_memory, pids_limit, cpu_limit, bad_limits, w35_update, w23_stats];

/// Reads a limit of a running container from the host's side: `v1` is `controller/file`, `v2` a file.
fn limit(lab: &Lab, name: &str, v1: (&str, &str), v2: &str) -> Result<String> {
    let pid = lab.client.field(name, "{{.State.Pid}}")?;
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or(""), parts.next().unwrap_or("").trim_start_matches('/'));
        if controllers.split(',').any(|c| c == v1.0) {
            let dirs = [controllers, v1.0].map(|dir| PathBuf::from("/sys/fs/cgroup").join(dir).join(path).join(v1.1));
            let file = dirs.iter().find(|file| file.exists()).context("no cgroup file")?;
            return Ok(std::fs::read_to_string(file)?.trim().to_string());
        }
    }
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).context("no cgroup v2")?;
    Ok(std::fs::read_to_string(PathBuf::from("/sys/fs/cgroup").join(path).join(v2))?.trim().to_string())
}

fn memory_limit(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name box -m 64m busybox sleep 1000")?;
    eq("limit", limit(lab, "box", ("memory", "memory.limit_in_bytes"), "memory.max")?.as_str(), "67108864")?;
    eq("inspect", lab.client.field("box", "{{.HostConfig.Memory}}")?.as_str(), "67108864")?;
    // Seen from inside as well.
    let script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
    eq("inside", lab.client.ok(&format!("exec box sh -c '{script}'"))?.as_str(), "67108864")
}

fn out_of_memory(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    // tail keeps what it reads until a line ends.
    lab.client.run("run --name box -m 16m --memory-swap 16m busybox tail /dev/zero")?.code(137)?;
    wait::until_true(
        "the OOM kill to be noted",
        SOON,
        || Ok(lab.client.field("box", "{{.State.OOMKilled}}")? == "true"),
    )
}

fn pids_limit(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name box --pids-limit 20 busybox sleep 1000")?;
    eq("limit", limit(lab, "box", ("pids", "pids.max"), "pids.max")?.as_str(), "20")?;
    let output = lab.client.run("exec box sh -c 'for i in $(seq 40); do sleep 30 & done'")?;
    has(&output.stderr, "fork")
}

fn cpu_limit(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name box --cpus 0.5 busybox sleep 1000")?;
    let text = limit(lab, "box", ("cpu", "cpu.cfs_quota_us"), "cpu.max")?;
    ensure!(text == "50000" || text == "50000 100000", "quota {text:?}");
    eq("inspect", lab.client.field("box", "{{.HostConfig.NanoCpus}}")?.as_str(), "500000000")?;
    lab.client.ok("run -d --name sh --cpu-shares 512 busybox sleep 1000")?;
    let text = limit(lab, "sh", ("cpu", "cpu.shares"), "cpu.weight")?;
    ensure!(text == "512" || text == "20" || text == "59", "shares {text:?}");
    Ok(())
}

fn bad_limits(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.fails(125, "run --rm -m 4m busybox true")?.stderr_has("Minimum memory limit allowed is 6MB")?;
    lab.client.fails(125, "run --rm --cpus 1000 busybox true")?.stderr_has("range of CPUs is from 0.01 to")?;
    lab.client
        .fails(125, "run --rm -m nonsense busybox true")?
        .stderr_has("invalid argument \"nonsense\" for \"-m, --memory\" flag")?;
    Ok(())
}

fn w35_update(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name box -m 64m --memory-swap 64m busybox sleep 1000")?;
    eq("answer", lab.client.ok("update -m 128m --memory-swap 256m --pids-limit 30 box")?.as_str(), "box")?;
    eq("memory", limit(lab, "box", ("memory", "memory.limit_in_bytes"), "memory.max")?.as_str(), "134217728")?;
    eq("pids", limit(lab, "box", ("pids", "pids.max"), "pids.max")?.as_str(), "30")?;
    lab.client.ok("update --cpus 0.5 --restart on-failure:3 box")?;
    let text = limit(lab, "box", ("cpu", "cpu.cfs_quota_us"), "cpu.max")?;
    ensure!(text == "50000" || text == "50000 100000", "quota {text:?}");
    let format =
        "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}} {{.HostConfig.RestartPolicy.Name}}";
    let expected = "134217728 500000000 30 on-failure";
    eq("inspect", lab.client.field("box", format)?.as_str(), expected)?;
    // They are the container's from now on: through a restart of the daemon, and of itself.
    lab.daemon.kill9()?;
    lab.daemon.restart()?;
    lab.client.ok("restart -t 0 box")?;
    eq("after restarts", lab.client.field("box", format)?.as_str(), expected)?;
    eq("memory", limit(lab, "box", ("memory", "memory.limit_in_bytes"), "memory.max")?.as_str(), "134217728")?;
    lab.client.fails(1, "update -m 4m box")?.stderr_has("Minimum memory limit allowed is 6MB")?;
    lab.client.fails(1, "update --cpu-period 5000 box")?.stderr_has("Conflicting options")?;
    lab.client.fails(1, "update -m 64m nosuch")?.stderr_has("No such container: nosuch")?;
    Ok(())
}

fn w23_stats(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name box -m 64m busybox sh -c 'while :; do :; done'")?;
    let look = || -> Result<serde_json::Value> {
        lab.daemon.api("GET", "/containers/box/stats?stream=false&one-shot=true", None)?.success()?.json()
    };
    let number = |document: &serde_json::Value, path: &str| document.pointer(path).and_then(serde_json::Value::as_u64);
    let first = look()?;
    eq("limit", number(&first, "/memory_stats/limit"), Some(67_108_864))?;
    eq("processes", number(&first, "/pids_stats/current"), Some(1))?;
    ensure!(number(&first, "/networks/eth0/tx_packets").is_some(), "no figures of the network: {first}");
    let used = |document: &serde_json::Value| number(document, "/cpu_stats/cpu_usage/total_usage");
    wait::until_true("the container to use CPU", SOON, || Ok(used(&look()?) > used(&first)))?;
    let line = lab.client.ok("stats --no-stream --format '{{.Name}} {{.MemUsage}} {{.PIDs}} {{.CPUPerc}}' box")?;
    has(&line, "box ")?;
    has(&line, "/ 64MiB 1 ")?;
    ensure!(!line.ends_with(" 0.00%"), "a busy container uses no CPU: {line}");
    // A stream goes on until the container is removed.
    let stream = lab.client.spawn("stats --format '{{.Name}}' box")?;
    stream.expect("box", SOON)?;
    lab.client.ok("stop -t 0 box")?;
    let line = lab.client.ok("stats --no-stream --format '{{.Name}} {{.PIDs}}' box")?;
    has(&line, "box 0")?;
    lab.client.fails(1, "stats --no-stream nosuch")?.stderr_has("No such container: nosuch")?;
    stream.signal(rustix::process::Signal::KILL)?;
    stream.finish(SOON)?;
    Ok(())
}
