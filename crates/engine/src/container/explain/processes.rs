//! Processes, from the container's cgroup.

use std::collections::HashMap;
use std::fs;

use api::explain::Process;

use super::super::Record;
use super::{first_number, last_number, line};
use crate::Engine;

/// Processes of one container that are looked at.
const MOST: usize = 4096;

pub(super) fn read(engine: &Engine, record: &Record, differences: &mut Vec<String>) -> Vec<Process> {
    let group = engine.cgroups.as_ref().and_then(|cgroups| cgroups.open(&engine.container_cgroup(record)).ok());
    let pids = group.and_then(|group| group.processes().ok()).unwrap_or_default();
    let found: Vec<Process> = pids.into_iter().take(MOST).filter_map(process).collect();
    if !found.iter().any(|process| process.pid == i64::from(record.state.pid)) {
        differences.push(format!("its first process {} is not in its cgroup", record.state.pid));
    }
    tree(found, i64::from(record.state.pid))
}

fn process(pid: i32) -> Option<Process> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let name = line(&status, "Name")?;
    // A helper of ours that keeps the cgroup warm.
    if name == "hoist-seed" {
        return None;
    }
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<String> = words
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let numbers = line(&status, "NSpid").map_or(0, |line| line.split_ascii_whitespace().count());
    Some(Process {
        pid: i64::from(pid),
        inner_pid: if numbers > 1 { last_number(&status, "NSpid")? } else { 0 },
        parent: first_number(&status, "PPid")?,
        depth: 0,
        user: first_number(&status, "Uid")?,
        state: line(&status, "State")?.chars().take(1).collect(),
        threads: first_number(&status, "Threads").unwrap_or(1),
        resident: first_number(&status, "VmRSS").unwrap_or(0) * 1024,
        command: if words.is_empty() { format!("[{name}]") } else { words.join(" ") },
    })
}

/// Parents before children, the first process first.
fn tree(mut found: Vec<Process>, first: i64) -> Vec<Process> {
    found.sort_by_key(|process| (process.pid != first, process.pid));
    let here: Vec<i64> = found.iter().map(|process| process.pid).collect();
    let mut children: HashMap<i64, Vec<Process>> = HashMap::new();
    let mut waiting = Vec::new();
    for process in found {
        if here.contains(&process.parent) && process.pid != first {
            children.entry(process.parent).or_default().push(process);
        } else {
            waiting.push(process);
        }
    }
    waiting.reverse();
    let mut ordered = Vec::new();
    while let Some(process) = waiting.pop() {
        let below = children.remove(&process.pid).unwrap_or_default();
        let depth = process.depth + 1;
        waiting.extend(below.into_iter().rev().map(|child| Process { depth, ..child }));
        ordered.push(process);
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees() {
        let process = |(pid, parent): (i64, i64)| Process { pid, parent, ..Process::default() };
        let shape = |list: &[(i64, i64)], first: i64| {
            let ordered = tree(list.iter().copied().map(process).collect(), first);
            ordered.iter().map(|process| (process.pid, process.depth)).collect::<Vec<_>>()
        };
        assert_eq!(
            shape(&[(30, 20), (10, 1), (20, 10), (40, 1), (25, 10), (31, 20)], 10),
            [(10, 0), (20, 1), (30, 2), (31, 2), (25, 1), (40, 0)]
        );
        assert_eq!(shape(&[], 1), []);
        // A loop cannot be, and is left out rather than followed.
        assert_eq!(shape(&[(5, 6), (6, 5)], 1), []);
    }
}
