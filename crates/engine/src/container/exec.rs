//! Further processes in a running container: `POST /containers/{id}/exec`, then `/exec/{id}/start`.
//!
//! ```text
//!  exec_create ─▶ Created ── exec_start ──▶ Starting ── ExecStarted ─▶ Running ── ExecExited ─▶ Exited
//!                                              └────── ExecFailed ──────────────────────────▶ Exited (126, 127, 128)
//! ```
//! They are not durable: what is known of them ends with the daemon, and an hour after they ended.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use api::exec::{CreateRequest, CreateResponse, Inspect, ProcessConfig, StartRequest};
use oci::runtime::{ConsoleSize, Process};
use shim_api::{AttachStreams, ProcessRef, ToShim, UserLookup};

use super::log::frame;
use super::merge::overlay_env;
use super::spec::process_capabilities;
use super::{Container, Phase, Record, Stream, link, lock, publish, spec};
use crate::id::{ContainerId, random_hex};
use crate::shim::{Run, Slot, drain};
use crate::{Engine, Error, Kind, Result};

/// Cloning and joining namespaces take milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between the end of a process and the shim's word about it lie microseconds.
const NEWS: Duration = Duration::from_secs(2);

/// How long an ended exec can be inspected.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Execs that are remembered; the oldest ended ones go first.
const MAX_EXECS: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Created,
    Starting,
    Running { pid: i32 },
    Exited { code: i32, at: Instant },
}

#[derive(Debug)]
struct Exec {
    id: String,
    container: ContainerId,
    request: CreateRequest,
    stage: Mutex<Stage>,
    /// With `stage`: it has ended.
    ended: Condvar,
    /// Brought by the shim's answer: its error with exit code, if it failed.
    started: Slot<Result<(), (String, i32)>>,
}

impl Exec {
    fn stage(&self) -> Stage {
        *lock(&self.stage)
    }

    fn command(&self) -> String {
        self.request.cmd.join(" ")
    }

    /// When the process is gone already, the shim's word about it is on its way: waits for that.
    fn await_news_of_dead(&self) {
        let stage = lock(&self.stage);
        let Stage::Running { pid } = *stage else { return };
        if sys::process::start_time(pid).is_ok() && !is_ending(pid) {
            return;
        }
        let running = |stage: &mut Stage| matches!(stage, Stage::Running { .. });
        let _ = self.ended.wait_timeout_while(stage, NEWS, running);
    }

    /// Ends it once; says whether this was the one.
    fn end(&self, code: i32) -> bool {
        let mut stage = lock(&self.stage);
        let first = !matches!(*stage, Stage::Exited { .. });
        if first {
            *stage = Stage::Exited { code, at: Instant::now() };
            self.ended.notify_all();
        }
        first
    }
}

fn is_ending(pid: i32) -> bool {
    is_ending_by(&std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default())
}

/// By `/proc/[pid]/stat` (proc(5)): it is dead and not reaped, or on its way out, which closes its files first. Pure.
fn is_ending_by(stat: &str) -> bool {
    const PF_EXITING: u64 = 0x4;
    // Field 3 is the state, field 9 the flags.
    let Some((_, rest)) = stat.rsplit_once(')') else { return false };
    let mut fields = rest.split_ascii_whitespace();
    let dead = fields.next().is_some_and(|state| matches!(state, "Z" | "X"));
    dead || fields.nth(5).and_then(|flags| flags.parse::<u64>().ok()).is_some_and(|flags| flags & PF_EXITING != 0)
}

/// All execs by id.
#[derive(Debug, Default)]
pub(crate) struct Execs(Mutex<HashMap<String, Arc<Exec>>>);

impl Execs {
    fn find(&self, id: &str) -> Result<Arc<Exec>> {
        lock(&self.0).get(id).cloned().ok_or_else(|| Error::not_found(format!("No such exec instance: {id}")))
    }

    fn add(&self, exec: Arc<Exec>) -> Result<()> {
        let mut all = lock(&self.0);
        if all.len() >= MAX_EXECS / 2 {
            all.retain(|_, exec| !matches!(exec.stage(), Stage::Exited { at, .. } if at.elapsed() > REMEMBERED));
        }
        if all.len() >= MAX_EXECS {
            all.retain(|_, exec| !matches!(exec.stage(), Stage::Exited { .. } | Stage::Created));
        }
        if all.len() >= MAX_EXECS {
            return Err(Error::new(Kind::Unavailable, "too many exec instances"));
        }
        all.insert(exec.id.clone(), exec);
        Ok(())
    }

    /// Ids of a container's execs that have not ended.
    pub fn living(&self, container: &ContainerId) -> Vec<String> {
        let all = lock(&self.0);
        let mut ids: Vec<String> = all
            .values()
            .filter(|exec| exec.container == *container && !matches!(exec.stage(), Stage::Exited { .. }))
            .map(|exec| exec.id.clone())
            .collect();
        ids.sort();
        ids
    }

    /// Found again after a restart of the daemon.
    pub fn adopt(&self, container: &ContainerId, id: &str, pid: i32) {
        let exec = Exec {
            id: id.to_owned(),
            container: container.clone(),
            request: CreateRequest::default(),
            stage: Mutex::new(Stage::Running { pid }),
            ended: Condvar::new(),
            started: Slot::default(),
        };
        let _ = self.add(Arc::new(exec));
    }

    pub fn forget_container(&self, container: &ContainerId) {
        lock(&self.0).retain(|_, exec| exec.container != *container);
    }

    /// The shim's answer.
    pub fn started(&self, id: &str, pid: i32) {
        if let Ok(exec) = self.find(id) {
            let mut stage = lock(&exec.stage);
            if !matches!(*stage, Stage::Exited { .. }) {
                *stage = Stage::Running { pid };
            }
            drop(stage);
            exec.started.bring(Ok(()));
        }
    }

    /// The shim's answer.
    pub fn failed(&self, id: &str, message: String, code: i32) {
        if let Ok(exec) = self.find(id) {
            // Docker's code for it.
            let code = if super::start::is_of_user(&message) { 126 } else { code };
            exec.end(code);
            exec.started.bring(Err((message, code)));
        }
    }

    /// The shim's news.
    pub fn exited(&self, engine: &Engine, id: &str, code: i32) {
        if let Ok(exec) = self.find(id)
            && exec.end(code)
            && let Some(container) = engine.containers.get(&exec.container)
        {
            let details = [("execID", exec.id.clone()), ("exitCode", code.to_string())];
            publish(engine, &container.snapshot(), "exec_die", &details);
        }
    }

    /// With the container's first process all others end.
    pub fn shim_ended(&self, engine: &Engine, container: &ContainerId) {
        for id in self.living(container) {
            let Ok(exec) = self.find(&id) else { continue };
            match exec.stage() {
                Stage::Created => {}
                Stage::Starting => self.failed(&id, format!("container {container} is not running"), 128),
                _ => self.exited(engine, &id, 137),
            }
        }
    }
}

/// Remembers a process to be run.
pub fn exec_create(engine: &Engine, id: &str, request: &CreateRequest) -> Result<CreateResponse> {
    let container = engine.containers.find(id)?;
    if request.cmd.is_empty() {
        return Err(Error::invalid("No exec command specified"));
    }
    if request.cmd.iter().chain(request.env.iter()).any(|text| text.contains('\0')) {
        return Err(Error::invalid("invalid command or environment: it contains a NUL byte"));
    }
    check_running(&container)?;
    let exec = Arc::new(Exec {
        id: random_hex(32),
        container: container.id.clone(),
        request: request.clone(),
        stage: Mutex::new(Stage::Created),
        ended: Condvar::new(),
        started: Slot::default(),
    });
    engine.execs.add(Arc::clone(&exec))?;
    let action = format!("exec_create: {}", exec.command());
    publish(engine, &container.snapshot(), &action, &[("execID", exec.id.clone())]);
    Ok(CreateResponse { id: exec.id.clone() })
}

fn check_running(container: &Container) -> Result<()> {
    let id = &container.id;
    match container.snapshot().state.phase {
        Phase::Running => Ok(()),
        Phase::Paused => Err(Error::conflict(format!("Container {id} is paused, unpause the container before exec"))),
        Phase::Restarting => {
            Err(Error::conflict(format!("Container {id} is restarting, wait until the container is running")))
        }
        _ => Err(super::not_running(id)),
    }
}

/// Runs it. The stream is there unless `detach` is set.
pub fn exec_start(engine: &Engine, id: &str, options: &StartRequest) -> Result<Option<Stream>> {
    let exec = engine.execs.find(id)?;
    let container = engine
        .containers
        .get(&exec.container)
        .ok_or_else(|| Error::not_found(format!("No such exec instance: {id}")))?;
    check_running(&container)?;
    {
        let mut stage = lock(&exec.stage);
        match *stage {
            Stage::Created => *stage = Stage::Starting,
            Stage::Exited { .. } => {
                return Err(Error::conflict(format!("exec command {id} has already run")));
            }
            _ => return Err(Error::conflict(format!("exec command {id} is already running"))),
        }
    }
    let started = launch(engine, &container, &exec, options);
    if started.is_err() {
        exec.end(126);
    }
    started
}

fn launch(engine: &Engine, container: &Container, exec: &Arc<Exec>, options: &StartRequest) -> Result<Option<Stream>> {
    let run = container.running()?;
    let record = container.snapshot();
    let request = &exec.request;
    let attach = (!options.detach).then_some(AttachStreams {
        stdin: request.attach_stdin,
        stdout: request.attach_stdout,
        stderr: request.attach_stderr,
    });
    let document = document(engine, &record, exec, options, attach)?;
    let document = serde_json::to_vec(&document).map_err(|error| Error::system("write the exec document", error))?;
    let document =
        sys::memfd::with_bytes("exec", &document).map_err(|error| Error::system("make the exec document", error))?;
    let pair = sys::socket::stream_pair().map_err(|error| Error::system("make a stream", error))?;
    let (ours, theirs) = pair;
    let mut descriptors = vec![document.as_fd()];
    if attach.is_some() {
        descriptors.push(theirs.as_fd());
    }
    let action = format!("exec_start: {}", exec.command());
    publish(engine, &record, &action, &[("execID", exec.id.clone())]);
    run.send(&ToShim::Exec, &descriptors)?;
    match exec.started.wait(PATIENCE) {
        Some(Ok(())) => Ok(attach.map(|_| Stream { socket: ours, tty: request.tty })),
        Some(Err((message, _))) => {
            let (kind, text) = match super::start::is_of_user(&message) {
                true => (Kind::System, message),
                false => {
                    let words = "OCI runtime exec failed: exec failed: unable to start container process";
                    (Kind::InvalidParameter, format!("{words}: {message}"))
                }
            };
            if attach.is_none() {
                return Err(Error::new(kind, text));
            }
            // As with Docker, the attached client reads why; the exit code is in the exec's document.
            let line = format!("{text}\r\n");
            let mut socket = File::from(theirs);
            let head = frame(logs::Stream::Stdout, line.len());
            let framed = if request.tty { line.into_bytes() } else { [&head[..], line.as_bytes()].concat() };
            let _ = socket.write_all(&framed);
            Ok(Some(Stream { socket: ours, tty: request.tty }))
        }
        None => Err(Error::system("wait for the container's shim", std::io::Error::from(std::io::ErrorKind::TimedOut))),
    }
}

/// What the shim is told. The process gets what the container's first one has, where the request does not say.
fn document(
    engine: &Engine,
    record: &Record,
    exec: &Exec,
    options: &StartRequest,
    attach: Option<AttachStreams>,
) -> Result<shim_api::Exec> {
    let request = &exec.request;
    let planned = spec::plan(spec::Input {
        record,
        facts: &engine.host,
        directory: &engine.container_dir(&record.id),
        devices: Vec::new(),
        block_io: None,
        id_mappings: &Default::default(),
        link_environment: link::present(engine, record).into_iter().flat_map(|linked| linked.environment).collect(),
    })?;
    let base = planned.spec.process.unwrap_or_default();
    let size = options.console_size.or(request.console_size).filter(|size| *size != [0, 0]);
    let mut env = base.env;
    if request.tty && !record.config.tty {
        env.insert(2.min(env.len()), "TERM=xterm".to_owned());
    }
    let process = Process {
        terminal: request.tty,
        console_size: size.filter(|_| request.tty).map(|[height, width]| ConsoleSize { height, width }),
        cwd: if request.working_dir.is_empty() { base.cwd } else { api::bind::clean_path(&request.working_dir) },
        env: overlay_env(env, &request.env),
        args: request.cmd.to_vec(),
        capabilities: if request.privileged {
            Some(process_capabilities(&engine.host.capabilities.names()))
        } else {
            base.capabilities
        },
        ..base
    };
    let seccomp = if request.privileged { shim_api::Seccomp::Unconfined } else { planned.seccomp };
    let user = if request.user.is_empty() { &record.config.user } else { &request.user };
    Ok(shim_api::Exec {
        id: exec.id.clone(),
        process,
        user: Some(UserLookup { user: user.clone(), groups: record.host_config.group_add.to_vec() }),
        seccomp,
        seccomp_profile: if request.privileged { String::new() } else { planned.profile },
        attach,
        ..shim_api::Exec::default()
    })
}

/// `GET /exec/{id}/json`.
pub fn exec_inspect(engine: &Engine, id: &str) -> Result<Inspect> {
    let exec = engine.execs.find(id)?;
    if matches!(exec.stage(), Stage::Starting | Stage::Running { .. })
        && let Some(run) = living_run(engine, &exec)
    {
        // A client that has seen the end of the stream is told the exit code.
        drain(engine, &run);
        exec.await_news_of_dead();
    }
    let (running, exit_code, pid) = match exec.stage() {
        Stage::Created | Stage::Starting => (false, None, 0),
        Stage::Running { pid } => (true, None, pid),
        Stage::Exited { code, .. } => (false, Some(i64::from(code)), 0),
    };
    let request = &exec.request;
    let (entrypoint, arguments) = match request.cmd.split_first() {
        Some((first, rest)) => (first.clone(), rest.to_vec()),
        None => (String::new(), Vec::new()),
    };
    Ok(Inspect {
        id: exec.id.clone(),
        running,
        exit_code,
        process_config: ProcessConfig {
            tty: request.tty,
            entrypoint,
            arguments: arguments.into(),
            privileged: Some(request.privileged),
            user: request.user.clone(),
        },
        open_stdin: request.attach_stdin,
        open_stderr: request.attach_stderr,
        open_stdout: request.attach_stdout,
        can_remove: exit_code.is_some(),
        container_id: exec.container.as_str().to_owned(),
        detach_keys: request.detach_keys.clone(),
        pid: i64::from(pid),
    })
}

/// A client has typed the keys and is gone; the process goes on.
pub fn exec_detached(engine: &Engine, id: &str) {
    if let Ok(exec) = engine.execs.find(id)
        && let Some(container) = engine.containers.get(&exec.container)
    {
        publish(engine, &container.snapshot(), "exec_detach", &[("execID", exec.id.clone())]);
    }
}

fn living_run(engine: &Engine, exec: &Exec) -> Option<Arc<Run>> {
    engine.containers.get(&exec.container)?.run()
}

/// The size of its terminal.
pub fn exec_resize(engine: &Engine, id: &str, height: u16, width: u16) -> Result<()> {
    let exec = engine.execs.find(id)?;
    if matches!(exec.stage(), Stage::Created | Stage::Exited { .. }) {
        return Err(Error::conflict(format!("exec {id} is not running")));
    }
    let run = living_run(engine, &exec).ok_or_else(|| super::not_running(&exec.container))?;
    run.request(|request| ToShim::Resize { request, process: ProcessRef::Exec(exec.id.clone()), height, width })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_the_way_out() {
        for (stat, expected) in [
            ("7 (sh) S 1 7 7 0 -1 4194560 100 0", false),
            ("7 (sh) Z 1 7 7 0 -1 4194560 100 0", true),
            // Its files are closed, and it is no zombie yet.
            ("7 (a) Z) R 1 7 7 0 -1 4194564 100 0", true),
            ("7 (a) Z) R 1 7 7 0 -1 4194560 100 0", false),
            ("", false),
            ("7 (sh) S 1", false),
        ] {
            assert_eq!(is_ending_by(stat), expected, "{stat}");
        }
    }
}
