//! `/metrics`: the daemon and its containers in the text format of Prometheus (0.0.4).
//!
//! What dockerd counts too has dockerd's names.

use std::fmt::Write;
use std::fs;
use std::sync::Arc;

use super::tally::{Action, BUCKETS};
use crate::container::Phase;
use crate::{Engine, Result};

/// The page.
pub fn metrics(engine: &Arc<Engine>) -> Result<String> {
    let info = super::info(engine)?;
    let mut page = Page(String::with_capacity(4096));
    page.head(
        "engine_daemon_engine_info",
        "gauge",
        "The information related to the engine and the OS it is running on",
    );
    page.row(
        "engine_daemon_engine_info",
        &[
            ("architecture", &info.architecture),
            ("commit", &engine.config.git_commit),
            ("daemon_id", &info.id),
            ("graphdriver", &info.driver),
            ("kernel", &info.kernel_version),
            ("os", &info.operating_system),
            ("os_type", &info.os_type),
            ("os_version", &info.os_version),
            ("version", &info.server_version),
        ],
        1.0,
    );
    page.single(
        "engine_daemon_engine_cpus_cpus",
        "gauge",
        "The number of cpus that the host system of the engine has",
        info.n_cpu as f64,
    );
    page.single(
        "engine_daemon_engine_memory_bytes",
        "gauge",
        "The number of bytes of memory that the host system of the engine has",
        info.mem_total as f64,
    );
    let states = "engine_daemon_container_states_containers";
    page.head(states, "gauge", "The count of containers in various states");
    for (state, count) in
        [("paused", info.containers_paused), ("running", info.containers_running), ("stopped", info.containers_stopped)]
    {
        page.row(states, &[("state", state)], count as f64);
    }
    page.single("hoist_images", "gauge", "Images in the store", info.images as f64);
    events(engine, &mut page, info.n_events_listener as f64);
    actions(engine, &mut page);
    containers(engine, &mut page);
    process(&mut page);
    Ok(page.0)
}

fn events(engine: &Engine, page: &mut Page, listeners: f64) {
    let subscribers = "engine_daemon_events_subscribers_total";
    page.single(subscribers, "gauge", "The number of current subscribers to events", listeners);
    let counts = engine.events.counts();
    let all: u64 = counts.iter().map(|(_, _, count)| count).sum();
    page.single("engine_daemon_events_total", "counter", "The number of events logged", all as f64);
    page.head("hoist_events_total", "counter", "Events by type and action");
    for (of, action, count) in &counts {
        page.row("hoist_events_total", &[("action", action), ("type", of)], *count as f64);
    }
}

/// How long operations took, and how health checks ended.
fn actions(engine: &Engine, page: &mut Page) {
    let name = "engine_daemon_container_actions_seconds";
    page.head(name, "histogram", "The number of seconds it takes to process each container action");
    for action in Action::ALL {
        let times = engine.tally.times(action);
        let label = ("action", action.as_str());
        for (end, count) in BUCKETS.iter().zip(times.buckets) {
            page.row(&format!("{name}_bucket"), &[label, ("le", &end.to_string())], count as f64);
        }
        page.row(&format!("{name}_bucket"), &[label, ("le", "+Inf")], times.count as f64);
        page.row(&format!("{name}_sum"), &[label], times.sum);
        page.row(&format!("{name}_count"), &[label], times.count as f64);
    }
    let (probes, failed) = engine.tally.probes();
    page.single("engine_daemon_health_checks_total", "counter", "The total number of health checks", probes as f64);
    let help = "The total number of failed health checks";
    page.single("engine_daemon_health_checks_failed_total", "counter", help, failed as f64);
}

/// Bytes read from or written to block devices.
fn block(stats: &api::container::Stats, op: &str) -> f64 {
    let entries = stats.blkio_stats.io_service_bytes_recursive.iter();
    entries.filter(|entry| entry.op.eq_ignore_ascii_case(op)).map(|entry| entry.value as f64).sum()
}

/// What every running container uses.
fn containers(engine: &Arc<Engine>, page: &mut Page) {
    let mut all: Vec<(String, String, api::container::Stats)> = engine
        .containers
        .all()
        .iter()
        .map(|container| container.snapshot())
        .filter(|record| matches!(record.state.phase, Phase::Running | Phase::Paused))
        .filter_map(|record| {
            let stats = crate::container::stats(engine, record.id.as_str()).ok()?.look();
            Some((record.name.clone(), record.config.image.clone(), stats))
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    type Value = fn(&api::container::Stats) -> Option<f64>;
    let rows: [(&str, &str, &str, Value); 8] = [
        ("hoist_container_cpu_seconds_total", "counter", "CPU time of a container's processes", |s| {
            Some(s.cpu_stats.cpu_usage.total_usage as f64 / 1e9)
        }),
        ("hoist_container_memory_bytes", "gauge", "Memory of a container, page cache included", |s| {
            Some(s.memory_stats.usage as f64)
        }),
        ("hoist_container_memory_limit_bytes", "gauge", "Memory that a container may have", |s| {
            Some(s.memory_stats.limit as f64)
        }),
        ("hoist_container_pids", "gauge", "Processes and threads of a container", |s| {
            Some(s.pids_stats.current as f64)
        }),
        ("hoist_container_block_read_bytes_total", "counter", "Bytes read from block devices", |s| {
            Some(block(s, "read"))
        }),
        ("hoist_container_block_write_bytes_total", "counter", "Bytes written to block devices", |s| {
            Some(block(s, "write"))
        }),
        ("hoist_container_network_receive_bytes_total", "counter", "Bytes that came in", |s| {
            Some(s.networks.values().map(|n| n.rx_bytes as f64).sum())
        }),
        ("hoist_container_network_transmit_bytes_total", "counter", "Bytes that went out", |s| {
            Some(s.networks.values().map(|n| n.tx_bytes as f64).sum())
        }),
    ];
    for (name, kind, help, value) in rows {
        page.head(name, kind, help);
        for (container, image, stats) in &all {
            if let Some(value) = value(stats) {
                page.row(name, &[("image", image), ("name", container)], value);
            }
        }
    }
}

/// The daemon's own process, with the names that client libraries of Prometheus give.
fn process(page: &mut Page) {
    let tick = rustix::param::clock_ticks_per_second() as f64;
    let memory_page = rustix::param::page_size() as f64;
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may have blanks and brackets.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    page.single("process_cpu_seconds_total", "counter", "CPU time of the daemon", (field(14) + field(15)) / tick);
    page.single("process_resident_memory_bytes", "gauge", "Resident memory of the daemon", field(24) * memory_page);
    page.single("process_virtual_memory_bytes", "gauge", "Address space of the daemon", field(23));
    page.single("process_threads", "gauge", "Threads of the daemon", field(20));
    let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot = boot.lines().find_map(|l| l.strip_prefix("btime ")?.trim().parse::<f64>().ok()).unwrap_or(0.0);
    page.single(
        "process_start_time_seconds",
        "gauge",
        "When the daemon began, seconds since 1970",
        boot + field(22) / tick,
    );
    let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    page.single("process_open_fds", "gauge", "Open descriptors of the daemon", open as f64);
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.head(name, kind, help);
        self.row(name, &[], value);
    }

    fn row(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{text}\"", if index == 0 { '{' } else { ',' });
        }
        self.0.push_str(if labels.is_empty() { " " } else { "} " });
        let _ = writeln!(self.0, "{value}");
    }
}

#[cfg(test)]
mod tests {
    use super::Page;

    #[test]
    fn rows() {
        let mut page = Page(String::new());
        page.row("a", &[("x", "q\"\\\n"), ("y", "")], 1.0);
        page.row("b", &[], 2.5);
        assert_eq!(page.0, "a{x=\"q\\\"\\\\\\n\",y=\"\"} 1\nb 2.5\n");
    }
}
