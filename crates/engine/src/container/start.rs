//! `POST /containers/{id}/start`: the way from a record to a running process.
//!
//! ```text
//!  look   phase · layers · devices · plan                        nothing has changed
//!  ask    exec directory, namespace, ToSpawner::Create ──▶ shim mounts, clones …
//!  beside it: endpoint, /etc/hosts, one transaction
//!  commit ToShim::Start ──▶ exec ──▶ Started                     then the event
//! ```
//! Whatever fails before `Started` is taken back: closing the control socket makes the shim undo its part.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::container::{HostConfig, ThrottleDevice, WeightDevice};
use oci::runtime::{BlockIo, Device, ThrottleDevice as Throttle, WeightDevice as Weight};
use shim_api::{FromShim, Launch, Log, Role, State as ShimState, ToShim, UserLookup};

use super::attachment::Attachment;
use super::mounts::Kind as MountKind;
use super::networking::{self, Namespace};
use super::state::Change;
use super::{
    Container, Phase, Record, attach, check, connect, directory, health, idmap, joined, link, lock, logging, persist,
    propagation, publish, remove, resolver, runtime, sources, spec, targets,
};
use crate::host;
use crate::shim::Run;
use crate::system::Action;
use crate::{Config, Engine, Error, Kind, Result};

/// Mounting and cloning take milliseconds; a disk that sleeps takes seconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A shim that failed, or whose container ended, releases what it holds within milliseconds.
pub(super) const RELEASE: Duration = Duration::from_secs(2);

/// How long the shim of the run before may take to end.
const PREVIOUS: Duration = Duration::from_secs(5);

/// Starts a container.
pub fn start(engine: &Engine, id: &str) -> Result<()> {
    let begun = Instant::now();
    let container = engine.containers.find(id)?;
    let _operation = container.operate();
    container.update(|record| (record.state.restart_count, record.state.short_runs) = (0, 0));
    start_operating(engine, &container)?;
    engine.tally.took(Action::Start, begun.elapsed());
    Ok(())
}

/// [`start`] by someone who holds the operation lock.
pub(super) fn start_operating(engine: &Engine, container: &Arc<Container>) -> Result<()> {
    container.settled();
    let record = match container.apply(Change::Start) {
        Ok(record) => record,
        Err(refused) => {
            return Err(match refused.phase {
                Phase::Paused => Error::conflict("cannot start a paused container, try unpause instead"),
                Phase::Removing | Phase::Dead => {
                    Error::conflict("container is marked for removal and cannot be started")
                }
                _ => Error::not_modified(),
            });
        }
    };
    let outcome = match Start::run(engine, container, &record) {
        // The next request starts another spawner.
        Err(failure) if failure.lost => Start::run(engine, container, &record),
        outcome => outcome,
    };
    match outcome {
        Ok(()) => Ok(()),
        Err(failure) => {
            let text = failure.error.full_text();
            let failed = Change::StartFailed { code: failure.exit_code, error: text };
            let record = container.apply(failed).unwrap_or_else(|_| container.snapshot());
            attach::dismiss(container);
            release_volumes(engine, &record);
            publish(
                engine,
                &record,
                "die",
                &[("exitCode", failure.exit_code.to_string()), ("execDuration", "0".to_owned())],
            );
            if record.auto_remove() {
                remove::remove_ended(engine, container, true);
            } else {
                persist::save_later(engine, container);
            }
            Err(failure.error)
        }
    }
}

/// Why a start failed, with the exit code that the container gets for it.
struct Failure {
    error: Error,
    exit_code: i32,
    /// Nobody has carried the request out: the spawner died with it.
    lost: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { error, exit_code: 128, lost: false }
    }
}

/// What a start has taken so far; dropping it gives it back.
struct Start<'a> {
    engine: &'a Engine,
    container: &'a Arc<Container>,
    /// What became of the record's attachments.
    attachments: Vec<Attachment>,
    /// Under which names the keeper holds the ports that the shim does not.
    kept: Vec<String>,
    exec_dir: bool,
    committed: bool,
}

impl Drop for Start<'_> {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        *lock(&self.container.run) = None;
        let record = self.container.snapshot();
        resolver::forget(self.engine, &record);
        for attachment in self.attachments.iter().filter(|attachment| !attachment.endpoint_id.is_empty()) {
            if let Some(endpoint) = &attachment.endpoint {
                networking::detach(self.engine, endpoint);
            }
            networking::publish(self.engine, "disconnect", &record, attachment);
        }
        connect::release_kept(self.engine, &self.kept);
        if !self.attachments.is_empty() {
            self.container.update(|record| {
                for attachment in &mut record.networks {
                    attachment.endpoint_id.clear();
                    attachment.endpoint = None;
                }
                record.held_ports.clear();
                record.kept_ports.clear();
            });
        }
        if self.exec_dir {
            directory::remove_exec(self.engine, &self.container.id);
        }
    }
}

impl Start<'_> {
    fn run(engine: &Engine, container: &Arc<Container>, record: &Arc<Record>) -> Result<(), Failure> {
        // Look.
        directory::ensure_writable(engine, &record.id)?;
        if let Some(size) = check::storage_size(&record.host_config)? {
            directory::check_limit(engine, &record.id, size)?;
        }
        prepare_sources(engine, record)?;
        let sources = sources::open(engine, record)?;
        let id_mappings = idmap::resolve(engine, record)?;
        let layers = layers(engine, record)?;
        let targets = targets::layer(engine, record, &layers);
        let devices = devices(record)?;
        let links = if networking::wants_endpoint(record) { link::resolve(engine, record)? } else { Vec::new() };
        let planned = spec::plan(spec::Input {
            record,
            facts: &engine.host,
            directory: &engine.container_dir(&networking::owner(engine, record)),
            devices,
            block_io: block_io(&record.host_config)?,
            id_mappings: &id_mappings,
            link_environment: links.iter().flat_map(|linked| linked.environment.clone()).collect(),
        })?;
        runtime::check(&engine.config, &record.host_config)?;
        if runtime::is_foreign(engine, record) && (record.userns.is_some() || !sources.is_empty()) {
            let text = format!(
                "the runtime {} cannot make user namespaces on id-mapped layers, nor mount a part of a volume or an image",
                record.host_config.runtime
            );
            return Err(Error::new(Kind::NotImplemented, text).into());
        }
        let log = logging::plan(&record.host_config.log_config)?;
        logging::check(record)?;
        let attributes = logging::resolve(record, &log.attributes)?.json(log.sent.is_none())?;
        let networks = networking::plan(engine, record)?;
        if let Some(previous) = container.run() {
            previous.wait_closed(PREVIOUS);
        }

        // Ask.
        let mut start =
            Start { engine, container, attachments: Vec::new(), kept: Vec::new(), exec_dir: false, committed: false };
        let exec_dir = directory::make_exec(engine, &record.id)?;
        start.exec_dir = true;
        let joined = joined::descriptors(engine, record)?;
        // One that the container's user namespace is to own is made inside of that.
        let inside = record.userns.is_some() && networking::makes_namespace(record);
        let namespace = if inside { None } else { Some(networking::namespace(engine, record)?) };
        networking::write_files(engine, record)?;
        let own = engine.container_dir(&record.id);
        let writable = directory::open(&own.join(directory::WRITABLE))?;
        let log_dir = log.stored.as_ref().map(|_| directory::open(&own)).transpose()?;
        let mut given: Vec<(Role, BorrowedFd<'_>)> = vec![(Role::ExecDir, exec_dir.as_fd())];
        given.extend(layers.iter().chain(&targets).map(|layer| (Role::Layer, layer.as_fd())));
        given.push((Role::Writable, writable.as_fd()));
        given.extend(log_dir.as_ref().map(|directory| (Role::LogDir, directory.as_fd())));
        let joined_network = namespace.as_ref().and_then(Namespace::descriptor);
        given.extend(joined_network.map(|descriptor| (Role::NetNs, descriptor)));
        given.extend(sources.iter().map(|(_, tree)| (Role::MountSource, tree.as_fd())));
        given.extend(joined.iter().map(|(role, descriptor)| (*role, descriptor.as_fd())));
        // Reserved ports go to the shim with the request, so they are reserved first; else both happen at once.
        let mut holds: Vec<OwnedFd> = Vec::new();
        let publishes = networks.iter().any(|one| one.config.as_ref().is_some_and(|config| !config.ports.is_empty()));
        if publishes && let Some(namespace) = &namespace {
            holds = start.connect(record, namespace, &networks)?;
        }
        given.extend(holds.iter().map(|hold| (Role::Hold, hold.as_fd())));
        let (ours, theirs) =
            sys::socket::seqpacket_pair().map_err(|error| Error::system("make a control socket", error))?;
        let run = engine.shims.link(record.id.clone(), ours)?;
        let launch = Launch {
            sources: sources.iter().map(|(destination, _)| destination.clone()).collect(),
            tell_network: inside,
            ..launch(
                &engine.config,
                record,
                planned,
                stored_log(log, attributes),
                given.iter().map(|(role, _)| *role).collect(),
            )
        };
        let descriptors: Vec<BorrowedFd<'_>> = given.into_iter().map(|(_, descriptor)| descriptor).collect();
        engine.shims.spawner.create(&engine.shims, &launch, theirs.as_fd(), &descriptors)?;
        drop((theirs, sources));

        // Beside it.
        let mut late_holds = Vec::new();
        let namespace = match namespace {
            Some(namespace) => {
                if !publishes {
                    start.connect(record, &namespace, &networks)?;
                }
                namespace
            }
            None => {
                let namespace = Namespace::Own(network_inside(&run)?);
                late_holds = start.connect(record, &namespace, &networks)?;
                namespace
            }
        };
        if !start.attachments.is_empty() {
            let endpoints: Vec<&network::EndpointRecord> =
                start.attachments.iter().filter_map(|attachment| attachment.endpoint.as_ref()).collect();
            if networking::wants_endpoint(record) {
                networking::write_hosts(engine, record, &endpoints, &links)?;
            }
            let held = endpoints.iter().flat_map(|endpoint| endpoint.ports.clone()).collect();
            let record = container.update(|record| {
                record.networks.clone_from(&start.attachments);
                record.held_ports = held;
                record.kept_ports.clone_from(&start.kept);
            });
            if !endpoints.is_empty() {
                persist::save(engine, container)?;
            }
            networking::permit(engine, &record)?;
            if let Namespace::Own(sandbox) = &namespace {
                resolver::serve(engine, &record, sandbox.descriptor())?;
            }
        }
        let (waiting, handed) = attach::hand_over(container, &run);

        // Commit. A shim that is gone already has said why.
        let late_holds: Vec<BorrowedFd<'_>> = late_holds.iter().map(AsFd::as_fd).collect();
        let sent = handed.and_then(|()| run.send(&ToShim::Start, &late_holds));
        let Some(state) = started(&run)? else {
            attach::take_back(container, waiting);
            let text = "failed to create task for container: the container's shim ended unexpectedly";
            let error = sent.err().unwrap_or_else(|| Error::new(Kind::System, text));
            return Err(Failure { error, exit_code: 128, lost: true });
        };
        start.committed = true;
        commit(engine, container, &run, &state);
        if let Some(targets) = targets {
            // Letting go of a mount that nothing shows waits for the kernel's readers (RCU); who waits for the start does not.
            engine.workers.submit(move |_| drop(targets));
        }
        Ok(())
    }

    /// Takes the container into its networks. What came about is in `attachments`, also when it fails.
    fn connect(
        &mut self,
        record: &Record,
        namespace: &Namespace,
        networks: &[networking::Planned],
    ) -> Result<Vec<OwnedFd>> {
        let mut holds = Vec::new();
        if networks.is_empty() {
            return Ok(holds);
        }
        self.attachments.clone_from(&record.networks);
        for attachment in &mut self.attachments {
            attachment.endpoint_id.clear();
            attachment.endpoint = None;
            attachment.unsettled = None;
        }
        for one in networks {
            let attachment = &mut self.attachments[one.at];
            attachment.network_id.clone_from(&one.network.id);
            match (&one.config, namespace) {
                (Some(config), Namespace::Own(sandbox)) => {
                    let endpoint = networking::attach(self.engine, record, sandbox, config)?;
                    attachment.endpoint_id.clone_from(&endpoint.record.id);
                    attachment.endpoint = Some(endpoint.record);
                    holds.extend(endpoint.holds);
                }
                _ => attachment.endpoint_id = crate::id::random_hex(32),
            }
            networking::publish(self.engine, "connect", record, attachment);
        }
        let endpoints = self.attachments.iter().filter_map(|attachment| attachment.endpoint.as_ref());
        let ports = endpoints.flat_map(|endpoint| &endpoint.ports);
        connect::keep_surplus(self.engine, record, ports, &mut holds, &mut self.kept)?;
        Ok(holds)
    }
}

/// The container runs: says so, and has the thread listen to its shim.
fn commit(engine: &Engine, container: &Arc<Container>, run: &Arc<Run>, state: &ShimState) {
    let started = Change::Started { pid: state.pid, at: state.started_at };
    let record = container.apply(started).unwrap_or_else(|_| container.snapshot());
    crate::volume::tell_use(engine, "mount", &record);
    publish(engine, &record, "start", &[]);
    health::begin(engine, container, false);
    persist::save_later(engine, container);
    link::renew(engine, &record);
    logging::send(engine, &record, true);
    if let Err(error) = engine.shims.listen(run) {
        tracing::error!(container = container.id.short(), error = error.full_text(), "its end will not be noticed");
    }
}

/// Waits for the network namespace that the container's user namespace owns.
fn network_inside(run: &Run) -> Result<::network::Sandbox, Failure> {
    let mut buffer = vec![0; shim_api::MAX_MESSAGE];
    loop {
        match run.receive_with(&mut buffer, PATIENCE)? {
            Some((FromShim::Network, descriptors)) => {
                let namespace = descriptors.into_iter().next();
                let namespace = namespace.ok_or_else(|| Error::new(Kind::System, "the shim told of no namespace"))?;
                let prepared = ::network::Sandbox::prepare(namespace);
                return Ok(prepared.map_err(|error| Error::system("failed to set up container networking", error))?);
            }
            Some((FromShim::Failed { message, exit_code }, _)) => {
                return Err(failed_to_start(run, &message, exit_code));
            }
            Some(_) => {}
            None => {
                let text = "failed to create task for container: the container's shim ended unexpectedly";
                return Err(Failure { error: Error::new(Kind::System, text), exit_code: 128, lost: true });
            }
        }
    }
}

/// What the runtime says, as Docker says it.
/// Whether a process failed for want of its user or groups. Docker looks for them before there is a task, and says nothing else.
pub(super) fn is_of_user(message: &str) -> bool {
    let words =
        ["unable to find user ", "unable to find group ", "Unable to find group ", "uids and gids must be in range "];
    words.iter().any(|words| message.starts_with(words))
}

fn failed_to_start(run: &Run, message: &str, exit_code: i32) -> Failure {
    let mut buffer = vec![0; shim_api::MAX_MESSAGE];
    let kind = if exit_code == 128 { Kind::System } else { Kind::InvalidParameter };
    let text = match is_of_user(message) {
        true => message.to_owned(),
        false => format!(
            "failed to create task for container: failed to create shim task: OCI runtime create failed: unable to start \
             container process: error during container init: {message}"
        ),
    };
    // Nothing of it is left, its host ports least of all, when the client hears of it.
    let deadline = Instant::now() + RELEASE;
    while let Ok(Some(_)) = run.receive(&mut buffer, deadline.saturating_duration_since(Instant::now())) {}
    Failure { error: Error::new(kind, text), exit_code, lost: false }
}

/// Waits for the shim's word; `None` when it ended without one.
fn started(run: &Run) -> Result<Option<ShimState>, Failure> {
    let mut buffer = vec![0; shim_api::MAX_MESSAGE];
    loop {
        match run.receive(&mut buffer, PATIENCE)? {
            Some(FromShim::Started { state }) => return Ok(Some(state)),
            Some(FromShim::Failed { message, exit_code }) => {
                return Err(failed_to_start(run, &message, exit_code));
            }
            Some(_) => {}
            None => return Ok(None),
        }
    }
}

/// The detached mounts, the topmost first.
pub(super) fn layers(engine: &Engine, record: &Record) -> Result<Vec<OwnedFd>> {
    let layers = engine.store.layers();
    let mount = |layer| layers.mount(layer).map_err(|error| Error::system("mount the image's layers", error));
    crate::image::built::stack(&record.layers).into_iter().chain([engine.store.mount_points()]).map(mount).collect()
}

/// The host's side of bind mounts is there, or is made where `-v` asks for it.
fn prepare_sources(engine: &Engine, record: &Record) -> Result<()> {
    let volumes = record.mounts.iter().filter(|mount| mount.kind == MountKind::Volume);
    crate::volume::mount_all(engine, &volumes.map(|mount| mount.volume.as_str()).collect::<Vec<_>>())?;
    for mount in record.mounts.iter().filter(|mount| mount.kind == MountKind::Bind) {
        let source = Path::new(&mount.source);
        if source.exists() {
            propagation::check(mount)?;
            continue;
        }
        if !mount.make_source {
            return Err(Error::invalid(format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {}",
                mount.source
            )));
        }
        std::fs::create_dir_all(source).map_err(|error| {
            Error::system(format!("error while creating mount source path '{}'", mount.source), error)
        })?;
        propagation::check(mount)?;
    }
    Ok(())
}

/// After the end: what volumes have mounted and no container needs any more.
pub(super) fn release_volumes(engine: &Engine, record: &Record) {
    for mount in record.mounts.iter().filter(|mount| mount.kind == MountKind::Volume) {
        crate::volume::unmount(engine, &mount.volume);
    }
}

/// `--device`, or the host's devices for a privileged container.
pub(super) fn devices(record: &Record) -> Result<Vec<Device>> {
    let mut found = if record.host_config.privileged { host::devices() } else { Vec::new() };
    for wanted in &record.host_config.devices {
        let inside = if wanted.path_in_container.is_empty() { &wanted.path_on_host } else { &wanted.path_in_container };
        let path = Path::new(&wanted.path_on_host);
        let missing = |source: std::io::Error| {
            let reason = if source.kind() == std::io::ErrorKind::NotFound {
                "no such file or directory"
            } else {
                "cannot be read"
            };
            Error::new(
                Kind::System,
                format!(
                    "error gathering device information while adding custom device \"{}\": {reason}",
                    wanted.path_on_host
                ),
            )
        };
        match host::device(path, inside).map_err(missing)? {
            Some(device) => {
                found.retain(|other| other.path != device.path);
                found.push(device);
            }
            None => {
                return Err(Error::new(
                    Kind::System,
                    format!(
                        "error gathering device information while adding custom device \"{}\": not a device node",
                        wanted.path_on_host
                    ),
                ));
            }
        }
    }
    Ok(found)
}

/// How the shim stores the log.
pub(super) fn stored_log(plan: logging::Plan, attrs: String) -> Option<Log> {
    let stored = plan.stored?;
    Some(Log::JsonFile {
        max_size: stored.max_size,
        max_files: stored.max_files,
        max_age: stored.max_age,
        attrs,
        forwarded: plan.sent.is_some(),
        blocking: stored.blocking,
    })
}

/// Weights and throttles of block devices, which clients name by path.
pub(super) fn block_io(config: &HostConfig) -> Result<Option<BlockIo>> {
    let number = |path: &str| -> Result<(i64, i64)> {
        let found = host::device(Path::new(path), path);
        let found = found.map_err(|error| Error::system(format!("look at the device {path}"), error))?;
        let device = found.filter(|device| device.kind == "b");
        let device = device.ok_or_else(|| Error::invalid(format!("{path} is not a block device")))?;
        Ok((device.major, device.minor))
    };
    let throttle = |devices: &[ThrottleDevice]| -> Result<Vec<Throttle>> {
        let one = |device: &ThrottleDevice| {
            let (major, minor) = number(&device.path)?;
            Ok(Throttle { major, minor, rate: device.rate })
        };
        devices.iter().map(one).collect()
    };
    let weight = |device: &WeightDevice| -> Result<Weight> {
        let (major, minor) = number(&device.path)?;
        Ok(Weight { major, minor, weight: Some(device.weight), leaf_weight: None })
    };
    let block_io = BlockIo {
        weight: (config.blkio_weight != 0).then_some(config.blkio_weight),
        leaf_weight: None,
        weight_device: config.blkio_weight_device.iter().map(weight).collect::<Result<_>>()?,
        throttle_read_bps_device: throttle(&config.blkio_device_read_bps)?,
        throttle_write_bps_device: throttle(&config.blkio_device_write_bps)?,
        throttle_read_iops_device: throttle(&config.blkio_device_read_iops)?,
        throttle_write_iops_device: throttle(&config.blkio_device_write_iops)?,
    };
    Ok((block_io != BlockIo::default()).then_some(block_io))
}

/// What the shim is told. Pure.
pub(super) fn launch(
    config: &Config,
    record: &Record,
    planned: spec::Planned,
    log: Option<Log>,
    descriptors: Vec<Role>,
) -> Launch {
    let parent = record.host_config.cgroup_parent.trim_matches('/');
    let foreign = runtime::find(config, &record.host_config.runtime).unwrap_or_default();
    Launch {
        version: shim_api::VERSION,
        id: record.id.as_str().to_owned(),
        descriptors,
        spec: planned.spec,
        seccomp: planned.seccomp,
        seccomp_profile: planned.profile,
        user: Some(UserLookup { user: record.config.user.clone(), groups: record.host_config.group_add.to_vec() }),
        cgroup: if parent.is_empty() { record.id.as_str().to_owned() } else { format!("/{parent}/{}", record.id) },
        stdin: record.config.open_stdin,
        stdin_once: record.config.stdin_once,
        log,
        ephemeral: record.auto_remove(),
        init: record.host_config.init.unwrap_or(config.init) && foreign.is_none(),
        runtime: foreign,
        idmap_layers: record.userns.is_some(),
        ..Launch::default()
    }
}
