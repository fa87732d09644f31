//! `stats`.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use client::{Client, Request};
use serde::Deserialize;

use super::route;
use crate::cli::{Args, Command, Kind, Parsed, flag, table_format};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::format::{self, Listing, list};
use crate::human;
use crate::template::{Row, Value};

/// Table of `stats`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["container stats", "stats"],
    usage: "[OPTIONS] [CONTAINER...]",
    about: "Display a live stream of container(s) resource usage statistics",
    flags: &[
        flag("all", 'a', Kind::Bool(false), "Show all containers (default shows just running)"),
        table_format('\0'),
        flag("no-stream", '\0', Kind::Bool(false), "Disable streaming stats and only pull the first result"),
        flag("no-trunc", '\0', Kind::Bool(false), "Do not truncate output"),
    ],
    args: Args::AtLeast(0),
    interspersed: true,
    run,
};

const LISTING: Listing = Listing {
    headers: &[
        ("Container", "CONTAINER"),
        ("Name", "NAME"),
        ("ID", "CONTAINER ID"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ],
};

const DEFAULT: &str =
    "table {{.ID}}\\t{{.Name}}\\t{{.CPUPerc}}\\t{{.MemUsage}}\\t{{.MemPerc}}\\t{{.NetIO}}\\t{{.BlockIO}}\\t{{.PIDs}}";

/// Between two pictures.
const REFRESH: Duration = Duration::from_millis(500);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Stats {
    name: String,
    id: String,
    cpu_stats: Cpu,
    precpu_stats: Cpu,
    memory_stats: Memory,
    pids_stats: Pids,
    blkio_stats: Blkio,
    networks: BTreeMap<String, Network>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cpu {
    cpu_usage: CpuUsage,
    system_cpu_usage: u64,
    online_cpus: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CpuUsage {
    total_usage: u64,
    percpu_usage: Vec<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Memory {
    usage: u64,
    limit: u64,
    stats: BTreeMap<String, u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pids {
    current: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Blkio {
    io_service_bytes_recursive: Option<Vec<Entry>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    op: String,
    value: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Network {
    rx_bytes: u64,
    tx_bytes: u64,
}

/// What one line shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries {
    pub(super) container: String,
    pub(super) name: String,
    pub(super) id: String,
    pub(super) cpu: f64,
    pub(super) memory: f64,
    pub(super) limit: f64,
    pub(super) memory_percent: f64,
    pub(super) received: f64,
    pub(super) sent: f64,
    pub(super) read: f64,
    pub(super) written: f64,
    pub(super) pids: u64,
    /// Nothing is known yet, or not any more.
    pub(super) invalid: bool,
}

impl Entries {
    fn unknown(container: &str) -> Entries {
        Entries { container: container.to_owned(), invalid: true, ..Entries::default() }
    }

    /// Docker's arithmetic.
    fn of(container: &str, stats: &Stats) -> Entries {
        let used = stats.cpu_stats.cpu_usage.total_usage as f64 - stats.precpu_stats.cpu_usage.total_usage as f64;
        let passed = stats.cpu_stats.system_cpu_usage as f64 - stats.precpu_stats.system_cpu_usage as f64;
        let cpus = match stats.cpu_stats.online_cpus {
            0 => stats.cpu_stats.cpu_usage.percpu_usage.len() as f64,
            count => f64::from(count),
        };
        let memory = &stats.memory_stats;
        // What the page cache can give back at any time is not counted: one name on cgroup version 1, another on 2.
        let cache = ["total_inactive_file", "inactive_file"].iter().find_map(|key| memory.stats.get(*key));
        let resident = match cache {
            Some(cache) if *cache < memory.usage => memory.usage - cache,
            _ => memory.usage,
        };
        let block = |first: char| -> u64 {
            let all = stats.blkio_stats.io_service_bytes_recursive.iter().flatten();
            all.filter(|entry| entry.op.to_ascii_lowercase().starts_with(first)).map(|entry| entry.value).sum()
        };
        Entries {
            container: container.to_owned(),
            name: stats.name.clone(),
            id: stats.id.clone(),
            cpu: if used > 0.0 && passed > 0.0 { used / passed * cpus * 100.0 } else { 0.0 },
            memory: resident as f64,
            limit: memory.limit as f64,
            memory_percent: if memory.limit == 0 { 0.0 } else { resident as f64 / memory.limit as f64 * 100.0 },
            received: stats.networks.values().map(|one| one.rx_bytes as f64).sum(),
            sent: stats.networks.values().map(|one| one.tx_bytes as f64).sum(),
            read: block('r') as f64,
            written: block('w') as f64,
            pids: stats.pids_stats.current,
            invalid: false,
        }
    }
}

struct Line {
    entries: Entries,
    truncate: bool,
}

impl Row for Line {
    fn column(&self, name: &str) -> Option<Value> {
        let of = &self.entries;
        let known = |text: String, unknown: &str| if of.invalid { unknown.to_owned() } else { text };
        Some(Value::text(match name {
            "Container" => of.container.clone(),
            "Name" if of.name.len() > 1 => of.name.trim_start_matches('/').to_owned(),
            "Name" => "--".to_owned(),
            "ID" if self.truncate => human::short_id(&of.id).to_owned(),
            "ID" => of.id.clone(),
            "CPUPerc" => known(format!("{:.2}%", of.cpu), "--"),
            "MemUsage" => {
                known(format!("{} / {}", human::binary_size(of.memory), human::binary_size(of.limit)), "-- / --")
            }
            "MemPerc" => known(format!("{:.2}%", of.memory_percent), "--"),
            "NetIO" => known(format!("{} / {}", human::size(of.received, 3), human::size(of.sent, 3)), "--"),
            "BlockIO" => known(format!("{} / {}", human::size(of.read, 3), human::size(of.written, 3)), "--"),
            "PIDs" => known(of.pids.to_string(), "--"),
            _ => return None,
        }))
    }

    fn columns(&self) -> &[&'static str] {
        &["BlockIO", "CPUPerc", "Container", "ID", "MemPerc", "MemUsage", "Name", "NetIO", "PIDs"]
    }

    fn type_name(&self) -> &'static str {
        "*formatter.statsContext"
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
}

pub(super) fn listed(client: &Client, all: bool) -> Outcome<Vec<String>> {
    let request = Request::get("/containers/json").query_if("all", all);
    let containers: Vec<Listed> = client.send(request)?.json()?;
    Ok(containers.into_iter().map(|one| human::short_id(&one.id).to_owned()).collect())
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let given = list::choose(parsed.str("format"), &context.config().stats_format, false);
    let text = if given == "table" { DEFAULT } else { given };
    let truncate = !parsed.bool("no-trunc");
    let show = |rows: Vec<Entries>| -> Outcome<String> {
        let lines = rows.into_iter().map(|entries| Rc::new(Line { entries, truncate }) as Rc<dyn Row>);
        format::list::render(&LISTING, text, lines)
    };
    format::list::parse(text)?;
    let everyone = parsed.args.is_empty();
    let names = if everyone { listed(context.client()?, parsed.bool("all"))? } else { parsed.args.clone() };
    if parsed.bool("no-stream") {
        let (rows, errors) = once(context.client()?, &names, everyone);
        if !errors.is_empty() {
            return crate::each::join(errors);
        }
        return crate::out::text(&show(rows)?);
    }
    follow(context, names, everyone, parsed.bool("all"), show)
}

fn once(client: &Client, names: &[String], everyone: bool) -> (Vec<Entries>, Vec<String>) {
    let results: Vec<Outcome<Entries>> = std::thread::scope(|scope| {
        let threads: Vec<_> = names
            .iter()
            .map(|name| {
                scope.spawn(move || {
                    let request = Request::get(route(name, "/stats")).query("stream", "0");
                    let stats: Stats = client.send(request)?.json()?;
                    Ok(Entries::of(name, &stats))
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let (mut rows, mut errors) = (Vec::new(), Vec::new());
    for (name, result) in names.iter().zip(results) {
        match result {
            Ok(entries) if entries.id.is_empty() => rows.push(Entries::unknown(name)),
            Ok(entries) => rows.push(entries),
            // It ended since it was listed.
            Err(_) if everyone => {}
            Err(failure) => errors.push(failure.text),
        }
    }
    (rows, errors)
}

/// What is known of one container: its last numbers, or why there are none.
pub(super) type Seen = Arc<Mutex<(Entries, Option<String>)>>;

pub(super) fn lock(seen: &Seen) -> MutexGuard<'_, (Entries, Option<String>)> {
    seen.lock().unwrap_or_else(|poison| poison.into_inner())
}

pub(super) fn watch(context: &Context, name: &str) -> Outcome<Seen> {
    let seen: Seen = Arc::new(Mutex::new((Entries::unknown(name), None)));
    let (client, name, shared) = (context.client()?.another(), name.to_owned(), Arc::clone(&seen));
    std::thread::spawn(move || {
        let ended = (|| -> Outcome {
            let response = client.send(Request::get(route(&name, "/stats")).query("stream", "1"))?;
            for stats in serde_json::Deserializer::from_reader(response).into_iter::<Stats>() {
                let Ok(stats) = stats else { break };
                lock(&shared).0 = Entries::of(&name, &stats);
            }
            Ok(())
        })();
        let mut shared = lock(&shared);
        shared.0.invalid = true;
        shared.1 = Some(ended.err().map(|failure| failure.text).unwrap_or_default());
    });
    Ok(seen)
}

fn follow(
    context: &Context,
    names: Vec<String>,
    everyone: bool,
    all: bool,
    show: impl Fn(Vec<Entries>) -> Outcome<String>,
) -> Outcome {
    let mut seen: Vec<(String, Seen)> = Vec::new();
    for name in names {
        let one = watch(context, &name)?;
        seen.push((name, one));
    }
    loop {
        std::thread::sleep(REFRESH);
        if everyone {
            let now = listed(context.client()?, all)?;
            seen.retain(|(name, one)| now.contains(name) && lock(one).1.is_none());
            for name in now {
                if !seen.iter().any(|(known, _)| *known == name) {
                    let one = watch(context, &name)?;
                    seen.push((name, one));
                }
            }
        } else {
            let failed: Vec<String> = seen.iter().filter_map(|(_, one)| lock(one).1.clone()).collect();
            let words: Vec<String> = failed.iter().filter(|text| !text.is_empty()).cloned().collect();
            if !words.is_empty() {
                return Err(Failure::new(words.join("\n")));
            }
            if failed.len() == seen.len() {
                return Ok(());
            }
        }
        let picture = show(seen.iter().map(|(_, one)| lock(one).0.clone()).collect())?;
        // Home, each line to its end, and nothing below.
        crate::out::text(&format!("\x1b[H{}\x1b[J", picture.replace('\n', "\x1b[K\n")))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_s_arithmetic() {
        let stats: Stats = serde_json::from_str(
            r#"{"name":"/web","id":"0123456789abcdef","pids_stats":{"current":3},
                "cpu_stats":{"cpu_usage":{"total_usage":300},"system_cpu_usage":2000,"online_cpus":2},
                "precpu_stats":{"cpu_usage":{"total_usage":100},"system_cpu_usage":1000},
                "memory_stats":{"usage":3145728,"limit":4194304,"stats":{"inactive_file":1048576}},
                "blkio_stats":{"io_service_bytes_recursive":[{"op":"Read","value":1500},{"op":"write","value":7}]},
                "networks":{"eth0":{"rx_bytes":1000,"tx_bytes":2},"eth1":{"rx_bytes":500,"tx_bytes":3}}}"#,
        )
        .unwrap();
        let line = Line { entries: Entries::of("web", &stats), truncate: true };
        let text = format::list::render(
            &LISTING,
            "{{.ID}} {{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.MemPerc}} {{.NetIO}} {{.BlockIO}} {{.PIDs}}",
            [Rc::new(line) as Rc<dyn Row>],
        );
        assert_eq!(text.unwrap(), "0123456789ab web 40.00% 2MiB / 4MiB 50.00% 1.5kB / 5B 1.5kB / 7B 3\n");
    }
}
