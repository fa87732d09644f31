//! `events`: counters at intervals, and whatever the OOM killer does, one JSON document a line.

use std::io::Write;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use serde_json::{Value, json};

use super::options::Given;
use super::{Error, entry, io, stats};

pub fn command(given: &Given) -> Result<i32, Error> {
    let interval = match given.value("interval") {
        Some(text) => {
            let parsed = parse_duration(text).filter(|interval| !interval.is_zero());
            parsed.ok_or_else(|| Error::Usage(format!("invalid value \"{text}\" for flag --interval")))?
        }
        None => Duration::from_secs(5),
    };
    let entry = entry(given)?;
    if entry.is_stopped() {
        return Err(Error::Usage(format!("container with id {} is not running", entry.record.id)));
    }
    let id = entry.record.id.clone();
    let group = entry.cgroup()?;
    let print_stats = || print("stats", &id, Some(stats::document(&group.stats()?)));
    if given.is_on("stats") {
        return print_stats().map(|()| 0);
    }
    let first = sys::process::pidfd(entry.record.pid).map_err(io("events"))?;
    let mut watch = group.watch_oom()?;
    let mut next = Instant::now();
    loop {
        if Instant::now() >= next {
            print_stats()?;
            next = Instant::now() + interval;
        }
        let left = next.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut polled = [PollFd::new(&first, PollFlags::IN), watch.interest()];
        match rustix::event::poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(io("events")(errno.into())),
        }
        let ended = !polled[0].revents().is_empty();
        for _ in 0..watch.kills()? {
            print("oom", &id, None)?;
        }
        if ended {
            return Ok(0);
        }
    }
}

fn print(kind: &str, id: &str, data: Option<Value>) -> Result<(), Error> {
    let mut event = json!({"type": kind, "id": id});
    if let Some(data) = data {
        event["data"] = data;
    }
    // One write: whoever reads a pipe gets whole lines.
    std::io::stdout().write_all(format!("{event}\n").as_bytes()).map_err(io("events"))
}

/// `5s`, `100ms`, `1m30s`.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut total = 0f64;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += number
            * match &rest[..end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[end..];
    }
    Duration::try_from_secs_f64(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expect) in [
            ("5s", Some(5000)),
            ("1m30s", Some(90_000)),
            ("1.5h", Some(5_400_000)),
            ("250ms", Some(250)),
            ("5", None),
            ("", None),
            ("s", None),
            ("1x", None),
            ("99999999999999999999h", None),
        ] {
            assert_eq!(parse_duration(text), expect.map(Duration::from_millis), "{text}");
        }
    }
}
