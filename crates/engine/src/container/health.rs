//! Health checks: a probe every interval, its last results, and what follows from them.
//!
//! ```text
//!            ┌── success ──▶ healthy ─┐
//!  starting ─┤                  ▲     │ so many failures in a row
//!            └── failures ──▶ unhealthy ◀┘        (in the start period they do not count)
//! ```
//! A thread per watched container waits and probes; nobody waits for it. Its state is in the record, so that a new daemon
//! goes on where the old one was. A probe is an exec, or, for `http://…` and `tcp://…`, a connection from inside the
//! container's network namespace that needs no program there.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::{Duration, Instant};

use api::container::{HealthConfig, RestartRule};
use api::exec::{CreateRequest, StartRequest};
use serde::{Deserialize, Serialize};
use shim_api::{ProcessRef, ToShim};

use super::{Container, Phase, lock, persist, publish};
use crate::{Engine, Error, Result};

/// Results that are kept.
const KEPT: usize = 5;

/// Bytes of a probe's output that are kept.
const OUTPUT: usize = 4096;

/// Docker's defaults.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

/// What the probes have said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Status {
    #[default]
    Starting,
    Healthy,
    Unhealthy,
}

impl Status {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Starting => "starting",
            Status::Healthy => "healthy",
            Status::Unhealthy => "unhealthy",
        }
    }
}

/// Health of a container that is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Health {
    pub status: Status,
    /// Failures in a row.
    pub streak: u32,
    /// The last results, the newest last.
    pub log: Vec<Outcome>,
}

/// One run of the probe. Times are nanoseconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Outcome {
    pub start: u64,
    pub end: u64,
    /// 0 is good; -1: the probe itself could not be run, or took too long.
    pub code: i32,
    pub output: String,
}

/// How a container is probed.
#[derive(Clone, Debug, PartialEq)]
struct Probe {
    what: What,
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: u32,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    Exec(Vec<String>),
    Tcp(SocketAddr),
    Http { address: SocketAddr, host: String, path: String },
}

/// What is wrong with a health check, if anything.
pub(super) fn check(config: &HealthConfig, shell: &[String]) -> Result<()> {
    probe(config, shell).map(drop)
}

/// The probe in words, for tests.
#[cfg(test)]
pub(super) fn describe(config: &api::container::Config) -> String {
    format!("{:?}", config.healthcheck.as_ref().map(|health| probe(health, &config.shell).unwrap_or_default()))
}

/// The probe that a configuration asks for; `None` when it asks for none. Pure.
fn probe(config: &HealthConfig, shell: &[String]) -> Result<Option<Probe>> {
    let what = match config.test.split_first() {
        None => return Ok(None),
        Some((word, _)) if word == "NONE" => return Ok(None),
        Some((word, command)) if word == "CMD" => What::Exec(command.to_vec()),
        Some((word, [text])) if word == "CMD-SHELL" => match connection(text)? {
            Some(what) => what,
            None => {
                let shell = if shell.is_empty() { vec!["/bin/sh".to_owned(), "-c".to_owned()] } else { shell.to_vec() };
                What::Exec([shell, vec![text.clone()]].concat())
            }
        },
        Some((word, _)) if word == "CMD-SHELL" => {
            return Err(Error::invalid("CMD-SHELL requires exactly one argument"));
        }
        Some((word, _)) => return Err(Error::invalid(format!("Unknown healthcheck type {word:?} (expected 'CMD')"))),
    };
    if matches!(&what, What::Exec(command) if command.is_empty()) {
        return Err(Error::invalid("a health check needs a command"));
    }
    let or = |ns: i64, default: Duration| match u64::try_from(ns) {
        Ok(ns) if ns > 0 => Duration::from_nanos(ns),
        _ => default,
    };
    Ok(Some(Probe {
        what,
        interval: or(config.interval, INTERVAL),
        timeout: or(config.timeout, TIMEOUT),
        start_period: or(config.start_period, Duration::ZERO),
        start_interval: or(config.start_interval, START_INTERVAL),
        retries: u32::try_from(config.retries).ok().filter(|retries| *retries > 0).unwrap_or(RETRIES),
    }))
}

/// `http://host[:port][/path]` and `tcp://host:port`, by address or `localhost`; anything else is a shell's business.
fn connection(text: &str) -> Result<Option<What>> {
    let text = text.trim();
    let (is_http, rest) = match (text.strip_prefix("http://"), text.strip_prefix("tcp://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return Ok(None),
    };
    let invalid = |why: &str| Error::invalid(format!("invalid health check {text:?}: {why}"));
    if text.contains(|character: char| character.is_whitespace() || character.is_control()) {
        return Err(invalid("it must not contain blanks"));
    }
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    if !is_http && path != "/" {
        return Err(invalid("a tcp:// probe has no path"));
    }
    let address = |name: &str, port: &str| -> Result<SocketAddr> {
        let ip = match name.trim_start_matches('[').trim_end_matches(']') {
            "" | "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            name => name.parse().map_err(|_| invalid("an address or localhost is needed"))?,
        };
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(|| invalid("a port is needed"))?;
        Ok(SocketAddr::new(ip, port))
    };
    let address = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => address(name, port)?,
        _ if is_http => address(host, "80")?,
        _ => return Err(invalid("a port is needed")),
    };
    Ok(Some(match is_http {
        true => What::Http { address, host: host.to_owned(), path: path.to_owned() },
        false => What::Tcp(address),
    }))
}

/// Tells a watching thread that the run is over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    fn set(&self) {
        *lock(&self.0.0) = true;
        self.0.1.notify_all();
    }

    /// True when it was set before the time was over.
    fn wait(&self, time: Duration) -> bool {
        let set = lock(&self.0.0);
        let waited = self.0.1.wait_timeout_while(set, time, |set| !*set);
        *waited.unwrap_or_else(|poison| poison.into_inner()).0
    }
}

/// A run has begun, or (`resumed`) is taken up again: it is watched from now on, if it asks for that.
pub(super) fn begin(engine: &Engine, container: &Arc<Container>, resumed: bool) {
    let record = container.snapshot();
    let config = record.config.healthcheck.clone().unwrap_or_default();
    let Ok(Some(probe)) = probe(&config, &record.config.shell) else { return };
    let known = resumed && record.state.health.is_some();
    if !known {
        // What it said of the run before is over; the results stay to be read.
        container.update(|record| {
            let health = record.state.health.get_or_insert_default();
            (health.status, health.streak) = (Status::Starting, 0);
        });
    }
    let stop = Stop::default();
    if let Some(before) = lock(&container.watch).replace(stop.clone()) {
        before.set();
    }
    let container = Arc::clone(container);
    engine.workers.submit(move |engine| {
        let id = container.id.clone();
        let engine = Arc::downgrade(engine);
        let thread = std::thread::Builder::new().name("health".to_owned()).stack_size(256 * 1024);
        if let Err(error) = thread.spawn(move || watch(&engine, &container, &probe, &stop)) {
            tracing::error!(container = id.short(), %error, "the container's health is not watched");
        }
    });
}

/// The run is over: nobody says that it is well any more.
pub(super) fn end(container: &Container) {
    if let Some(stop) = lock(&container.watch).take() {
        stop.set();
        container.update(|record| {
            if let Some(health) = &mut record.state.health {
                health.status = Status::Unhealthy;
            }
        });
    }
}

fn watch(engine: &Weak<Engine>, container: &Arc<Container>, probe: &Probe, stop: &Stop) {
    loop {
        let state = container.snapshot().state.clone();
        let status = state.health.as_ref().map_or(Status::Starting, |health| health.status);
        let since = Duration::from_nanos(logs::time::now_ns().saturating_sub(state.started_at));
        let early = since < probe.start_period && status == Status::Starting;
        if stop.wait(if early { probe.start_interval } else { probe.interval }) {
            return;
        }
        let Some(engine) = engine.upgrade() else { return };
        if container.snapshot().state.phase != Phase::Running {
            continue;
        }
        let start = logs::time::now_ns();
        let (code, output) = run(&engine, container, probe);
        let outcome = Outcome { start, end: logs::time::now_ns(), code, output };
        engine.tally.probed(code == 0);
        if stop.wait(Duration::ZERO) {
            return;
        }
        note(&engine, container, probe, outcome);
    }
}

fn note(engine: &Arc<Engine>, container: &Arc<Container>, probe: &Probe, outcome: Outcome) {
    let before = container.snapshot().state.health.as_ref().map(|health| health.status);
    let record = container.update(|record| {
        let started = record.state.started_at;
        if let Some(health) = &mut record.state.health {
            judge(health, outcome, started, probe);
        }
    });
    persist::save_later(engine, container);
    let now = record.state.health.as_ref().map(|health| health.status);
    let (Some(now), true) = (now, now != before) else { return };
    publish(engine, &record, &format!("health_status: {}", now.as_str()), &[]);
    if now == Status::Unhealthy && record.host_config.restart_policy.rule().ok() == Some(RestartRule::OnUnhealthy) {
        let (engine, container, id) = (Arc::clone(engine), Arc::clone(container), container.id.clone());
        let started_at = record.state.started_at;
        // The restart ends this watch and waits for nobody else.
        let thread = std::thread::Builder::new().name("unhealthy".to_owned()).stack_size(512 * 1024);
        let spawned = thread.spawn(move || {
            if let Err(error) = super::restart::unhealthy(&engine, &container, started_at) {
                tracing::error!(container = id.short(), error = error.full_text(), "an unhealthy container stays");
            }
        });
        if let Err(error) = spawned {
            tracing::error!(container = record.id.short(), %error, "an unhealthy container stays");
        }
    }
}

/// Takes a result in. Pure.
fn judge(health: &mut Health, outcome: Outcome, started: u64, probe: &Probe) {
    let since = Duration::from_nanos(outcome.start.saturating_sub(started));
    if outcome.code == 0 {
        (health.status, health.streak) = (Status::Healthy, 0);
    } else if health.status != Status::Starting || since >= probe.start_period {
        health.streak = health.streak.saturating_add(1);
        if health.streak >= probe.retries {
            health.status = Status::Unhealthy;
        }
    }
    health.log.push(outcome);
    let surplus = health.log.len().saturating_sub(KEPT);
    health.log.drain(..surplus);
}

/// Probes once: exit code and output.
fn run(engine: &Arc<Engine>, container: &Arc<Container>, probe: &Probe) -> (i32, String) {
    let outcome = match &probe.what {
        What::Exec(command) => run_exec(engine, container, command, probe.timeout),
        What::Tcp(address) => connect(container, *address, None, probe.timeout),
        What::Http { address, host, path } => connect(container, *address, Some((host, path)), probe.timeout),
    };
    outcome.unwrap_or_else(|error| (-1, error.full_text()))
}

fn run_exec(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    command: &[String],
    timeout: Duration,
) -> Result<(i32, String)> {
    let request = CreateRequest {
        cmd: command.to_vec().into(),
        attach_stdout: true,
        attach_stderr: true,
        ..CreateRequest::default()
    };
    let deadline = Instant::now() + timeout;
    let id = super::exec_create(engine, container.id.as_str(), &request)?.id;
    let stream = super::exec_start(engine, &id, &StartRequest::default())?;
    let mut output = Vec::new();
    let mut late = match stream {
        Some(stream) => !drain(stream.socket, deadline, &mut output)?,
        None => false,
    };
    let mut code = None;
    while !late && code.is_none() {
        code = super::exec_inspect(engine, &id)?.exit_code;
        if code.is_none() {
            // It has closed its output and goes on.
            late = Instant::now() >= deadline;
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    let text = clipped(&output);
    if late {
        if let Some(run) = container.run() {
            let process = ProcessRef::Exec(id.clone());
            let killed =
                run.request(|request| ToShim::Signal { request, process, signal: sys::signal::SIGKILL, all: false });
            if let Err(error) = killed {
                tracing::debug!(container = container.id.short(), error = error.full_text(), "a late probe");
            }
        }
        let words = format!("Health check exceeded timeout ({})", go_duration(timeout));
        return Ok((-1, if text.is_empty() { words } else { format!("{words}: {text}") }));
    }
    Ok((code.and_then(|code| i32::try_from(code).ok()).unwrap_or(-1), text))
}

/// As Go prints a duration: `1m30s`, `1.5s`, `500ms`.
fn go_duration(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        return format!("{}ms", time.as_nanos() as f64 / 1e6);
    }
    let (seconds, rest) = (time.as_secs(), f64::from(time.subsec_nanos()) / 1e9);
    let last = (seconds % 60) as f64 + rest;
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => format!("{last}s"),
        (0, minutes) => format!("{minutes}m{last}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{last}s"),
    }
}

/// Reads frames to the end; false when the time was over first. More than is kept is read and dropped.
fn drain(socket: OwnedFd, deadline: Instant, output: &mut Vec<u8>) -> Result<bool> {
    let failed = |error| Error::system("read the probe's output", error);
    let mut socket = std::os::unix::net::UnixStream::from(socket);
    let mut pending = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        socket.set_read_timeout(Some(left)).map_err(failed)?;
        let count = match socket.read(&mut piece) {
            Ok(0) => return Ok(true),
            Ok(count) => count,
            Err(error) => match error.kind() {
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => return Ok(false),
                std::io::ErrorKind::Interrupted => continue,
                std::io::ErrorKind::ConnectionReset => return Ok(true),
                _ => return Err(failed(error)),
            },
        };
        pending.extend_from_slice(&piece[..count]);
        unframe(&mut pending, output);
    }
}

/// Takes whole frames from the front: one byte stream, three zeros, big-endian length, payload.
fn unframe(pending: &mut Vec<u8>, output: &mut Vec<u8>) {
    while let Some(head) = pending.first_chunk::<8>() {
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if pending.len() < 8 + length {
            return;
        }
        let room = (OUTPUT + 1).saturating_sub(output.len());
        output.extend_from_slice(&pending[8..8 + length.min(room)]);
        pending.drain(..8 + length);
    }
}

/// At most [`OUTPUT`] bytes, and three dots for the rest.
fn clipped(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(&output[..output.len().min(OUTPUT)]).into_owned();
    if output.len() > OUTPUT { format!("{text}...") } else { text }
}

/// Connects, and with a host and path asks for that, from inside the container's network namespace.
fn connect(
    container: &Container,
    address: SocketAddr,
    http: Option<(&String, &String)>,
    timeout: Duration,
) -> Result<(i32, String)> {
    let pid = container.snapshot().state.pid;
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net"));
    let namespace = namespace.map_err(|error| Error::system("open the container's network namespace", error))?;
    if !container.snapshot().state.phase.is_alive() {
        return Err(super::not_running(&container.id));
    }
    std::thread::scope(|scope| {
        // The namespace is this thread's, which ends with the probe.
        let thread = std::thread::Builder::new().name("probe".to_owned()).stack_size(128 * 1024).spawn_scoped(
            scope,
            move || -> std::io::Result<(i32, String)> {
                sys::netns::enter(namespace.as_fd())?;
                let mut stream = match TcpStream::connect_timeout(&address, timeout) {
                    Ok(stream) => stream,
                    Err(error) => return Ok((1, format!("connect to {address}: {error}"))),
                };
                let Some((host, path)) = http else { return Ok((0, String::new())) };
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))?;
                let request = format!(
                    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: hoist-health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
                );
                stream.write_all(request.as_bytes())?;
                let mut head = Vec::new();
                let mut piece = [0; 512];
                while head.len() < 64 && !head.contains(&b'\n') {
                    match stream.read(&mut piece) {
                        Ok(0) => break,
                        Ok(count) => head.extend_from_slice(&piece[..count]),
                        Err(error) => return Ok((1, format!("read from {address}: {error}"))),
                    }
                }
                Ok(judge_http(&head))
            },
        );
        let thread = thread.map_err(|error| Error::system("start a thread", error))?;
        match thread.join() {
            Ok(outcome) => outcome.map_err(|error| Error::system("probe the container", error)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Good is a status from 200 to 399. Pure.
fn judge_http(head: &[u8]) -> (i32, String) {
    let line: Vec<u8> = head.iter().copied().take_while(|byte| !matches!(byte, b'\r' | b'\n')).take(128).collect();
    let line = String::from_utf8_lossy(&line).into_owned();
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse::<u16>().ok());
    match status {
        Some(200..=399) => (0, line),
        Some(_) => (1, line),
        None => (1, format!("no answer of a web server: {line}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(json: &str) -> Result<Option<Probe>, String> {
        probe(&serde_json::from_str(json).unwrap(), &[]).map_err(|error| error.message)
    }

    #[test]
    fn what_is_asked_for() {
        let what = |test: &str| plan(&format!(r#"{{"Test":{test}}}"#)).map(|probe| probe.map(|probe| probe.what));
        let words = |words: &[&str]| Ok(Some(What::Exec(words.iter().map(|word| (*word).to_owned()).collect())));
        assert_eq!(what("[]"), Ok(None));
        assert_eq!(what(r#"["NONE"]"#), Ok(None));
        assert_eq!(what(r#"["CMD","a","b"]"#), words(&["a", "b"]));
        assert_eq!(what(r#"["CMD-SHELL","a b"]"#), words(&["/bin/sh", "-c", "a b"]));
        assert_eq!(what(r#"["CMD-SHELL","tcp://localhost:80"]"#), Ok(Some(What::Tcp("127.0.0.1:80".parse().unwrap()))));
        let http =
            What::Http { address: "[::1]:8080".parse().unwrap(), host: "[::1]:8080".into(), path: "/up?x=1".into() };
        assert_eq!(what(r#"["CMD-SHELL","http://[::1]:8080/up?x=1"]"#), Ok(Some(http)));
        assert_eq!(what(r#"["WHAT","x"]"#).unwrap_err(), "Unknown healthcheck type \"WHAT\" (expected 'CMD')");
        for bad in ["tcp://localhost", "tcp://localhost:0", "http://example.com/", "tcp://127.0.0.1:8/x", "http://a b"]
        {
            assert!(what(&format!(r#"["CMD-SHELL","{bad}"]"#)).is_err(), "{bad}");
        }
    }

    #[test]
    fn verdicts() {
        let probe = plan(r#"{"Test":["CMD","x"],"Retries":2,"StartPeriod":1000}"#).unwrap().unwrap();
        let check = |codes: &[(u64, i32)], status: Status, streak: u32| {
            let mut health = Health::default();
            for (start, code) in codes {
                let outcome = Outcome { start: *start, code: *code, ..Outcome::default() };
                judge(&mut health, outcome, 0, &probe);
            }
            assert_eq!((health.status, health.streak), (status, streak), "{codes:?}");
            assert!(health.log.len() <= KEPT);
        };
        check(&[], Status::Starting, 0);
        // In the start period failures do not count, and one success ends it.
        check(&[(1, 1), (2, 1), (3, 1)], Status::Starting, 0);
        check(&[(1, 0), (2, 1)], Status::Healthy, 1);
        check(&[(1, 0), (2, 1), (3, 1)], Status::Unhealthy, 2);
        check(&[(2000, 1), (3000, -1)], Status::Unhealthy, 2);
        check(&[(2000, 1), (3000, 1), (4000, 0)], Status::Healthy, 0);
        check(&[(2000, 1); 9], Status::Unhealthy, 9);
    }

    #[test]
    fn output_is_bounded() {
        let mut pending = [&[1, 0, 0, 0, 0, 0, 0x20, 0][..], &[b'x'; 0x2000], &[2, 0, 0, 0, 0, 0, 0, 1]].concat();
        let mut output = Vec::new();
        unframe(&mut pending, &mut output);
        assert_eq!((output.len(), pending.len()), (OUTPUT + 1, 8));
        assert_eq!(clipped(&output).len(), OUTPUT + 3);
        for (head, code) in [("HTTP/1.1 204 No\r\n", 0), ("HTTP/1.0 500 x\r\n", 1), ("SSH-2.0\r\n", 1), ("", 1)] {
            assert_eq!(judge_http(head.as_bytes()).0, code, "{head}");
        }
    }
}
