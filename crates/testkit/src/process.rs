//! Runs programs with a time limit, and looks at processes through `/proc`.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// What a finished program left.
#[derive(Clone, Debug)]
pub struct Output {
    pub command: String,
    pub stdout: String,
    pub stderr: String,
    /// Exit status; 128 + n after signal n.
    pub code: i32,
    pub took: Duration,
}

impl Output {
    /// Standard output without the blanks at both ends.
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }

    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }

    /// Standard output, or an error that shows everything when the exit status is not 0.
    pub fn ok(self) -> Result<String> {
        Ok(self.code(0)?.text().to_string())
    }

    /// The output itself, when the exit status is `expected`.
    pub fn code(self, expected: i32) -> Result<Output> {
        if self.code != expected {
            bail!("exit status {} instead of {expected}\n{}", self.code, self.describe());
        }
        Ok(self)
    }

    /// Fails unless standard error contains `text`.
    pub fn stderr_has(self, text: &str) -> Result<Output> {
        if !self.stderr.contains(text) {
            bail!("standard error lacks {text:?}\n{}", self.describe());
        }
        Ok(self)
    }

    /// Fails unless standard output contains `text`.
    pub fn stdout_has(self, text: &str) -> Result<Output> {
        if !self.stdout.contains(text) {
            bail!("standard output lacks {text:?}\n{}", self.describe());
        }
        Ok(self)
    }

    pub fn describe(&self) -> String {
        let part = |name: &str, text: &str| {
            text.lines().take(60).map(|line| format!("    {name} {line}\n")).collect::<String>()
        };
        format!("  $ {}\n{}{}", self.command, part("1>", &self.stdout), part("2>", &self.stderr))
    }
}

/// A program in the background whose output is collected.
pub struct Running {
    child: Child,
    command: String,
    started: Instant,
    stdout: Collected,
    stderr: Collected,
}

/// What came out of a pipe so far, and the thread that reads it.
struct Collected {
    seen: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Collected {
    fn start(pipe: Option<impl Read + Send + 'static>) -> Collected {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        let reader = pipe.map(|mut pipe| {
            std::thread::spawn(move || {
                let mut buffer = [0; 64 * 1024];
                while let Ok(n @ 1..) = pipe.read(&mut buffer) {
                    sink.lock().expect("no panic while holding it").extend_from_slice(&buffer[..n]);
                }
            })
        });
        Collected { seen, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().expect("no panic while holding it")).into_owned()
    }

    /// All of it: until the other end is closed, but not for long, since a grandchild may hold it open for ever.
    fn rest(&self) -> String {
        let _ = crate::wait::until_true("the end of the output", Duration::from_secs(5), || {
            Ok(self.reader.as_ref().is_none_or(JoinHandle::is_finished))
        });
        self.text()
    }
}

/// Starts `command` with `stdin` as its input (nothing: `/dev/null`).
pub fn spawn(command: &mut Command, stdin: Option<&[u8]>) -> Result<Running> {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let text = words.join(" ");
    command.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start {text}"))?;
    if let (Some(bytes), Some(mut pipe)) = (stdin, child.stdin.take()) {
        let bytes = bytes.to_vec();
        std::thread::spawn(move || drop(pipe.write_all(&bytes)));
    }
    let stdout = Collected::start(child.stdout.take());
    let stderr = Collected::start(child.stderr.take());
    Ok(Running { child, command: text, started, stdout, stderr })
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until standard output contains `text`.
    pub fn expect(&self, text: &str, limit: Duration) -> Result<()> {
        crate::wait::until_true(&format!("{text:?} in the output of {}", self.command), limit, || {
            let seen = self.stdout.text();
            if seen.contains(text) {
                return Ok(true);
            }
            bail!("so far {seen:?}");
        })
    }

    /// What it printed so far.
    pub fn so_far(&self) -> String {
        self.stdout.text()
    }

    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(pid_of(self.child.id())?, signal)?)
    }

    /// Waits for its end; after `limit` it is killed and that is an error.
    pub fn finish(mut self, limit: Duration) -> Result<Output> {
        let status = wait_child(&mut self.child, limit)?;
        let took = self.started.elapsed();
        let late = status.is_none();
        let status = match status {
            Some(status) => status,
            None => {
                self.child.kill()?;
                self.child.wait()?
            }
        };
        let (stdout, stderr) = (self.stdout.rest(), self.stderr.rest());
        let output = Output { command: self.command.clone(), stdout, stderr, code: exit_code(status), took };
        if late {
            bail!("did not end within {:.0} s\n{}", limit.as_secs_f64(), output.describe());
        }
        Ok(output)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A program that a failed test left behind; one that has ended already makes both calls harmless.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a child; `None` when it is still running after `limit`.
pub fn wait_child(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let pidfd = pidfd_open(pid_of(child.id())?, PidfdFlags::empty())?;
    if !readable(pidfd.as_fd(), limit)? {
        return Ok(child.try_wait()?);
    }
    Ok(Some(child.wait()?))
}

fn readable(fd: BorrowedFd<'_>, limit: Duration) -> Result<bool> {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&left)) {
            Ok(n) => return Ok(n > 0),
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Runs a program to its end.
pub fn run(command: &mut Command, limit: Duration) -> Result<Output> {
    spawn(command, None)?.finish(limit)
}

pub fn exit_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

pub fn pid_of(pid: u32) -> Result<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).with_context(|| format!("{pid} is no process id"))
}

/// Whether a process is there and not a zombie.
pub fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _, _)| state != 'Z' && state != 'X')
}

/// State, parent, start time in ticks.
pub fn stat(pid: u32) -> Option<(char, u32, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.first()?.chars().next()?, fields.get(1)?.parse().ok()?, fields.get(19)?.parse().ok()?))
}

/// Seconds that a process has computed, and those of its children that it has waited for.
pub fn cpu_seconds(pid: u32) -> Option<(f64, f64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| Some(fields.get(at)?.parse::<u64>().ok()? as f64);
    let second = rustix::param::clock_ticks_per_second() as f64;
    Some(((ticks(11)? + ticks(12)?) / second, (ticks(13)? + ticks(14)?) / second))
}

/// All process ids of this process's pid namespace.
pub fn all() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Command line with blanks between the words; empty for kernel threads.
pub fn command_line(pid: u32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim_end().to_string()
}

/// Proportional set size in KiB (`Pss` of smaps_rollup).
pub fn pss_kib(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Pss:"))?.split_whitespace().next()?.parse().ok()
}

/// The processes that belong to the daemon with this root directory: they name it in their command line or environment,
/// hold a descriptor below it, or descend from one that does.
pub fn of_root(root: &Path) -> Vec<u32> {
    let root = root.to_string_lossy().into_owned();
    let me = std::process::id();
    let pids: Vec<u32> = all().into_iter().filter(|pid| *pid != me && *pid != 1).collect();
    let mut ours: Vec<u32> = pids.iter().copied().filter(|pid| mentions(*pid, &root)).collect();
    loop {
        let more: Vec<u32> = pids
            .iter()
            .copied()
            .filter(|pid| !ours.contains(pid) && stat(*pid).is_some_and(|(_, parent, _)| ours.contains(&parent)))
            .collect();
        if more.is_empty() {
            break;
        }
        ours.extend(more);
    }
    ours.retain(|pid| is_alive(*pid) && !is_client(*pid, me));
    ours.sort_unstable();
    ours
}

fn mentions(pid: u32, root: &str) -> bool {
    let proc = Path::new("/proc").join(pid.to_string());
    let has = |file: &str| {
        std::fs::read(proc.join(file)).is_ok_and(|bytes| bytes.windows(root.len()).any(|w| w == root.as_bytes()))
    };
    if has("cmdline") || has("environ") {
        return true;
    }
    let fds = std::fs::read_dir(proc.join("fd")).into_iter().flatten().flatten().map(|entry| entry.path());
    fds.chain([proc.join("cwd")])
        .filter_map(|link| std::fs::read_link(link).ok())
        .any(|to| to.to_string_lossy().starts_with(root))
}

/// Clients that a test started: our own children, which are not part of the daemon.
fn is_client(pid: u32, me: u32) -> bool {
    let line = command_line(pid);
    let program = line.split(' ').next().unwrap_or("").rsplit('/').next().unwrap_or("");
    stat(pid).is_some_and(|(_, parent, _)| parent == me) && ["hoist", "docker", "podman", "setsid"].contains(&program)
}
