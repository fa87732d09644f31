//! What is counted for `/metrics` from the daemon's start on: how long operations took, and how probes ended.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper ends of the buckets in seconds: the usual ones of Prometheus' client libraries, which dockerd has.
pub(crate) const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Operations on containers that are timed, as dockerd does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Changes,
    Commit,
    Create,
    Delete,
    Start,
}

impl Action {
    pub const ALL: [Action; 5] = [Action::Changes, Action::Commit, Action::Create, Action::Delete, Action::Start];

    /// The value of the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Changes => "changes",
            Action::Commit => "commit",
            Action::Create => "create",
            Action::Delete => "delete",
            Action::Start => "start",
        }
    }
}

/// Times of one kind of operation that went well.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Times {
    /// How many took at most as long as the bucket's end.
    pub buckets: [u64; BUCKETS.len()],
    pub count: u64,
    /// Seconds.
    pub sum: f64,
}

impl Times {
    fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        for (bucket, end) in self.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= end);
        }
        self.count += 1;
        self.sum += seconds;
    }
}

/// All counts.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    times: Mutex<[Times; Action::ALL.len()]>,
    probes: AtomicU64,
    failed_probes: AtomicU64,
}

impl Tally {
    /// An operation went well.
    pub fn took(&self, action: Action, took: Duration) {
        let mut times = self.times.lock().unwrap_or_else(|poison| poison.into_inner());
        times[action as usize].add(took);
    }

    /// A health check ended.
    pub fn probed(&self, good: bool) {
        self.probes.fetch_add(1, Ordering::Relaxed);
        if !good {
            self.failed_probes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What operations of a kind took.
    pub fn times(&self, action: Action) -> Times {
        self.times.lock().unwrap_or_else(|poison| poison.into_inner())[action as usize]
    }

    /// Health checks, and those of them that failed.
    pub fn probes(&self) -> (u64, u64) {
        (self.probes.load(Ordering::Relaxed), self.failed_probes.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_buckets() {
        let tally = Tally::default();
        for milliseconds in [4, 30, 20_000] {
            tally.took(Action::Start, Duration::from_millis(milliseconds));
        }
        let times = tally.times(Action::Start);
        assert_eq!(times.buckets, [1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2]);
        assert_eq!((times.count, times.sum), (3, 20.034));
        assert_eq!(tally.times(Action::Delete), Times::default());
        tally.probed(true);
        tally.probed(false);
        assert_eq!(tally.probes(), (2, 1));
    }
}
