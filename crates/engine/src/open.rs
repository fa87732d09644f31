//! The bundle of services, and how it comes up.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::config::Config;
use crate::container::{self, Containers, Execs, Record};
use crate::events::Bus;
use crate::host::HostFacts;
use crate::id::ContainerId;
use crate::shim::{self, Shims, Spawner};
use crate::workers::Workers;
use crate::{Error, Kind, Result};

/// One daemon's services. It has no behaviour of its own: verbs take it and decide.
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) host: HostFacts,
    /// The machine's identity in `info`.
    pub(crate) machine_id: String,
    pub(crate) store: store::Store,
    pub(crate) networks: ::network::Networks,
    pub(crate) volumes: ::volume::Volumes,
    /// What SIGHUP changes.
    pub(crate) live: std::sync::RwLock<Arc<crate::reload::Live>>,
    pub(crate) image_names: crate::image::Names,
    pub(crate) cgroups: Option<cgroup::Hierarchies>,
    pub(crate) containers: Containers,
    pub(crate) execs: Execs,
    pub(crate) events: Bus,
    /// Counted for `/metrics`.
    pub(crate) tally: crate::system::Tally,
    pub(crate) workers: Workers,
    /// Held while a volume's record is looked for and made.
    pub(crate) making_volumes: Mutex<()>,
    /// Operations that need a volume mounted, besides containers.
    pub(crate) volume_uses: Mutex<std::collections::BTreeMap<String, usize>>,
    /// Held by the one prune that runs.
    pub(crate) pruning: Mutex<()>,
    /// Held while images are deleted, so that a name means one image from the check to the end.
    pub(crate) deleting: Mutex<()>,
    /// Ids for containers with a user namespace of their own.
    pub(crate) id_ranges: container::IdRanges,
    pub(crate) shims: Shims,
    /// Answers containers that ask for names.
    pub(crate) resolver: shim::Resolver,
    /// What sends logs on.
    pub(crate) senders: container::Senders,
    /// What compresses and expires finished log files.
    pub(crate) tidier: container::Tidier,
    /// The machine goes down: nothing is restarted by policy any more.
    pub(crate) closing: AtomicBool,
    /// What the daemon has set up is given back already.
    pub(crate) closed: AtomicBool,
}

/// How long parked shims may take to end when nothing runs any more.
const PARKED_END: std::time::Duration = std::time::Duration::from_millis(500);

/// Takes the daemon's cgroup back when it cannot be opened: the spawner has made it. What lives in there stays.
struct Unopened(Option<String>);

impl Drop for Unopened {
    fn drop(&mut self) {
        let Some(parent) = &self.0 else { return };
        let removed = cgroup::Hierarchies::detect().and_then(|hierarchies| {
            let end = std::time::Instant::now() + PARKED_END;
            loop {
                hierarchies.remove_empty(&format!("{parent}/shims"))?;
                hierarchies.remove_empty(parent)?;
                let gone = matches!(hierarchies.open(parent), Err(cgroup::Error::NotFound { .. }));
                if gone || std::time::Instant::now() > end {
                    return Ok(());
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        });
        if let Err(error) = removed {
            tracing::debug!(%error, "the daemon's cgroup is still there");
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Engine {
    /// Gives back what a daemon sets up: the spawner ends with it; the keeper, the resolver, the forwarder, the cgroups and
    /// the rules in others' chains too, unless containers live that need them. Said by a daemon that ends, because a request
    /// that still waits for something keeps its engine; dropping does it as well.
    pub fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.shims.spawner.stop();
        let living = |phase: container::Phase| !matches!(phase, container::Phase::Created | container::Phase::Exited);
        if self.containers.all().iter().any(|container| living(container.snapshot().state.phase)) {
            return;
        }
        self.networks.leave_foreign();
        self.resolver.stop();
        self.networks.stop_forwarder();
        if let Err(error) = ::keeper::Keeper::stop(&self.config.exec_root.join(shim::KEEPER_SOCKET)) {
            tracing::debug!(%error, "the keeper is still there");
        }
        if let Some(group) = self.cgroups.as_ref().and_then(|cgroups| cgroups.open(&self.config.cgroup_parent()).ok())
            && let Err(error) = group.remove_within(PARKED_END)
        {
            tracing::debug!(%error, "the daemon's cgroup is still there");
        }
    }

    /// Opens the data root and exec root, starts what has to run, and takes up the containers that ran without us.
    ///
    /// # Errors
    /// The text says what is missing and what to do where the machine lacks something.
    pub fn open(config: Config) -> Result<Arc<Engine>> {
        let config = absolute(config)?;
        let live = check_settings(&config)?;
        container::check_remap(&config.userns_remap)?;
        directory(&config.data_root, 0o700)?;
        // One that an earlier version made: set-uid programs in volumes are nobody's on the host.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(&config.data_root, mode)
            .map_err(|error| Error::system("close the data root to others", error))?;
        directory(&config.exec_root, 0o700)?;
        for name in ["containers", "volumes", "trash"] {
            directory(&config.data_root.join(name), 0o700)?;
        }
        directory(&config.exec_root.join("containers"), 0o700)?;
        let host = HostFacts::gather();
        check_host(&host)?;
        // Before the spawner, so that it is dropped after it.
        let mut unopened = Unopened(Some(config.cgroup_parent()));
        let cgroups = cgroup::Hierarchies::detect().inspect_err(|error| tracing::warn!(%error, "no cgroups")).ok();
        let place = shim::Place::new(&config, cgroups.as_ref());
        let spawner = Spawner::new(&config.runtime, place, config.cgroup_parent(), config.parked_shims)?;
        let keeper = shim::ensure_keeper(&config.exec_root, &spawner)?;
        let options = store::Options { keeper: Some(keeper), form: config.layer_form, witness: None };
        let store = store::Store::open_with(&config.data_root, options)
            .map_err(|error| Error::system(format!("open the data root {}", config.data_root.display()), error))?;
        let networks = crate::network::open(&config, &store)?;
        let volumes = ::volume::Volumes::open(&config.data_root.join("volumes"))
            .map_err(|error| Error::system("open the volumes", error))?;
        networks.forward_with(shim::forwarder(&config.exec_root, &spawner)?);
        let shims = Shims::new(spawner)?;
        shims.spawner.ensure(&shims)?;
        let resolver = shim::Resolver::new(&config.exec_root);
        let engine = Arc::new(Engine {
            machine_id: machine_id(&store)?,
            cgroups,
            config,
            host,
            store,
            networks,
            volumes,
            live: std::sync::RwLock::new(Arc::new(live)),
            image_names: crate::image::Names::default(),
            containers: Containers::default(),
            execs: Execs::default(),
            events: Bus::default(),
            tally: crate::system::Tally::default(),
            workers: Workers::new(),
            making_volumes: Mutex::new(()),
            volume_uses: Mutex::default(),
            pruning: Mutex::new(()),
            deleting: Mutex::new(()),
            id_ranges: container::IdRanges::default(),
            shims,
            resolver,
            senders: container::Senders::default(),
            tidier: container::Tidier::default(),
            closing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        });
        engine.resolver.keep_up(&engine);
        engine.workers.start(&engine).map_err(|error| Error::system("start the workers", error))?;
        shim::start_thread(&engine).map_err(|error| Error::system("start the shims' thread", error))?;
        engine.image_names.refresh(&engine.store)?;
        container::restore(&engine)?;
        engine.tidier.start(&engine).map_err(|error| Error::system("start the thread for log files", error))?;
        crate::volume::adopt(&engine)?;
        crate::volume::unmount_unused(&engine);
        // What an operation left that was cut off.
        engine.workers.submit(|engine| crate::image::free_unused(engine));
        unopened.0 = None;
        Ok(engine)
    }

    /// What it was opened with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Blobs, layers, images.
    pub fn store(&self) -> &store::Store {
        &self.store
    }

    pub(crate) fn containers_dir(&self) -> PathBuf {
        self.config.data_root.join("containers")
    }

    pub(crate) fn container_dir(&self, id: &ContainerId) -> PathBuf {
        self.containers_dir().join(id.as_str())
    }

    /// Where directories wait for their removal.
    pub(crate) fn trash_dir(&self) -> PathBuf {
        self.config.data_root.join("trash")
    }

    /// Where files are kept that belong to nothing that is known.
    pub(crate) fn lost_dir(&self) -> PathBuf {
        self.config.data_root.join("lost")
    }

    pub(crate) fn exec_containers_dir(&self) -> PathBuf {
        self.config.exec_root.join("containers")
    }

    pub(crate) fn exec_dir(&self, id: &ContainerId) -> PathBuf {
        self.exec_containers_dir().join(id.as_str())
    }

    /// A container's cgroup, below the root of each hierarchy.
    pub(crate) fn container_cgroup(&self, record: &Record) -> String {
        match record.host_config.cgroup_parent.trim_matches('/') {
            "" => format!("{}/{}", self.config.cgroup_parent(), record.id),
            parent => format!("/{parent}/{}", record.id),
        }
    }
}

fn absolute(mut config: Config) -> Result<Config> {
    for path in [&mut config.data_root, &mut config.exec_root] {
        *path = std::path::absolute(&*path).map_err(|error| Error::system("find the current directory", error))?;
        if path.to_str().is_none() {
            return Err(Error::invalid(format!("the path {} is not UTF-8", path.display())));
        }
    }
    Ok(config)
}

fn directory(path: &Path, mode: u32) -> Result<()> {
    let failed = |error| Error::system(format!("make the directory {}", path.display()), error);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome.map_err(failed),
    }
}

/// Refuses settings that make no sense before anything is touched or started.
fn check_settings(config: &Config) -> Result<crate::reload::Live> {
    crate::network::options(config, Vec::new())?;
    container::runtime::check_default(config)?;
    container::check_log_settings(&config.log_driver, &config.log_options)?;
    crate::reload::Live::new(config)
}

/// What cannot be done without, named before anything is touched.
fn check_host(host: &HostFacts) -> Result<()> {
    let lacks = |text: String| Err(Error::new(Kind::System, text));
    if !rustix::process::geteuid().is_root() {
        return lacks("hoistd must run as root: it makes namespaces, mounts and network interfaces".to_owned());
    }
    // fsopen, open_tree and move_mount are from 5.2, mount_setattr from 5.12.
    if host.kernel < (5, 12) {
        return lacks(format!("the kernel {} is too old: 5.12 or newer is needed", host.kernel_release));
    }
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !filesystems.split_whitespace().any(|name| name == "overlay") {
        return lacks("the kernel has no overlay file system: load the module with `modprobe overlay`".to_owned());
    }
    Ok(())
}

/// A random identity, made once per data root.
fn machine_id(store: &store::Store) -> Result<String> {
    let failed = |error| Error::system("read the daemon's identity", error);
    if let Some(record) = store.records().get("daemon", "identity").map_err(failed)? {
        return Ok(record.json);
    }
    let hex = crate::id::random_hex(16);
    let part = |range: std::ops::Range<usize>| &hex[range];
    let id = format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32));
    store.records().put("daemon", "identity", None, &id).map_err(failed)?;
    Ok(id)
}
