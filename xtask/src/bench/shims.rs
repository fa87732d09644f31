//! Memory of what stands beside a running container: our shims, driven over their sockets as hoistd drives them, and
//! podman's conmon around the same program with the same kind of log.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use oci::runtime::Spec;
use shim_api::{FromShim, Launch, Log, ProcessRef, Role, ToShim, ToSpawner};
use testkit::{process, programs, wait};

use super::table::Table;
use crate::steps::step;

/// So many of each: what they share counts in parts.
const COUNT: usize = 10;

const ROW: &str = "PSS beside a container: shim (crun: conmon)";

/// `base` has the bundle of the other rows.
pub fn measure(base: &Path, runtime: &Path, table: &mut Table) -> Result<()> {
    let bundle = base.join("bundle");
    let path = bundle.join("config.json");
    let mut spec: Spec = serde_json::from_slice(&fs::read(&path)?)?;
    fs::copy(programs::find("busybox").context("no busybox")?, bundle.join("rootfs/bin/busybox"))?;
    let process = spec.process.as_mut().context("no process")?;
    process.args = ["/bin/busybox", "sleep", "1000"].map(str::to_owned).to_vec();
    fs::write(&path, serde_json::to_vec(&spec)?)?;
    spec.root.get_or_insert_default().path = bundle.join("rootfs").to_string_lossy().into_owned();
    spec.linux.cgroups_path.clear();
    for kib in step(&format!("{COUNT} shims"), || shims(base, runtime, &spec))? {
        table.add(ROW, "hoist", "KiB", kib as f64);
    }
    let Some(conmon) = programs::find("conmon") else {
        println!("    conmon is not installed");
        return Ok(());
    };
    for kib in step(&format!("{COUNT} times conmon"), || conmons(base, &conmon, runtime, &bundle))? {
        table.add(ROW, "crun", "KiB", kib as f64);
    }
    Ok(())
}

fn sizes(pids: &[u32]) -> Result<Vec<u64>> {
    pids.iter().map(|pid| process::pss_kib(*pid).with_context(|| format!("process {pid} is gone"))).collect()
}

/// One of our shims and its container.
struct Shim {
    control: OwnedFd,
    pid: u32,
}

impl Shim {
    fn hear(&self) -> Result<FromShim> {
        let mut buffer = vec![0; shim_api::MAX_MESSAGE];
        loop {
            let length = sys::socket::receive(&self.control, &mut buffer)?.0;
            if length == 0 {
                bail!("the shim has ended");
            }
            match serde_json::from_slice(&buffer[..length])? {
                FromShim::LogFinished | FromShim::LogLost { .. } => {}
                FromShim::Failed { message, .. } => bail!("{message}"),
                other => return Ok(other),
            }
        }
    }

    fn tell(&self, message: &ToShim) -> Result<()> {
        Ok(sys::socket::send(&self.control, &serde_json::to_vec(message)?, &[])?)
    }
}

fn shims(base: &Path, runtime: &Path, spec: &Spec) -> Result<Vec<u64>> {
    let parent = format!("/hoist-bench-shims-{}", std::process::id());
    let (socket, theirs) = sys::socket::seqpacket_pair()?;
    let program = sys::memfd::sealed_copy(runtime)?;
    let mut spawner = sys::process::start_sealed(&program, &["hoist-runtime", "spawner"], theirs)?;
    let hello =
        ToSpawner::Hello { version: shim_api::VERSION, cgroup_parent: parent.clone(), parked: 0, devices: Vec::new() };
    sys::socket::send(&socket, &serde_json::to_vec(&hello)?, &[])?;
    sys::socket::receive(&socket, &mut [0; 256])?;
    let mut started = Vec::new();
    let made = (0..COUNT).try_for_each(|n| start(base, &socket, spec, n).map(|shim| started.push(shim)));
    let pids: Vec<u32> = started.iter().map(|shim| shim.pid).collect();
    let found = made.and_then(|()| sizes(&pids));
    for shim in &started {
        shim.tell(&ToShim::Signal { request: 1, process: ProcessRef::Init, signal: 9, all: false })?;
        while !matches!(shim.hear()?, FromShim::Exited { .. }) {}
    }
    drop(socket);
    spawner.wait()?;
    let hierarchies = cgroup::Hierarchies::detect()?;
    let group = hierarchies.open(&parent)?;
    group.remove_within(Duration::from_secs(5))?;
    found
}

fn start(base: &Path, socket: &OwnedFd, spec: &Spec, n: usize) -> Result<Shim> {
    let id = format!("shim{n}");
    let directory = base.join(&id);
    fs::create_dir_all(&directory)?;
    let directory = OwnedFd::from(File::open(directory)?);
    let launch = Launch {
        version: shim_api::VERSION,
        id: id.clone(),
        cgroup: id,
        spec: spec.clone(),
        descriptors: vec![Role::ExecDir, Role::LogDir],
        log: Some(Log::JsonFile {
            max_size: 1 << 20,
            max_files: 2,
            max_age: 0,
            attrs: String::new(),
            forwarded: false,
            blocking: true,
        }),
        ..Launch::default()
    };
    let document = sys::memfd::with_bytes("launch", &serde_json::to_vec(&launch)?)?;
    let (control, theirs) = sys::socket::seqpacket_pair()?;
    let descriptors = [theirs.as_fd(), document.as_fd(), directory.as_fd(), directory.as_fd()];
    sys::socket::send(socket, &serde_json::to_vec(&ToSpawner::Create)?, &descriptors)?;
    drop(theirs);
    let mut shim = Shim { control, pid: 0 };
    shim.tell(&ToShim::Start)?;
    match shim.hear()? {
        FromShim::Started { state } => shim.pid = state.shim_pid as u32,
        other => bail!("not started: {other:?}"),
    }
    Ok(shim)
}

fn conmons(base: &Path, conmon: &Path, runtime: &Path, bundle: &Path) -> Result<Vec<u64>> {
    let state = base.join("state");
    let command = |words: &[&str], id: &str| -> Result<()> {
        let mut command = Command::new(runtime);
        command.arg("--root").arg(&state).args(words).arg(id).stdin(Stdio::null());
        let output = command.output()?;
        if !output.status.success() {
            bail!("{words:?} {id}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    };
    let mut pids = Vec::new();
    let mut ids = Vec::new();
    let mut one = |n: usize| -> Result<()> {
        let id = format!("conmon{n}-{}", std::process::id());
        let pid_file = base.join(format!("{id}.pid"));
        let mut beside = Command::new(conmon);
        beside.args(["--api-version", "1", "-c", &id, "-u", &id, "-n", &id, "-r"]).arg(runtime);
        beside.arg("--runtime-arg").arg(format!("--root={}", state.display()));
        beside.arg("-b").arg(bundle).arg("-p").arg(base.join(format!("{id}.init")));
        beside.arg("--conmon-pidfile").arg(&pid_file).arg("--exit-dir").arg(base);
        beside.arg("--socket-dir-path").arg(base).arg("-l").arg(format!("k8s-file:{}", base.join("log").display()));
        let made = beside.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        if !made.success() {
            bail!("conmon: {made}");
        }
        ids.push(id.clone());
        wait::until_true("conmon to have made the container", Duration::from_secs(10), || {
            Ok(command(&["state"], &id).is_ok())
        })?;
        pids.push(fs::read_to_string(&pid_file)?.trim().parse()?);
        command(&["start"], &id)
    };
    let made = (0..COUNT).try_for_each(&mut one);
    let found = made.and_then(|()| sizes(&pids));
    for id in &ids {
        command(&["delete", "--force"], id)?;
    }
    wait::until_true("conmon to end", Duration::from_secs(10), || Ok(!pids.iter().any(|pid| process::is_alive(*pid))))?;
    found
}
