//! `explain`: one screen about what a container is to the kernel. hoist's own; Docker has nothing like it.

use std::fmt::Write as _;

use api::explain::{Explanation, Port, Socket};
use client::{Request, path_escape};

use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::format::columns::align;

/// Table of `explain`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["container explain", "explain"],
    usage: "[OPTIONS] CONTAINER",
    about: "Show what a container is to the kernel: processes, namespaces, limits, layers, mounts, the way of a packet",
    flags: &[flag("json", '\0', Kind::Bool(false), "Print the document")],
    args: Args::Exactly(1),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let path = format!("/hoist/containers/{}/explain", path_escape(&parsed.args[0]));
    let body = context.client()?.send(Request::get(path))?.bytes(64 << 20)?;
    if parsed.bool("json") {
        return crate::out::text(&String::from_utf8_lossy(&body));
    }
    let told: Explanation = serde_json::from_slice(&body)
        .map_err(|error| Failure::new(format!("the daemon's answer cannot be read: {error}")))?;
    crate::out::text(&render(&told))
}

/// Lines of one section, whose cells are separated by tabs.
struct Page(String);

impl Page {
    fn section(&mut self, title: &str, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        let body: String = lines.iter().map(|line| format!("  {line}\n")).collect();
        let _ = write!(self.0, "{title}\n{}", align(&body, 0, 2));
    }
}

fn render(told: &Explanation) -> String {
    let mut page = Page(String::new());
    let short = told.id.get(..12).unwrap_or(&told.id);
    let state = if told.status == "exited" { format!("exited with {}", told.exit_code) } else { told.status.clone() };
    let _ = writeln!(page.0, "{} ({short}), image {}, {state}", told.name, told.image);
    let differences: Vec<String> = told.differences.iter().map(|line| format!("! {line}")).collect();
    page.section("DIFFERS FROM THE RECORDS", &differences);
    page.section("PROCESSES", &processes(told));
    page.section("NAMESPACES", &namespaces(told));
    if !told.cgroup.path.is_empty() {
        page.section(&format!("CGROUP ({}) {}", told.cgroup.version, told.cgroup.path), &limits(told));
    }
    if !told.processes.is_empty() {
        page.section("SECURITY", &security(told));
    }
    page.section("LAYERS, the topmost first", &layers(told));
    page.section("MOUNTS", &mounts(told));
    page.section("NETWORK", &network(told));
    page.section("PUBLISHED PORTS", &told.ports.iter().map(way).collect::<Vec<_>>());
    page.section("LISTENING", &told.listening.iter().map(socket).collect::<Vec<_>>());
    page.0
}

fn processes(told: &Explanation) -> Vec<String> {
    if told.processes.is_empty() {
        return Vec::new();
    }
    let mut lines = vec!["HOST PID\tPID\tUSER\tSTATE\tMEMORY\tCOMMAND".to_owned()];
    for process in &told.processes {
        let indent = "  ".repeat(usize::try_from(process.depth).unwrap_or(0).min(20));
        let inner = if process.inner_pid == 0 { "-".to_owned() } else { process.inner_pid.to_string() };
        let memory = size(process.resident);
        let command: String = process.command.chars().map(|c| if c.is_control() { ' ' } else { c }).take(100).collect();
        let (pid, user, state) = (process.pid, process.user, &process.state);
        lines.push(format!("{pid}\t{inner}\t{user}\t{state}\t{memory}\t{indent}{command}"));
    }
    lines
}

fn namespaces(told: &Explanation) -> Vec<String> {
    let row = |namespace: &api::explain::Namespace| {
        let words = match namespace.shared.as_str() {
            "own" => "of its own".to_owned(),
            "host" => "the host's".to_owned(),
            other => format!("shared with {other}"),
        };
        format!("{}\t{}\t{words}", namespace.kind, namespace.inode)
    };
    told.namespaces.iter().map(row).collect()
}

fn limits(told: &Explanation) -> Vec<String> {
    let group = &told.cgroup;
    let limit = |limit: i64, text: String| if limit == 0 { "no limit".to_owned() } else { format!("of {text}") };
    let mut lines = vec![
        format!("memory\t{}\t{}", size(group.memory), limit(group.memory_limit, size(group.memory_limit))),
        format!(
            "processes\t{}\t{}{}",
            group.processes,
            limit(group.processes_limit, group.processes_limit.to_string()),
            if group.waiting > 0 { format!(", {} of them waiting for an exec", group.waiting) } else { String::new() }
        ),
    ];
    let cpus = format!("{} CPUs", thousandths(group.cpu_limit));
    let held = if group.throttled > 0 { format!(", held back {} times", group.throttled) } else { String::new() };
    lines.push(format!("cpu\t{} used\t{}{held}", seconds(group.cpu), limit(group.cpu_limit, cpus)));
    if !group.cpu_set.is_empty() {
        lines.push(format!("cpus\t{}", group.cpu_set));
    }
    if group.oom_kills > 0 {
        lines.push(format!("killed for memory\t{} times", group.oom_kills));
    }
    lines
}

fn security(told: &Explanation) -> Vec<String> {
    let security = &told.security;
    let mut lines = vec![format!("user {}, group {}", security.user, security.group)];
    let default = if security.added.is_empty() && security.dropped.is_empty() {
        "as a container has by default".to_owned()
    } else {
        let list =
            |sign: &str, names: &api::List<String>| names.iter().map(|n| format!("{sign}{n}")).collect::<Vec<_>>();
        let words = [list("+", &security.added), list("-", &security.dropped)].concat();
        // All of them and most of them are shorter told as what they are.
        if words.len() > 12 {
            format!("{} more and {} less than by default", security.added.len(), security.dropped.len())
        } else {
            format!("by default {}", words.join(" "))
        }
    };
    let none = if security.capabilities.is_empty() { "none in effect; " } else { "" };
    let count = security.capabilities.len().max(security.bounding.len());
    lines.push(format!("capabilities: {none}{count} to have, {default}"));
    lines.push(match security.seccomp.as_str() {
        "filter" => format!("seccomp: system calls go through {} filter(s)", security.seccomp_filters.max(1)),
        "strict" => "seccomp: strict".to_owned(),
        _ => "seccomp: none, every system call is open to it".to_owned(),
    });
    if security.no_new_privileges {
        lines.push("no new privileges: set-uid programs give it nothing".to_owned());
    }
    if !security.label.is_empty() {
        lines.push(format!("label: {}", security.label));
    }
    lines
}

fn layers(told: &Explanation) -> Vec<String> {
    let root = &told.root;
    let mut lines = vec![format!("writable\t{}\t{}", size(root.writable), root.writable_path)];
    for layer in told.layers.iter().rev() {
        let digest = layer.diff_id.trim_start_matches("sha256:");
        let by: String = layer.created_by.chars().map(|c| if c.is_control() { ' ' } else { c }).take(90).collect();
        let by = if by.is_empty() { "-" } else { &by };
        lines.push(format!("{}\t{}\t{by}", digest.get(..12).unwrap_or(digest), size(layer.size)));
    }
    if !root.filesystem.is_empty() {
        let access = if root.options.starts_with("ro") { "read-only" } else { "read and write" };
        lines.push(format!("mounted as {}, {access}", root.filesystem));
    }
    lines
}

fn mounts(told: &Explanation) -> Vec<String> {
    let mut lines = Vec::new();
    let mut system = Vec::new();
    for mount in &told.mounts {
        if mount.kind == "system" {
            system.push(mount.destination.as_str());
            continue;
        }
        let access = if mount.options.split(',').any(|option| option == "ro") { "ro" } else { "rw" };
        lines.push(format!("{}\t{}\t{access}\t{}", mount.destination, mount.kind, mount.source));
    }
    if !system.is_empty() {
        system.dedup();
        lines.push(format!("and {} of the system below /proc, /sys and /dev", system.len()));
    }
    lines
}

/// `10 Mbit/s`.
fn rate(bits: i64) -> String {
    match bits {
        ..=0 => "as fast as it can".to_owned(),
        bits => {
            let units = [(1_000_000_000, "Gbit/s"), (1_000_000, "Mbit/s"), (1_000, "kbit/s"), (1, "bit/s")];
            let (unit, name) = units.into_iter().find(|(unit, _)| bits >= *unit).unwrap_or((1, "bit/s"));
            format!("{} {name}", bits as f64 / unit as f64)
        }
    }
}

fn network(told: &Explanation) -> Vec<String> {
    let mut lines = Vec::new();
    if told.namespaces.iter().any(|namespace| namespace.kind == "net" && namespace.shared == "host") {
        lines.push("the host's own".to_owned());
    }
    for link in &told.links {
        let state = if link.up { "up" } else { "down" };
        let outside = match (link.peer.as_str(), link.bridge.as_str()) {
            ("", _) => String::new(),
            (peer, "") => format!("<-> {peer}"),
            (peer, bridge) => format!("<-> {peer} in {bridge}"),
        };
        let addresses = link.addresses.join(" ");
        lines.push(format!("{}\t{state}\t{addresses}\t{outside}", link.name).trim_end().to_owned());
        if link.rate_in > 0 || link.rate_out > 0 {
            lines.push(format!("{} limited: in {}, out {}", link.name, rate(link.rate_in), rate(link.rate_out)));
        }
    }
    lines.extend(told.routes.iter().map(|route| format!("route {route}")));
    lines
}

/// From the host's port to the process, one arrow a step.
fn way(port: &Port) -> String {
    let mut steps = vec![
        format!("{}:{}/{}", bracketed(&port.host_address), port.host_port, port.protocol),
        match port.table.as_str() {
            "" => "hoist-runtime forwarder".to_owned(),
            table => format!("nft {table} {}", port.map),
        },
    ];
    steps.extend([&port.bridge, &port.peer].into_iter().filter(|step| !step.is_empty()).cloned());
    steps.push(format!("{} {}:{}", port.link, bracketed(&port.address), port.port).trim_start().to_owned());
    steps.push(match port.listeners.first() {
        Some(socket) if socket.pid > 0 => format!("{} (pid {})", socket.command, socket.pid),
        Some(_) => "a socket of the container".to_owned(),
        None => "nobody listens".to_owned(),
    });
    steps.join(" -> ")
}

fn socket(socket: &Socket) -> String {
    let who = if socket.pid > 0 { format!("{} (pid {})", socket.command, socket.pid) } else { "-".to_owned() };
    format!("{}\t{}:{}\t{who}", socket.protocol, bracketed(&socket.address), socket.port)
}

fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

fn size(bytes: i64) -> String {
    api::size::human_short(bytes)
}

fn seconds(ns: i64) -> String {
    let hundredths = ns / 10_000_000;
    format!("{}.{:02} s", hundredths / 100, hundredths % 100)
}

fn thousandths(number: i64) -> String {
    let text = format!("{}.{:03}", number / 1000, number % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page() {
        let told: Explanation = serde_json::from_str(include_str!("explain_test.json")).expect("a document");
        let page = render(&told);
        assert_eq!(page, include_str!("explain_test.txt"), "{page}");
    }

    #[test]
    fn numbers() {
        assert_eq!(
            (seconds(1_234_567_890), thousandths(1500), thousandths(2000)),
            ("1.23 s".into(), "1.5".into(), "2".into())
        );
        assert_eq!(render(&Explanation::default()).lines().count(), 3);
    }
}
