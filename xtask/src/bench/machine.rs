//! What the machine is, and room on its disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::engine;

/// A directory for the peers' stores.
pub struct Scratch {
    pub path: PathBuf,
}

impl Scratch {
    pub fn new() -> Result<Scratch> {
        let base = std::env::var_os("HOIST_E2E_DIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
        let path = base.join(format!("hoist-bench-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Scratch { path })
    }

    pub fn remove(&self) -> Result<()> {
        for point in engine::mounts_below(&self.path)? {
            rustix::mount::unmount(&point, rustix::mount::UnmountFlags::DETACH)?;
        }
        fs::remove_dir_all(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))
    }
}

/// Kernel, processors, load, cgroups: what decides about the figures.
pub fn describe() -> Result<String> {
    let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_string()).unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let load = read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ");
    let mounts = read("/proc/mounts");
    let version =
        match (mounts.contains(" cgroup2 "), mounts.lines().any(|line| line.split(' ').nth(2) == Some("cgroup"))) {
            (true, true) => "version 1 beside version 2 (hybrid)",
            (false, true) => "version 1",
            (true, false) => "version 2",
            (false, false) => "none",
        };
    let favour =
        if mounts.lines().any(|line| line.contains("cgroup") && line.contains("favordynmods")) { "on" } else { "off" };
    let join = match join_after_rest() {
        Ok(took) => format!("{:.2} ms", took.as_secs_f64() * 1000.0),
        Err(error) => format!("not measured ({error:#})"),
    };
    Ok(format!(
        "machine: Linux {}, {processors} processors, load {load}\n\
         cgroups: {version}; mounted with favordynmods: {favour}; joining one after a rest takes {join} \
         (0.1 ms: joins are cheap, favordynmods took effect; about 9 ms: a stock boot, each isolated start pays it)",
        read("/proc/sys/kernel/osrelease")
    ))
}

/// CPU time that a process and its ended children have used, in steps of 10 ms: proc_pid_stat(5), fields 14 to 17.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("stat")?;
    let ticks =
        fields.split_whitespace().skip(11).take(4).map(|field| field.parse::<f64>().unwrap_or(0.0)).sum::<f64>();
    Ok(ticks / 100.0)
}

/// Moves a process into a cgroup of its own after 50 ms without such moves: the kernel's slow case. Median of five.
fn join_after_rest() -> Result<Duration> {
    let root = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"]
        .into_iter()
        .map(Path::new)
        .find(|dir| dir.join("cgroup.procs").exists());
    let dir = root.context("no cgroup mount")?.join(format!("hoist-bench-{}", std::process::id()));
    fs::create_dir(&dir)?;
    let mut times = Vec::new();
    for _ in 0..5 {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn()?;
        // The rest is what is measured here.
        std::thread::sleep(Duration::from_millis(50));
        let begun = Instant::now();
        let joined = fs::write(dir.join("cgroup.procs"), child.id().to_string());
        times.push(begun.elapsed());
        child.kill()?;
        child.wait()?;
        joined?;
    }
    testkit::wait::until_true("the cgroup to be empty", Duration::from_secs(5), || Ok(fs::remove_dir(&dir).is_ok()))?;
    times.sort();
    Ok(times[2])
}
