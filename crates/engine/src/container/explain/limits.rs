//! Its cgroup: limits and present use.

use std::fs;
use std::path::PathBuf;

use api::container::Inspect;
use api::explain::Cgroup;

use super::super::{Record, stats};
use crate::Engine;

pub(super) fn read(engine: &Engine, record: &Record, known: &Inspect, differences: &mut Vec<String>) -> Cgroup {
    let pid = record.state.pid;
    let expected = engine.container_cgroup(record);
    let membership = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let path = path_of(&membership, &["memory", "cpu", "pids"]).unwrap_or_default();
    if !(path == expected || path.starts_with(&format!("{expected}/"))) {
        differences.push(format!("its first process is in the cgroup {path}, and should be in {expected}"));
    }
    let mut told = Cgroup {
        version: engine.cgroups.as_ref().map_or_else(String::new, |cgroups| match cgroups.kind() {
            cgroup::Kind::V1 => "v1".to_owned(),
            cgroup::Kind::V2 => "v2".to_owned(),
            cgroup::Kind::Hybrid => "hybrid".to_owned(),
        }),
        path: path.clone(),
        ..Cgroup::default()
    };
    let group = engine.cgroups.as_ref().and_then(|cgroups| cgroups.open(&expected).ok());
    let stats = group.as_ref().and_then(|group| group.stats().ok());
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    if let Some(stats) = stats {
        told.memory = number(stats.memory.usage);
        told.memory_limit = number(stats.memory.limit.unwrap_or(0));
        told.processes = number(stats.pids.current);
        told.waiting = group.as_ref().map_or(0, |group| number(stats::seeds(group)));
        told.processes_limit = number(stats.pids.limit.unwrap_or(0));
        told.cpu = number(stats.cpu.total);
        told.throttled = number(stats.cpu.throttled_periods);
        told.oom_kills = number(stats.memory.oom_kills);
    }
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let file = |controller: &str, name: &str| {
        let directory = mount_of(&mountinfo, controller)?;
        fs::read_to_string(directory.join(expected.trim_start_matches('/')).join(name)).ok()
    };
    told.cpu_limit = cpu_limit(&file);
    told.cpu_set = file("cpuset", "cpuset.cpus").unwrap_or_default().trim().to_owned();
    compare(&told, known, differences);
    told
}

/// The path in the first hierarchy that has one of these controllers (cgroups(7), `/proc/PID/cgroup`).
fn path_of(membership: &str, controllers: &[&str]) -> Option<String> {
    let rows: Vec<(&str, &str)> = membership
        .lines()
        .filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            rest.split_once(':')
        })
        .collect();
    let v1 =
        controllers.iter().find_map(|wanted| rows.iter().find(|(names, _)| names.split(',').any(|n| n == *wanted)));
    v1.or_else(|| rows.iter().find(|(names, _)| names.is_empty())).map(|(_, path)| (*path).to_owned())
}

/// Where a controller's hierarchy is mounted.
fn mount_of(mountinfo: &str, controller: &str) -> Option<PathBuf> {
    let rows = mountinfo.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        Some((left.split(' ').nth(4)?, right.next()?, right.nth(1)?))
    });
    let rows: Vec<(&str, &str, &str)> = rows.collect();
    let v1 = rows.iter().find(|(_, kind, options)| *kind == "cgroup" && options.split(',').any(|o| o == controller));
    v1.or_else(|| rows.iter().find(|(_, kind, _)| *kind == "cgroup2")).map(|(place, _, _)| PathBuf::from(place))
}

/// In thousandths of a CPU.
fn cpu_limit(file: &dyn Fn(&str, &str) -> Option<String>) -> i64 {
    let (quota, period) = match file("cpu", "cpu.max") {
        Some(text) => {
            let mut words = text.split_ascii_whitespace().map(str::to_owned);
            (words.next(), words.next())
        }
        None => (file("cpu", "cpu.cfs_quota_us"), file("cpu", "cpu.cfs_period_us")),
    };
    let number = |text: Option<String>| text.and_then(|text| text.trim().parse::<i64>().ok());
    match (number(quota), number(period)) {
        (Some(quota @ 1..), Some(period @ 1..)) => quota.saturating_mul(1000) / period,
        _ => 0,
    }
}

fn compare(told: &Cgroup, known: &Inspect, differences: &mut Vec<String>) {
    let host = &known.host_config;
    // The kernel rounds to pages.
    if host.memory > 0 && (host.memory - told.memory_limit).abs() > 65_536 {
        differences
            .push(format!("its memory limit is {} bytes, and the record says {}", told.memory_limit, host.memory));
    }
    if let Some(limit) = host.pids_limit.filter(|limit| *limit > 0)
        && limit != told.processes_limit
    {
        differences.push(format!("its limit of processes is {}, and the record says {limit}", told.processes_limit));
    }
    if host.nano_cpus > 0 && (host.nano_cpus / 1_000_000 - told.cpu_limit).abs() > 1 {
        differences.push(format!(
            "its CPU limit is {}/1000, and the record says {}/1000",
            told.cpu_limit,
            host.nano_cpus / 1_000_000
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read() {
        let v1 = "9:memory:/a\n8:cpu,cpuacct:/b\n0::/c\n";
        assert_eq!(path_of(v1, &["memory"]).as_deref(), Some("/a"));
        assert_eq!(path_of(v1, &["cpuacct"]).as_deref(), Some("/b"));
        assert_eq!(path_of(v1, &["io"]).as_deref(), Some("/c"));
        let mounts = "30 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      31 25 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_of(mounts, "cpu"), Some(PathBuf::from("/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(mount_of(mounts, "memory"), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(cpu_limit(&|_, name| (name == "cpu.max").then(|| "150000 100000\n".to_owned())), 1500);
        assert_eq!(cpu_limit(&|_, name| (name == "cpu.max").then(|| "max 100000\n".to_owned())), 0);
        let v1 = |_: &str, name: &str| match name {
            "cpu.cfs_quota_us" => Some("50000\n".to_owned()),
            "cpu.cfs_period_us" => Some("100000\n".to_owned()),
            _ => None,
        };
        assert_eq!(cpu_limit(&v1), 500);
    }
}
