//! `GET /containers/{id}/stats`: what the kernel counts of a container, read at once and every second.

use std::fs;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use api::container::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats, ThrottlingData, ZERO_TIME,
};

use super::{Container, lock};
use crate::{Canceller, Engine, Result, time};

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Looks of one client at a container.
#[derive(Debug)]
pub struct StatsStream {
    engine: Arc<Engine>,
    container: Arc<Container>,
    previous: Option<Stats>,
    ended: Arc<(Mutex<bool>, Condvar)>,
}

/// Begins to look.
pub fn stats(engine: &Arc<Engine>, id: &str) -> Result<StatsStream> {
    let container = engine.containers.find(id)?;
    Ok(StatsStream { engine: Arc::clone(engine), container, previous: None, ended: Arc::default() })
}

impl StatsStream {
    /// What is used now; the CPU's part of the look before comes along. A container that does not run uses nothing.
    pub fn look(&mut self) -> Stats {
        let mut stats = read(&self.engine, &self.container);
        match self.previous.replace(stats.clone()).filter(|previous| previous.read != ZERO_TIME) {
            Some(previous) => (stats.preread, stats.precpu_stats) = (previous.read, previous.cpu_stats),
            None => ZERO_TIME.clone_into(&mut stats.preread),
        }
        stats
    }

    /// Waits until it is time to look again; false when the container is gone, or it was cancelled.
    pub fn wait(&self) -> bool {
        let (ended, changed) = &*self.ended;
        let ended = lock(ended);
        let waited = changed.wait_timeout_while(ended, INTERVAL, |ended| !*ended);
        let ended = *waited.unwrap_or_else(|poison| poison.into_inner()).0;
        !ended && self.engine.containers.get(&self.container.id).is_some()
    }

    /// Whether the container has processes.
    pub fn is_alive(&self) -> bool {
        self.container.snapshot().state.phase.is_alive()
    }

    /// Ends [`StatsStream::wait`] from another thread.
    pub fn canceller(&self) -> Canceller {
        let ended = Arc::clone(&self.ended);
        Canceller::new(move || {
            *lock(&ended.0) = true;
            ended.1.notify_all();
        })
    }
}

fn read(engine: &Engine, container: &Container) -> Stats {
    let record = container.snapshot();
    let mut stats = Stats {
        name: format!("/{}", record.name),
        id: record.id.as_str().to_owned(),
        read: ZERO_TIME.to_owned(),
        preread: ZERO_TIME.to_owned(),
        ..Stats::default()
    };
    stats.storage_stats = api::Map::new();
    if !record.state.phase.is_alive() {
        return stats;
    }
    let group = engine.cgroups.as_ref().and_then(|cgroups| cgroups.open(&engine.container_cgroup(&record)).ok());
    // It may end at any moment: then there is nothing to count.
    let Some(group) = group else { return stats };
    let Ok(used) = group.stats() else { return stats };
    let current = used.pids.current.saturating_sub(seeds(&group));
    let v2 = engine.host.cgroup_v2;
    stats.read = time::rfc3339(logs::time::now_ns());
    stats.pids_stats = PidsStats { current, limit: used.pids.limit.unwrap_or(if current > 0 { u64::MAX } else { 0 }) };
    stats.blkio_stats = block_io(&used.block_io, v2);
    stats.cpu_stats = CpuStats {
        cpu_usage: CpuUsage {
            total_usage: used.cpu.total,
            usage_in_kernelmode: used.cpu.system,
            usage_in_usermode: used.cpu.user,
            ..CpuUsage::default()
        },
        throttling_data: ThrottlingData {
            periods: used.cpu.periods,
            throttled_periods: used.cpu.throttled_periods,
            throttled_time: used.cpu.throttled,
        },
        ..machine(&fs::read_to_string("/proc/stat").unwrap_or_default())
    };
    stats.memory_stats = MemoryStats {
        usage: used.memory.usage,
        // Version 2 has it too; Docker tells it for version 1 alone.
        max_usage: used.memory.max_usage.filter(|_| !v2).unwrap_or(0),
        stats: used.memory.details.into_iter().collect(),
        failcnt: used.memory.failures,
        limit: used.memory.limit.unwrap_or(engine.host.memory).min(engine.host.memory),
    };
    let interfaces = fs::read_to_string(format!("/proc/{}/net/dev", record.state.pid)).unwrap_or_default();
    if super::networking::wants_endpoint(&record) {
        stats.networks = networks(&interfaces);
    }
    stats
}

fn block_io(used: &cgroup::BlockIoStats, v2: bool) -> BlkioStats {
    let entry = |op: &str, (major, minor, value): &(u32, u32, u64)| BlkioEntry {
        major: u64::from(*major),
        minor: u64::from(*minor),
        op: op.to_owned(),
        value: *value,
    };
    let (read, write) = if v2 { ("read", "write") } else { ("Read", "Write") };
    let join = |reads: &[(u32, u32, u64)], writes: &[(u32, u32, u64)]| -> Vec<BlkioEntry> {
        let reads = reads.iter().map(|one| entry(read, one));
        reads.chain(writes.iter().map(|one| entry(write, one))).collect()
    };
    BlkioStats {
        io_service_bytes_recursive: time::list_or_null(join(&used.read_bytes, &used.write_bytes)),
        io_serviced_recursive: time::list_or_null(join(&used.read_operations, &used.write_operations)),
        ..BlkioStats::default()
    }
}

/// What the whole machine has used, in nanoseconds, and how many CPUs it has, of `/proc/stat` (proc(5)).
fn machine(text: &str) -> CpuStats {
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    let fields = |line: &str| -> u64 {
        // user, nice, system, idle, iowait, irq, softirq: what is in a guest is in user already.
        line.split_ascii_whitespace().skip(1).take(7).filter_map(|field| field.parse::<u64>().ok()).sum()
    };
    let used = text.lines().find(|line| line.starts_with("cpu ")).map_or(0, fields);
    let is_cpu =
        |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let cpus = text.lines().filter(is_cpu).count();
    CpuStats {
        system_cpu_usage: used.saturating_mul(1_000_000_000 / ticks),
        online_cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
        ..CpuStats::default()
    }
}

/// Interfaces of `/proc/<pid>/net/dev`, the loopback left out.
fn networks(text: &str) -> api::Map<NetworkStats> {
    let line = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let numbers: Vec<u64> = rest.split_ascii_whitespace().map_while(|field| field.parse().ok()).collect();
        let [rx_bytes, rx_packets, rx_errors, rx_dropped, _, _, _, _, tx_bytes, tx_packets, tx_errors, tx_dropped, ..] =
            *numbers
        else {
            return None;
        };
        let stats =
            NetworkStats { rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped };
        Some((name.trim().to_owned(), stats)).filter(|(name, _)| name != "lo")
    };
    text.lines().filter_map(line).collect()
}

/// Processes of the runtime's that sit in the cgroup and are not the container's.
pub(super) fn seeds(group: &cgroup::Cgroup) -> u64 {
    let is_seed = |pid: &i32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == super::top::SEED)
    };
    group.processes().unwrap_or_default().iter().filter(|pid| is_seed(pid)).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_s_time() {
        let stats = machine("cpu  10 0 10 80 0 0 0 0 5 0\ncpu0 1 0 0 0\ncpu1 1 0 0 0\nctxt 7\n");
        let second = 1_000_000_000 / rustix::param::clock_ticks_per_second();
        assert_eq!((stats.system_cpu_usage, stats.online_cpus), (100 * second, 2));
    }

    #[test]
    fn interfaces() {
        let text = "Inter-|   Receive\n face |bytes\n    lo:  1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 10 2 3 4 0 0 0 0 20 5 6 7 0 0 0 0\n";
        let found = networks(text);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["eth0"]);
        assert_eq!((found["eth0"].rx_bytes, found["eth0"].tx_bytes, found["eth0"].tx_dropped), (10, 20, 7));
    }
}
