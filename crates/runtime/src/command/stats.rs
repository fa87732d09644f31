//! Counters of a container in the form of runc's `events`.

use serde_json::{Value, json};

/// Major, minor, value.
type Counters = Vec<(u32, u32, u64)>;

/// The `data` of a `stats` event.
pub fn document(stats: &cgroup::Stats) -> Value {
    let detail = |name: &str| stats.memory.details.iter().find(|(key, _)| key == name).map_or(0, |(_, value)| *value);
    let cache = detail("cache").max(detail("file"));
    let raw: serde_json::Map<String, Value> =
        stats.memory.details.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    let entries = |operations: [(&str, &Counters); 2]| -> Value {
        let entry = |op: &str, (major, minor, value): &(u32, u32, u64)| json!({"major": major, "minor": minor, "op": op, "value": value});
        operations.iter().flat_map(|(op, list)| list.iter().map(move |item| entry(op, item))).collect()
    };
    json!({
        "cpu": {
            "usage": {"total": stats.cpu.total, "kernel": stats.cpu.system, "user": stats.cpu.user},
            "throttling": {
                "periods": stats.cpu.periods,
                "throttledPeriods": stats.cpu.throttled_periods,
                "throttledTime": stats.cpu.throttled,
            },
        },
        "memory": {
            "cache": cache,
            "usage": {
                // "No limit" is the largest number, as runc has it.
                "limit": stats.memory.limit.unwrap_or(u64::MAX),
                "usage": stats.memory.usage,
                "max": stats.memory.max_usage.unwrap_or(0),
                "failcnt": stats.memory.failures,
            },
            "raw": raw,
        },
        "pids": {"current": stats.pids.current, "limit": stats.pids.limit.unwrap_or(0)},
        "blkio": {
            "ioServiceBytesRecursive":
                entries([("Read", &stats.block_io.read_bytes), ("Write", &stats.block_io.write_bytes)]),
            "ioServicedRecursive":
                entries([("Read", &stats.block_io.read_operations), ("Write", &stats.block_io.write_operations)]),
        },
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn shape() {
        let mut stats = cgroup::Stats::default();
        stats.block_io.read_bytes.push((8, 0, 5));
        stats.memory.details.push(("file".to_owned(), 9));
        let value = super::document(&stats);
        assert_eq!(value["memory"]["cache"], 9);
        assert_eq!(value["memory"]["raw"]["file"], 9);
        assert_eq!(value["blkio"]["ioServiceBytesRecursive"][0]["op"], "Read");
        assert_eq!(value["cpu"]["usage"]["total"], 0);
    }
}
