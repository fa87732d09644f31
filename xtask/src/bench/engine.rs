//! The engines in the race, each with a store of its own.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, kill_process};
use serde_json::json;
use testkit::client::Kind;
use testkit::daemon::{Daemon, Options};
use testkit::registry::Registry;
use testkit::{http, process, programs, wait, words};

use super::machine::Scratch;

/// Names of columns: Docker's daemon, and the same without its userland proxy.
pub const DOCKERD: &str = "dockerd";
pub const DOCKERD_DIRECT: &str = "no-proxy";

/// Longest that one operation may take.
const LIMIT: Duration = Duration::from_secs(300);

pub struct Engine {
    pub name: String,
    /// Reference of the small image, already pulled.
    pub image: String,
    pub pull_flags: &'static str,
    /// Of the Docker API, if it has one.
    pub socket: Option<PathBuf>,
    /// Every process of the engine names it, or descends from one that does.
    pub root: PathBuf,
    program: PathBuf,
    arguments: Vec<String>,
    env: Vec<(String, String)>,
    service: Service,
}

enum Service {
    Hoist(Box<Daemon>),
    Dockerd(Child),
    None,
}

/// Starts those that are installed, hoist first.
pub fn start_all(scratch: &Scratch, registry: &Registry) -> Result<Vec<Engine>> {
    let mut engines = vec![hoist()?];
    match programs::find("dockerd") {
        Some(_) => engines.push(dockerd(&scratch.path, DOCKERD, "{}")?),
        None => println!("    dockerd is not installed (--install gets Debian's)"),
    }
    match programs::find("podman") {
        Some(program) => engines.push(podman(scratch, program)?),
        None => println!("    podman is not installed (--install gets Debian's)"),
    }
    for engine in &mut engines {
        engine.image = super::small_image(registry);
        engine.time(&format!("pull -q {} {}", engine.pull_flags, engine.image))?;
    }
    Ok(engines)
}

fn hoist() -> Result<Engine> {
    let daemon = Daemon::start(Options { background: true, ..Options::default() })?;
    let client = daemon.client(Kind::Hoist)?;
    Ok(Engine {
        name: "hoist".into(),
        image: String::new(),
        pull_flags: "",
        socket: Some(daemon.socket()),
        root: daemon.root().to_path_buf(),
        program: client.program().to_path_buf(),
        arguments: Vec::new(),
        env: vec![("DOCKER_HOST".into(), daemon.host())],
        service: Service::Hoist(Box::new(daemon)),
    })
}

/// One whose published ports are the kernel's affair alone, with the small image. No other dockerd may run: they have one
/// set of rules.
pub fn dockerd_without_proxy(scratch: &Path, registry: &Registry) -> Result<Engine> {
    let mut engine = dockerd(scratch, DOCKERD_DIRECT, r#"{"userland-proxy": false}"#)?;
    engine.image = super::small_image(registry);
    engine.time(&format!("pull -q {}", engine.image))?;
    Ok(engine)
}

/// dockerd without systemd: own directories and socket, its own containerd.
fn dockerd(scratch: &Path, name: &str, settings: &str) -> Result<Engine> {
    let root = scratch.join(name);
    fs::create_dir_all(&root)?;
    let socket = root.join("docker.sock");
    fs::write(root.join("daemon.json"), settings)?;
    let log = fs::File::create(root.join("log"))?;
    let mut command = Command::new(programs::need("dockerd", "docker.io")?);
    command.arg("-H").arg(format!("unix://{}", socket.display()));
    for (flag, file) in
        [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid"), ("--config-file", "daemon.json")]
    {
        command.arg(flag).arg(root.join(file));
    }
    command.args(["--storage-driver", "overlay2"]).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut child = command.spawn().context("cannot start dockerd")?;
    wait::until("dockerd to answer", Duration::from_secs(60), || {
        if child.try_wait()?.is_some() {
            let log = fs::read_to_string(root.join("log"))?;
            return Ok(Some(Err(anyhow::anyhow!("dockerd ended: {}", log.lines().last().unwrap_or("")))));
        }
        Ok((http::api(&socket, "GET", "/_ping", None)?.status == 200).then_some(Ok(())))
    })??;
    Ok(Engine {
        name: name.into(),
        image: String::new(),
        pull_flags: "",
        socket: Some(socket.clone()),
        program: programs::need("docker", "docker.io")?,
        arguments: Vec::new(),
        env: vec![("DOCKER_HOST".into(), format!("unix://{}", socket.display()))],
        root,
        service: Service::Dockerd(child),
    })
}

/// Podman without systemd: cgroupfs, events and logs in files, a file limit that works without CAP_SYS_RESOURCE.
fn podman(scratch: &Scratch, program: PathBuf) -> Result<Engine> {
    let root = scratch.path.join("podman");
    fs::create_dir_all(&root)?;
    let runtime = if programs::find("crun").is_some() { "crun" } else { "runc" };
    let config = root.join("containers.conf");
    fs::write(
        &config,
        format!(
            "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"{runtime}\"\n\
             [containers]\nlog_driver = \"k8s-file\"\ndefault_ulimits = [\"nofile=20000:20000\",\"nproc=16384:16384\"]\n\
             [network]\nnetwork_backend = \"netavark\"\n"
        ),
    )?;
    let path = |name: &str| root.join(name).display().to_string();
    let arguments = ["--root", &path("store"), "--runroot", &path("run"), "--storage-driver", "overlay"];
    Ok(Engine {
        name: "podman".into(),
        image: String::new(),
        pull_flags: "--tls-verify=false",
        socket: None,
        program,
        arguments: arguments.map(str::to_string).to_vec(),
        env: vec![("CONTAINERS_CONF".into(), config.display().to_string())],
        root: root.clone(),
        service: Service::None,
    })
}

impl Engine {
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).args(words::split(line));
        command.env_remove("HOIST_HOST").env_remove("DOCKER_CONTEXT").env("DOCKER_CLI_HINTS", "false");
        command.env("HOME", &self.root).envs(self.env.iter().map(|(key, value)| (key, value)));
        command
    }

    /// Ours.
    pub fn daemon(&mut self) -> Option<&mut Daemon> {
        match &mut self.service {
            Service::Hoist(daemon) => Some(daemon),
            _ => None,
        }
    }

    /// Runs the client; milliseconds from its start to its end.
    pub fn time(&self, line: &str) -> Result<f64> {
        let mut command = self.command(line);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let begun = Instant::now();
        let mut child = command.spawn().with_context(|| format!("{}: cannot start its client", self.name))?;
        let mut complaint = String::new();
        if let Some(mut pipe) = child.stderr.take() {
            std::io::Read::read_to_string(&mut pipe, &mut complaint)?;
        }
        let status = process::wait_child(&mut child, LIMIT)?.with_context(|| format!("{}: {line} hangs", self.name))?;
        let took = begun.elapsed();
        if !status.success() {
            bail!("{}: {line}: {status}: {}", self.name, complaint.trim());
        }
        Ok(took.as_secs_f64() * 1000.0)
    }

    pub fn output(&self, line: &str) -> Result<String> {
        process::run(&mut self.command(line), LIMIT)?.ok()
    }

    /// `rm -f`. Podman waits ten seconds for a process 1 that ignores SIGTERM, Docker kills at once.
    pub fn remove(&self, names: &str) -> Result<f64> {
        let patience = if self.name == "podman" { "-t 0 " } else { "" };
        self.time(&format!("rm -f {patience}{names}"))
    }

    pub fn describe(&self) -> String {
        self.output("--version").unwrap_or_else(|error| format!("{error:#}"))
    }

    /// Processes of the engine itself, without those inside of containers.
    pub fn processes(&self) -> Vec<u32> {
        let mut pids = process::of_root(&self.root);
        pids.retain(|pid| !is_payload(*pid));
        pids
    }

    pub fn stop(&mut self) -> Result<()> {
        let left = self.output("ps -aq").unwrap_or_default().replace('\n', " ");
        if !left.trim().is_empty() {
            self.remove(&left)?;
        }
        match std::mem::replace(&mut self.service, Service::None) {
            Service::Hoist(mut daemon) => {
                let left = daemon.clean()?;
                if !left.is_empty() {
                    println!("    hoist left: {}", left.join(", "));
                }
            }
            Service::Dockerd(mut child) => {
                kill_process(process::pid_of(child.id())?, Signal::TERM)?;
                if process::wait_child(&mut child, Duration::from_secs(30))?.is_none() {
                    child.kill()?;
                    child.wait()?;
                }
            }
            Service::None => {}
        }
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Service::Dockerd(child) = &mut self.service {
            let _ = kill_process(rustix::process::Pid::from_child(child), Signal::TERM);
            let _ = child.wait();
        }
    }
}

/// What an engine and its clients have computed: the processes of the engine with those of their children that have ended, and
/// the clients that have ended.
pub struct Computed {
    engine: HashMap<u32, f64>,
    clients: f64,
}

impl Computed {
    pub fn until_now(engine: &Engine) -> Computed {
        let of = |pid| process::cpu_seconds(pid).map(|(own, children)| (pid, own + children));
        Computed {
            engine: process::of_root(&engine.root).into_iter().filter_map(of).collect(),
            clients: process::cpu_seconds(std::process::id()).map_or(0.0, |(_, children)| children),
        }
    }

    /// Seconds of the processor since then.
    pub fn since(&self, engine: &Engine) -> f64 {
        let now = Computed::until_now(engine);
        let before = |pid: &u32| self.engine.get(pid).unwrap_or(&0.0);
        let engine: f64 = now.engine.iter().map(|(pid, seconds)| seconds - before(pid)).sum();
        engine + now.clients - self.clients
    }
}

/// What runs in the bench's containers.
fn is_payload(pid: u32) -> bool {
    let line = process::command_line(pid);
    line.starts_with("sleep ") || line.starts_with("sh -c trap")
}

/// Mounts that a peer leaves below `dir` (podman's and dockerd's stores), deepest first.
pub fn mounts_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    let points = text.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let mut points: Vec<PathBuf> = points.filter(|point| point.starts_with(dir)).collect();
    points.reverse();
    Ok(points)
}

/// The body of `POST /containers/create`.
pub fn create_body(image: &str, network: &str) -> serde_json::Value {
    json!({"Image": image, "Cmd": ["true"], "HostConfig": {"NetworkMode": network}})
}
