//! What a cgroup uses.

use crate::Controller;
use crate::error::{Error, Result};
use crate::file::{keyed, read_file};
use crate::group::Cgroup;

/// Counters of a cgroup and those below it. A controller that is not there leaves its part at zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub cpu: CpuStats,
    pub memory: MemoryStats,
    pub pids: PidsStats,
    pub block_io: BlockIoStats,
}

/// Nanoseconds, and counts of periods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuStats {
    pub total: u64,
    pub user: u64,
    pub system: u64,
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled: u64,
}

/// Bytes; `limit` is `None` when there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    pub usage: u64,
    pub max_usage: Option<u64>,
    pub limit: Option<u64>,
    /// How often the limit was hit.
    pub failures: u64,
    pub oom_kills: u64,
    /// `memory.stat` as it is, in the kernel's order.
    pub details: Vec<(String, u64)>,
}

/// Number of tasks; `limit` is `None` when there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PidsStats {
    pub current: u64,
    pub limit: Option<u64>,
}

/// Per device: major, minor, bytes or operations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockIoStats {
    pub read_bytes: Vec<(u32, u32, u64)>,
    pub write_bytes: Vec<(u32, u32, u64)>,
    pub read_operations: Vec<(u32, u32, u64)>,
    pub write_operations: Vec<(u32, u32, u64)>,
}

/// Version 1 writes "no limit" as the largest multiple of the page size.
const UNLIMITED_V1: u64 = 1 << 60;

impl Cgroup {
    /// How many processes the OOM killer has ended here (and, on version 2, below).
    pub fn oom_kills(&self) -> Result<u64> {
        let Some((text, _)) = self.read_of(Controller::Memory, "memory.oom_control", "memory.events")? else {
            return Ok(0);
        };
        Ok(keyed(&text, "oom_kill").unwrap_or(0))
    }

    /// Bytes of memory in use; 0 without the controller.
    pub fn memory_usage(&self) -> Result<u64> {
        let text = self.read_of(Controller::Memory, "memory.usage_in_bytes", "memory.current")?;
        Ok(text.and_then(|(text, _)| text.trim().parse().ok()).unwrap_or(0))
    }

    /// All counters.
    pub fn stats(&self) -> Result<Stats> {
        Ok(Stats {
            cpu: self.cpu_stats()?,
            memory: self.memory_stats()?,
            pids: self.pids_stats()?,
            block_io: self.block_io_stats()?,
        })
    }

    /// The file of whichever version has the controller, and whether that is version 2. `None` when neither has it here.
    fn read_of(&self, controller: Controller, v1: &str, v2: &str) -> Result<Option<(String, bool)>> {
        match self.hierarchies.home(controller) {
            Some(index) => self.read_at(index, if self.hierarchies.all[index].v2 { v2 } else { v1 }),
            None => Ok(None),
        }
    }

    fn read_at(&self, index: usize, name: &str) -> Result<Option<(String, bool)>> {
        let (hierarchy, dir) = self.at(index)?;
        match read_file(dir, name) {
            Ok(text) => Ok(Some((text, hierarchy.v2))),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(Error::io("read", hierarchy.host_path(&self.path, name), errno)),
        }
    }

    fn cpu_stats(&self) -> Result<CpuStats> {
        let mut stats = CpuStats::default();
        let Some((text, v2)) = self.read_of(Controller::Cpu, "cpu.stat", "cpu.stat")? else { return Ok(stats) };
        stats.periods = keyed(&text, "nr_periods").unwrap_or(0);
        stats.throttled_periods = keyed(&text, "nr_throttled").unwrap_or(0);
        if v2 {
            let micros = |key| keyed(&text, key).unwrap_or(0).saturating_mul(1000);
            stats.throttled = micros("throttled_usec");
            stats.total = micros("usage_usec");
            stats.user = micros("user_usec");
            stats.system = micros("system_usec");
            return Ok(stats);
        }
        stats.throttled = keyed(&text, "throttled_time").unwrap_or(0);
        if let Some(index) = self.hierarchies.v1_index("cpuacct") {
            let number = |name: &str| -> Result<u64> {
                let text = self.read_at(index, name)?;
                Ok(text.and_then(|(text, _)| text.trim().parse().ok()).unwrap_or(0))
            };
            stats.total = number("cpuacct.usage")?;
            stats.user = number("cpuacct.usage_user")?;
            stats.system = number("cpuacct.usage_sys")?;
        }
        Ok(stats)
    }

    fn memory_stats(&self) -> Result<MemoryStats> {
        let number = |v1: &str, v2: &str| -> Result<Option<u64>> {
            let text = self.read_of(Controller::Memory, v1, v2)?;
            Ok(text.and_then(|(text, _)| text.trim().parse().ok()))
        };
        let details = self.read_of(Controller::Memory, "memory.stat", "memory.stat")?;
        let details = details.map(|(text, _)| parse_flat(&text)).unwrap_or_default();
        let failures = match self.read_of(Controller::Memory, "memory.failcnt", "memory.events")? {
            Some((text, true)) => keyed(&text, "max").unwrap_or(0),
            Some((text, false)) => text.trim().parse().unwrap_or(0),
            None => 0,
        };
        Ok(MemoryStats {
            usage: self.memory_usage()?,
            max_usage: number("memory.max_usage_in_bytes", "memory.peak")?,
            // "max" is no number.
            limit: number("memory.limit_in_bytes", "memory.max")?.filter(|limit| *limit < UNLIMITED_V1),
            failures,
            oom_kills: self.oom_kills()?,
            details,
        })
    }

    fn pids_stats(&self) -> Result<PidsStats> {
        let number = |name: &str| -> Result<Option<u64>> {
            let text = self.read_of(Controller::Pids, name, name)?;
            Ok(text.and_then(|(text, _)| text.trim().parse().ok()))
        };
        Ok(PidsStats { current: number("pids.current")?.unwrap_or(0), limit: number("pids.max")? })
    }

    fn block_io_stats(&self) -> Result<BlockIoStats> {
        let mut stats = BlockIoStats::default();
        let bytes = self.read_of(Controller::Io, "blkio.throttle.io_service_bytes_recursive", "io.stat")?;
        match bytes {
            Some((text, true)) => parse_io_stat(&text, &mut stats),
            Some((text, false)) => {
                parse_blkio(&text, &mut stats.read_bytes, &mut stats.write_bytes);
                let counts = "blkio.throttle.io_serviced_recursive";
                if let Some((text, _)) = self.read_of(Controller::Io, counts, counts)? {
                    parse_blkio(&text, &mut stats.read_operations, &mut stats.write_operations);
                }
            }
            None => {}
        }
        Ok(stats)
    }
}

/// "key value" lines.
fn parse_flat(text: &str) -> Vec<(String, u64)> {
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

fn device(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Version 2: `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`.
fn parse_io_stat(text: &str, stats: &mut BlockIoStats) {
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        for word in words {
            let Some((key, value)) = word.split_once('=') else { continue };
            let Ok(value) = value.parse::<u64>() else { continue };
            match key {
                "rbytes" => stats.read_bytes.push((major, minor, value)),
                "wbytes" => stats.write_bytes.push((major, minor, value)),
                "rios" => stats.read_operations.push((major, minor, value)),
                "wios" => stats.write_operations.push((major, minor, value)),
                _ => {}
            }
        }
    }
}

/// Version 1: `8:0 Read 1`, `8:0 Write 2`, …
fn parse_blkio(text: &str, read: &mut Vec<(u32, u32, u64)>, write: &mut Vec<(u32, u32, u64)>) {
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        let (kind, value) = (words.next(), words.next().and_then(|value| value.parse().ok()));
        match (kind, value) {
            (Some("Read"), Some(value)) => read.push((major, minor, value)),
            (Some("Write"), Some(value)) => write.push((major, minor, value)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_of_both_versions() {
        let mut stats = BlockIoStats::default();
        parse_io_stat(
            "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\nbad\n9: rbytes=1\n8:1 rbytes=x\n",
            &mut stats,
        );
        assert_eq!((stats.read_bytes, stats.write_bytes), (vec![(8, 0, 1)], vec![(8, 0, 2)]));
        assert_eq!((stats.read_operations, stats.write_operations), (vec![(8, 0, 3)], vec![(8, 0, 4)]));
        let (mut read, mut write) = (Vec::new(), Vec::new());
        parse_blkio("254:0 Read 77\n254:0 Write 5\n254:0 Sync 1\n254:0 Total 82\nTotal 82\n", &mut read, &mut write);
        assert_eq!((read, write), (vec![(254, 0, 77)], vec![(254, 0, 5)]));
        assert_eq!(parse_flat("cache 5\nbad\nrss x\n"), [("cache".to_owned(), 5)]);
    }
}
