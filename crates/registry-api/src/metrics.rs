//! Counters, in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the histogram, in seconds.
const BUCKETS: [f64; 8] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0];

/// Route, method, status.
type Key = (&'static str, &'static str, u16);

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub connections: AtomicU64,
    pub connections_total: AtomicU64,
    pub refused: AtomicU64,
    pub in_flight: AtomicU64,
    pub received: AtomicU64,
    pub sent: AtomicU64,
    pub cache_hits: AtomicU64,
    pub cache_misses: AtomicU64,
    pub logins_failed: AtomicU64,
    requests: Mutex<BTreeMap<Key, u64>>,
    durations: Mutex<BTreeMap<&'static str, Histogram>>,
}

#[derive(Debug, Default)]
struct Histogram {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

impl Metrics {
    pub fn request(&self, route: &'static str, method: &'static str, status: u16, took: Duration) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((route, method, status)).or_default() += 1;
        drop(requests);
        let seconds = took.as_secs_f64();
        let mut durations = self.durations.lock().unwrap_or_else(PoisonError::into_inner);
        let histogram = durations.entry(route).or_default();
        histogram.count += 1;
        histogram.sum += seconds;
        for (bucket, bound) in histogram.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= bound);
        }
    }

    /// The page that `/metrics` shows.
    pub fn render(&self) -> String {
        let mut out = String::new();
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut one = |name: &str, kind: &str, help: &str, value: u64| {
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        };
        one("hoist_registry_connections", "gauge", "Clients that are connected.", value(&self.connections));
        one(
            "hoist_registry_connections_total",
            "counter",
            "Clients that have connected.",
            value(&self.connections_total),
        );
        one("hoist_registry_connections_refused_total", "counter", "Connections over the limit.", value(&self.refused));
        one("hoist_registry_requests_in_flight", "gauge", "Requests without an answer yet.", value(&self.in_flight));
        one("hoist_registry_received_bytes_total", "counter", "Bytes of bodies that came in.", value(&self.received));
        one("hoist_registry_sent_bytes_total", "counter", "Bytes of bodies that were answered.", value(&self.sent));
        one(
            "hoist_registry_cache_hits_total",
            "counter",
            "Asked of an upstream's cache and found.",
            value(&self.cache_hits),
        );
        one(
            "hoist_registry_cache_misses_total",
            "counter",
            "Asked of an upstream's cache and fetched.",
            value(&self.cache_misses),
        );
        one(
            "hoist_registry_logins_failed_total",
            "counter",
            "Wrong names, passwords, tokens.",
            value(&self.logins_failed),
        );
        out.push_str("# HELP hoist_registry_requests_total Requests by route, method and status.\n");
        out.push_str("# TYPE hoist_registry_requests_total counter\n");
        for ((route, method, status), count) in self.requests.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let labels = format!("route=\"{route}\",method=\"{method}\",status=\"{status}\"");
            let _ = writeln!(out, "hoist_registry_requests_total{{{labels}}} {count}");
        }
        out.push_str("# HELP hoist_registry_request_seconds Time to the head of the answer.\n");
        out.push_str("# TYPE hoist_registry_request_seconds histogram\n");
        for (route, histogram) in self.durations.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            for (bound, count) in BUCKETS.iter().zip(histogram.buckets) {
                let _ =
                    writeln!(out, "hoist_registry_request_seconds_bucket{{route=\"{route}\",le=\"{bound}\"}} {count}");
            }
            let count = histogram.count;
            let _ = writeln!(out, "hoist_registry_request_seconds_bucket{{route=\"{route}\",le=\"+Inf\"}} {count}");
            let _ = writeln!(out, "hoist_registry_request_seconds_sum{{route=\"{route}\"}} {}", histogram.sum);
            let _ = writeln!(out, "hoist_registry_request_seconds_count{{route=\"{route}\"}} {count}");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page() {
        let metrics = Metrics::default();
        metrics.request("blob", "GET", 200, Duration::from_millis(3));
        metrics.request("blob", "GET", 200, Duration::from_secs(100));
        let page = metrics.render();
        for line in [
            "hoist_registry_requests_total{route=\"blob\",method=\"GET\",status=\"200\"} 2",
            "hoist_registry_request_seconds_bucket{route=\"blob\",le=\"0.005\"} 1",
            "hoist_registry_request_seconds_bucket{route=\"blob\",le=\"+Inf\"} 2",
            "hoist_registry_connections 0",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
    }
}
