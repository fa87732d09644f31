//! `ps`: the processes of a container, read from /proc (proc_pid_stat(5)).

use super::options::Given;
use super::{Entry, Error, io, list, root};

const TITLES: &str = "UID          PID    PPID  C STIME TTY          TIME CMD";

pub fn command(given: &Given) -> Result<i32, Error> {
    let entry = Entry::open(&root(given), given.id()?)?;
    if let Some(word) = given.words.get(1) {
        return Err(Error::Unsupported(format!("ps with options of its own ({word})")));
    }
    let json = list::format(given)?;
    let pids = match entry.cgroup() {
        Err(Error::NoCgroup) if entry.is_stopped() => Vec::new(),
        Err(Error::NoCgroup) => vec![entry.record.pid],
        Err(Error::Cgroup(cgroup::Error::NotFound { .. })) => Vec::new(),
        other => other?.processes()?,
    };
    if json {
        println!("{}", serde_json::to_string(&pids).map_err(|error| io("ps")(error.into()))?);
        return Ok(0);
    }
    let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
    let boot = boot_time();
    println!("{TITLES}");
    for line in pids.iter().filter_map(|pid| line(*pid, &passwd, boot)) {
        println!("{line}");
    }
    Ok(0)
}

/// Seconds since the epoch.
fn boot_time() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("btime ")?.parse().ok()).unwrap_or(0)
}

/// As `ps -ef` prints it; `None` when the process is gone.
fn line(pid: i32, passwd: &[u8], boot: u64) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let owner = std::fs::metadata(format!("/proc/{pid}")).ok()?.uid();
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let now = logs::time::now_ns() / 1_000_000_000;
    format_line(&stat, &crate::user::name_of(owner, passwd), &command, boot, now)
}

fn format_line(stat: &str, user: &str, command: &[u8], boot: u64, now: u64) -> Option<String> {
    const TICKS: u64 = 100;
    let (head, rest) = stat.rsplit_once(')')?;
    let (pid, name) = head.split_once(" (")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|text| text.parse::<i64>().ok());
    let (parent, terminal) = (number(1)?, number(4)?);
    let used = (number(11)? + number(12)?).max(0) as u64 / TICKS;
    let begun = boot + number(19)?.max(0) as u64 / TICKS;
    let command = match command.split(|byte| *byte == 0).filter(|part| !part.is_empty()).collect::<Vec<_>>() {
        parts if parts.is_empty() => format!("[{name}]"),
        parts => parts.iter().map(|part| String::from_utf8_lossy(part)).collect::<Vec<_>>().join(" "),
    };
    // An argument is the container's to choose: nothing of it may steer the caller's terminal.
    let command: String = command.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let terminal = match (terminal as u64 >> 8 & 0xfff, terminal as u64 & 0xff) {
        (0, _) => "?".to_owned(),
        (136, minor) => format!("pts/{minor}"),
        (4, minor) => format!("tty{minor}"),
        (major, minor) => format!("{major}:{minor}"),
    };
    let share = used * 100 / now.saturating_sub(begun).max(1);
    let time = format!("{:02}:{:02}:{:02}", used / 3600, used / 60 % 60, used % 60);
    // `2026-01-02T03:04:05Z`, in UTC.
    let start = logs::time::format_rfc3339_nano(begun * 1_000_000_000);
    let start = start.get(11..16)?;
    Some(format!("{user:<8} {pid:>7} {parent:>7} {share:>2} {start} {terminal:<8} {time} {command}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn one_line_as_ps_prints_it() {
        let stat = "42 (a) b) S 1 42 42 34817 42 4194560 0 0 0 0 150 50 0 0 20 0 1 0 6000 0 0";
        assert_eq!(
            super::format_line(stat, "root", b"sh\0-c\0a\x1b[2J\0", 0, 1000).unwrap(),
            "root          42       1  0 00:01 pts/1    00:00:02 sh -c a?[2J"
        );
        assert!(super::format_line("42 (x", "root", b"", 0, 0).is_none());
        let kernel = super::format_line(stat, "u", b"", 0, 1000).unwrap();
        assert!(kernel.ends_with(" [a) b]"), "{kernel}");
    }
}
