//! `GET /containers/{id}/top`: the container's processes, read from `/proc` as `ps` does.

use std::collections::HashMap;
use std::fs;

use api::container::TopResponse;

use super::{not_running, publish};
use crate::{Engine, Error, Kind, Result};

/// Name of the runtime's helper in a container's cgroup.
pub(super) const SEED: &str = "hoist-seed";

/// The columns of `ps -ef` and `ps aux`; other arguments of ps are refused.
pub fn top(engine: &Engine, id: &str, ps_args: &str) -> Result<TopResponse> {
    let container = engine.containers.find(id)?;
    let record = container.snapshot();
    if !record.state.phase.is_alive() {
        return Err(not_running(&container.id));
    }
    let style = match ps_args.trim().trim_start_matches('-') {
        "" | "ef" | "fe" => Style::Full,
        "aux" | "axu" | "uax" => Style::Bsd,
        _ => {
            return Err(Error::new(
                Kind::NotImplemented,
                format!("hoist does not support top with the ps arguments \"{ps_args}\" yet, only -ef and aux"),
            ));
        }
    };
    let cgroups = engine.cgroups.as_ref();
    let cgroups = cgroups.ok_or_else(|| Error::new(Kind::System, "no cgroups were found on this machine"))?;
    let group =
        cgroups.open(&engine.container_cgroup(&record)).map_err(|error| Error::system("open the cgroup", error))?;
    let mut pids = group.processes().map_err(|error| Error::system("list the container's processes", error))?;
    pids.sort_unstable();
    let machine = Machine::look();
    let seen = pids.into_iter().filter_map(|pid| Process::read(pid, &machine)).filter(|process| !process.is_ours());
    let processes: Vec<Vec<String>> = seen.map(|process| process.row(style, &machine)).collect();
    let titles: &[&str] = match style {
        Style::Full => &["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"],
        Style::Bsd => &["USER", "PID", "%CPU", "%MEM", "VSZ", "RSS", "TTY", "STAT", "START", "TIME", "COMMAND"],
    };
    publish(engine, &record, "top", &[]);
    Ok(TopResponse {
        processes: processes.into(),
        titles: titles.iter().map(|title| (*title).to_owned()).collect::<Vec<_>>().into(),
    })
}

#[derive(Clone, Copy)]
enum Style {
    Full,
    Bsd,
}

/// What all rows need.
struct Machine {
    users: HashMap<u32, String>,
    ticks: u64,
    uptime: f64,
    now: u64,
    page_kb: u64,
    memory_kb: u64,
}

impl Machine {
    fn look() -> Machine {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let passwd = text("/etc/passwd");
        let users = passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            Some((fields.nth(1)?.parse().ok()?, name.to_owned()))
        });
        let memory = text("/proc/meminfo");
        let total =
            memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
        Machine {
            users: users.collect(),
            ticks: rustix::param::clock_ticks_per_second().max(1),
            uptime: text("/proc/uptime").split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0),
            now: logs::time::now_ns() / 1_000_000_000,
            page_kb: (rustix::param::page_size() / 1024) as u64,
            memory_kb: total.unwrap_or(1),
        }
    }
}

struct Process {
    pid: i32,
    uid: u32,
    command: String,
    name: String,
    state: String,
    parent: i32,
    tty: i64,
    /// Ticks of CPU.
    used: u64,
    /// Seconds since the process began.
    age: u64,
    virtual_kb: u64,
    resident_kb: u64,
}

impl Process {
    fn read(pid: i32, machine: &Machine) -> Option<Process> {
        use std::os::unix::fs::MetadataExt;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let uid = fs::metadata(format!("/proc/{pid}")).ok()?.uid();
        let (name, rest) = (stat.split_once('(')?.1, stat.rsplit_once(')')?.1);
        let name = name.get(..name.rfind(')')?)?.to_owned();
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<String> = command
            .split(|byte| *byte == 0)
            .filter(|word| !word.is_empty())
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        let begun = number(19) as f64 / machine.ticks as f64;
        Some(Process {
            pid,
            uid,
            command: if words.is_empty() { format!("[{name}]") } else { words.join(" ") },
            name,
            state: (*fields.first()?).to_owned(),
            parent: fields.get(1)?.parse().ok()?,
            tty: fields.get(4)?.parse().ok()?,
            used: number(11) + number(12),
            age: (machine.uptime - begun).max(0.0) as u64,
            virtual_kb: number(20) / 1024,
            resident_kb: number(21) * machine.page_kb,
        })
    }

    /// A helper of the runtime that sits in the container's cgroup, and not a process of the container's.
    fn is_ours(&self) -> bool {
        self.name == SEED
    }

    fn row(&self, style: Style, machine: &Machine) -> Vec<String> {
        let user = machine.users.get(&self.uid).cloned().unwrap_or_else(|| self.uid.to_string());
        let seconds = self.used / machine.ticks;
        let percent = if self.age > 0 { seconds as f64 * 100.0 / self.age as f64 } else { 0.0 };
        let begun = clock(machine.now.saturating_sub(self.age), self.age);
        match style {
            Style::Full => vec![
                user,
                self.pid.to_string(),
                self.parent.to_string(),
                (percent as u64).min(99).to_string(),
                begun,
                terminal(self.tty),
                format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
                self.command.clone(),
            ],
            Style::Bsd => vec![
                user,
                self.pid.to_string(),
                format!("{percent:.1}"),
                format!("{:.1}", self.resident_kb as f64 * 100.0 / machine.memory_kb as f64),
                self.virtual_kb.to_string(),
                self.resident_kb.to_string(),
                terminal(self.tty),
                self.state.clone(),
                begun,
                format!("{}:{:02}", seconds / 60, seconds % 60),
                self.command.clone(),
            ],
        }
    }
}

/// `pts/0` from a device number as `/proc/<pid>/stat` has it.
fn terminal(number: i64) -> String {
    let (major, minor) = ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xfff00));
    match major {
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        4 => format!("tty{minor}"),
        _ => "?".to_owned(),
    }
}

/// Hour and minute (UTC) within the last day, else month and day.
fn clock(seconds: u64, age: u64) -> String {
    let text = logs::time::format(seconds * 1_000_000_000);
    let part = |range: std::ops::Range<usize>| String::from_utf8_lossy(&text[range]).into_owned();
    if age < 86_400 { part(11..16) } else { part(5..10) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_read() {
        let machine = Machine::look();
        let process = Process::read(std::process::id() as i32, &machine).unwrap();
        assert_eq!(process.row(Style::Full, &machine).len(), 8);
        assert_eq!(process.row(Style::Bsd, &machine).len(), 11);
        assert_eq!((terminal(34816), terminal(0)), ("pts/0".to_owned(), "?".to_owned()));
    }
}
