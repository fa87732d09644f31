//! A process on a stack of layers that is nobody's container: a step of a build.
//!
//! ```text
//!  Step (layers, configuration, mounts) ── run ──▶ output, as it comes ──▶ Ran (status, what it wrote)
//!                                                                            └─ dropped: its directories go
//! ```
//! It goes the way of a container's start (plan, namespace, spawner, shim) and is in no list and no record: after a crash
//! of the daemon the sweep for containers that no record knows takes its directories, and the shim, which never hears
//! another hoistd, is killed with its group.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use api::container::{Config, HostConfig, NetworkMode};
use oci::Digest;
use shim_api::{AttachStreams, FromShim, Launch, ProcessRef, Role, ToShim, UserLookup};

use super::attachment::Attachment;
use super::mounts::{Kind as MountKind, Mount};
use super::networking::{self, Namespace};
use super::{Record, directory, exit, resolver, spec};
use crate::id::ContainerId;
use crate::image::Cancel;
use crate::shim::Run;
use crate::{Engine, Error, Kind, Result};

/// Between two looks at the flag that ends a step.
const TICK: Duration = Duration::from_millis(100);

/// Mounting and cloning take milliseconds; a disk that sleeps takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// The largest piece of output that is passed on at once.
const PIECE: usize = 64 * 1024;

/// What a step is.
#[derive(Debug, Default)]
pub struct Step {
    /// Diff ids of the file system, base first.
    pub layers: Vec<Digest>,
    /// `cmd` is the command; environment, user, working directory count.
    pub config: Config,
    /// Network mode, limits, extra hosts, privileges.
    pub host: HostConfig,
    /// What is mounted.
    pub mounts: Vec<StepMount>,
    /// Nodes that are in `host.devices` too, with owners and modes of their own.
    pub nodes: Vec<crate::cdi::Node>,
}

/// Something mounted in a step.
#[derive(Debug, Clone)]
pub struct StepMount {
    /// A path of the host; `None` for a tmpfs.
    pub source: Option<PathBuf>,
    /// Absolute.
    pub destination: String,
    /// Writes are refused.
    pub read_only: bool,
    /// Options of a tmpfs: `size=…`, `mode=…`.
    pub options: Vec<String>,
}

/// A stream of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a step ended, and what it has written.
#[derive(Debug)]
pub struct Ran<'a> {
    /// 128 + n after signal n.
    pub code: i32,
    /// It was killed for want of memory.
    pub oom_killed: bool,
    place: Place<'a>,
}

impl Ran<'_> {
    /// The overlay's upper directory.
    pub fn written(&self) -> Result<OwnedFd> {
        let overlay = self.place.engine.container_dir(&self.place.id).join(directory::WRITABLE);
        directory::open(&overlay.join("upper"))
    }
}

/// A step's directories and endpoint; dropping it gives them back.
#[derive(Debug)]
struct Place<'a> {
    engine: &'a Engine,
    id: ContainerId,
    endpoints: Vec<network::EndpointRecord>,
    /// It asks our resolver.
    resolving: Option<Box<Record>>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(record) = &self.resolving {
            resolver::forget(self.engine, record);
        }
        self.endpoints.iter().for_each(|endpoint| networking::detach(self.engine, endpoint));
        directory::remove_exec(self.engine, &self.id);
        if let Err(error) = directory::remove(self.engine, &self.id) {
            tracing::warn!(step = self.id.short(), %error, "a step's directory is still there");
        }
    }
}

/// Runs a step to its end. `output` gets what it says; `cancel` kills it.
///
/// # Errors
/// Those of a container that cannot be started. A status other than 0 is none.
pub fn run<'a>(
    engine: &'a Engine,
    step: Step,
    cancel: &Cancel,
    output: &mut dyn FnMut(Output, &[u8]),
) -> Result<Ran<'a>> {
    let nodes = step.nodes.clone();
    let mut record = record(step);
    let mut devices = super::start::devices(&record)?;
    for device in &mut devices {
        if let Some(node) = nodes.iter().find(|node| node.path == device.path) {
            device.file_mode = node.file_mode.or(device.file_mode);
            (device.uid, device.gid) = (node.uid.or(device.uid), node.gid.or(device.gid));
        }
    }
    let planned = spec::plan(spec::Input {
        record: &record,
        facts: &engine.host,
        directory: &engine.container_dir(&record.id),
        devices,
        block_io: None,
        id_mappings: &Default::default(),
        link_environment: Vec::new(),
    })?;
    let layers = super::start::layers(engine, &record)?;

    let mut place = Place { engine, id: record.id.clone(), endpoints: Vec::new(), resolving: None };
    directory::make(engine, &record.id, None)?;
    let exec_dir = directory::make_exec(engine, &record.id)?;
    let namespace = networking::namespace(engine, &record)?;
    networking::write_files(engine, &record)?;
    let writable = directory::open(&engine.container_dir(&record.id).join(directory::WRITABLE))?;
    if let (true, Namespace::Own(sandbox)) = (networking::wants_endpoint(&record), &namespace) {
        for one in networking::plan(engine, &record)? {
            let Some(config) = one.config else { continue };
            let endpoint = engine.networks.attach(sandbox, &config);
            let endpoint = endpoint.map_err(|error| Error::system("set up the network of a build step", error))?;
            place.endpoints.push(endpoint.record.clone());
            let attachment = &mut record.networks[one.at];
            (attachment.network_id, attachment.endpoint) = (one.network.id, Some(endpoint.record));
        }
        if resolver::is_wanted(&record) {
            place.resolving = Some(Box::new(record.clone()));
            resolver::serve_step(engine, &record, sandbox.descriptor())?;
        }
        networking::write_hosts(engine, &record, &place.endpoints.iter().collect::<Vec<_>>(), &[])?;
    }
    let mut given: Vec<(Role, BorrowedFd<'_>)> = vec![(Role::ExecDir, exec_dir.as_fd())];
    given.extend(layers.iter().map(|layer| (Role::Layer, layer.as_fd())));
    given.push((Role::Writable, writable.as_fd()));
    given.extend(namespace.descriptor().map(|descriptor| (Role::NetNs, descriptor)));

    let failed = |error: std::io::Error| Error::system("make a socket", error);
    let (control, theirs) = sys::socket::seqpacket_pair().map_err(failed)?;
    let link = engine.shims.link(record.id.clone(), control)?;
    let launch = launch(&record, planned, given.iter().map(|(role, _)| *role).collect());
    let descriptors: Vec<BorrowedFd<'_>> = given.into_iter().map(|(_, descriptor)| descriptor).collect();
    engine.shims.spawner.create(&engine.shims, &launch, theirs.as_fd(), &descriptors)?;
    drop(theirs);

    let (streams, clients) = sys::socket::stream_pair().map_err(failed)?;
    let all = AttachStreams { stdin: false, stdout: true, stderr: true };
    link.send(
        &ToShim::Attach { process: ProcessRef::Init, stdin: all.stdin, stdout: all.stdout, stderr: all.stderr },
        &[clients.as_fd()],
    )?;
    drop(clients);
    link.send(&ToShim::Start, &[])?;

    let ended = hear(&link).and_then(|()| listen(&link, streams, cancel, output));
    let exit = ended.inspect_err(|_| exit::kill_leftovers(engine, &record))?;
    let _ = link.send(&ToShim::Forget, &[]);
    Ok(Ran { code: exit.code, oom_killed: exit.oom_killed, place })
}

/// Waits until it runs.
fn hear(link: &Run) -> Result<()> {
    let mut buffer = vec![0; shim_api::MAX_MESSAGE];
    loop {
        match link.receive(&mut buffer, PATIENCE)? {
            Some(FromShim::Started { .. }) => return Ok(()),
            Some(FromShim::Failed { message, .. }) => return Err(Error::new(Kind::InvalidParameter, message)),
            Some(_) => {}
            None => return Err(lost()),
        }
    }
}

/// Passes its output on until the streams end, then waits for its status.
fn listen(
    link: &Run,
    streams: OwnedFd,
    cancel: &Cancel,
    output: &mut dyn FnMut(Output, &[u8]),
) -> Result<shim_api::Exit> {
    let (sender, pieces) = mpsc::sync_channel(16);
    std::thread::scope(|scope| {
        scope.spawn(move || read_frames(streams, &sender));
        let mut killed = false;
        loop {
            match pieces.recv_timeout(TICK) {
                Ok((stream, bytes)) => output(stream, &bytes),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            if cancel.is_cancelled() && !killed {
                killed = true;
                let signal = sys::signal::SIGKILL;
                link.send(&ToShim::Signal { request: 1, process: ProcessRef::Init, signal, all: true }, &[])?;
            }
        }
        let mut buffer = vec![0; shim_api::MAX_MESSAGE];
        loop {
            match link.receive(&mut buffer, PATIENCE)? {
                Some(FromShim::Exited { exit }) => return Ok(exit),
                Some(_) => {}
                None => return Err(lost()),
            }
        }
    })
}

fn lost() -> Error {
    Error::new(Kind::System, "the step's shim ended unexpectedly")
}

/// Takes Docker's frames apart: stream, three zeros, big-endian length, payload.
fn read_frames(streams: OwnedFd, sender: &mpsc::SyncSender<(Output, Vec<u8>)>) {
    let mut streams = std::io::BufReader::with_capacity(PIECE, std::fs::File::from(streams));
    let mut header = [0u8; 8];
    while streams.read_exact(&mut header).is_ok() {
        let stream = if header[0] == 2 { Output::Stderr } else { Output::Stdout };
        let mut left = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        while left > 0 {
            let mut piece = vec![0; left.min(PIECE)];
            if streams.read_exact(&mut piece).is_err() {
                return;
            }
            left -= piece.len();
            if sender.send((stream, piece)).is_err() {
                return;
            }
        }
    }
}

/// What a container with this configuration would be recorded as.
fn record(step: Step) -> Record {
    let mounts = step.mounts.into_iter().map(|mount| {
        let kind = if mount.source.is_some() { MountKind::Bind } else { MountKind::Tmpfs };
        let mut made = Mount::new(kind, &mount.destination);
        made.source = mount.source.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        made.read_only = mount.read_only;
        made.options = mount.options;
        made
    });
    let networks = match NetworkMode::parse(&step.host.network_mode) {
        NetworkMode::Bridge => vec![Attachment::new("bridge", Default::default())],
        NetworkMode::Named(name) => vec![Attachment::new(&name, Default::default())],
        NetworkMode::Host | NetworkMode::None | NetworkMode::Container(_) => Vec::new(),
    };
    Record {
        id: ContainerId::random(),
        name: String::new(),
        created: 0,
        image: Digest::of(b""),
        layers: step.layers,
        os: "linux".to_owned(),
        config: step.config,
        host_config: step.host,
        networks,
        links: Vec::new(),
        mounts: mounts.collect(),
        userns: None,
        state: Default::default(),
        held_ports: Vec::new(),
        kept_ports: Vec::new(),
    }
}

fn launch(record: &Record, planned: spec::Planned, descriptors: Vec<Role>) -> Launch {
    let parent = record.host_config.cgroup_parent.trim_matches('/');
    Launch {
        version: shim_api::VERSION,
        id: record.id.as_str().to_owned(),
        descriptors,
        spec: planned.spec,
        seccomp: planned.seccomp,
        seccomp_profile: planned.profile,
        user: Some(UserLookup { user: record.config.user.clone(), groups: Vec::new() }),
        cgroup: if parent.is_empty() { record.id.as_str().to_owned() } else { format!("/{parent}/{}", record.id) },
        ..Launch::default()
    }
}
