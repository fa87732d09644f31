//! What runs between clone and exec: the first process of a container, and the processes that join it later.
//!
//! ```text
//!  namespaces ─▶ root, mounts, devices, masks ─▶ pivot ─▶ terminal ─▶ gate ─▶ user, rights, filter ─▶ exec
//!                    (all by descriptor)                             │
//!                                                     waits for the shim's word
//! ```
//!
//! Promises: below the container's root no path is followed as a string before the root is the process's own; no
//! descriptor but the standard streams survives the exec; a failure is told to the shim in one message and leaves
//! nothing, since everything made here dies with the namespaces.

mod copy_up;
mod devices;
mod error;
mod label;
mod masks;
mod mounts;
mod namespaces;
mod net_devices;
mod notify;
mod privilege;
mod procfs;
mod program;
mod reaper;
mod rootfs;
mod terminal;
mod user_namespace;

pub use error::Error;
pub use label::has_selinux;
pub use namespaces::Namespaces;
pub use notify::Notify;
pub use privilege::Filter;
pub use rootfs::overlay;

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use label::Labels;
use oci::runtime::{Hook, Hooks, Process, Spec, State};
use rustix::fs::{Mode, OFlags};
use shim_api::{Exec, Launch, Role, UserLookup};
use sys::process::namespace;
use sys::root::Root;

use user_namespace::UserNamespace;

use crate::plan::{MountPlan, Plan, ProcessPlan};
use crate::report::ToParent;
use crate::user::{self, Identity};
use crate::{Context, hooks};

/// Whether `linux.intelRdt` is carried out.
pub const INTEL_RDT: bool = false;

/// Whether `linux.netDevices` are moved.
pub const NET_DEVICES: bool = true;

/// The standard streams of a process without a terminal.
pub type Stdio = [OwnedFd; 3];

/// Where a process on its way to exec listens and speaks.
#[derive(Debug)]
pub enum Gate {
    /// The shim's end says go.
    Shim(OwnedFd),
    /// `create` hears that all is ready; whoever connects to the listener later says go and hears the rest (`start`).
    Listener {
        creator: OwnedFd,
        /// `None`: the creator is who starts it, too (`run`).
        listener: Option<OwnedFd>,
        /// For hooks, without status and number.
        state: Box<State>,
        /// The creator moves this process into its cgroups meanwhile, and says so.
        joins: bool,
    },
}

impl Gate {
    fn socket(&self) -> &OwnedFd {
        match self {
            Gate::Shim(socket) | Gate::Listener { creator: socket, .. } => socket,
        }
    }

    /// Waits for the word to go on; this process's number as its parent sees it.
    fn pass(&mut self) -> Result<i32, Error> {
        let failed = Error::step("wait for start");
        if let Gate::Listener { creator, listener, .. } = self {
            ToParent::Ready.send(creator).map_err(&failed)?;
            if let Some(listener) = listener {
                let starter = sys::socket::accept(listener).map_err(&failed)?;
                *creator = starter.ok_or_else(|| failed(std::io::ErrorKind::WouldBlock.into()))?;
            }
        }
        ToParent::wait_for_go(self.socket()).map_err(&failed)
    }

    /// Waits until this process is in its cgroups, if it was not born there.
    fn joined(&mut self) -> Result<(), Error> {
        if let Gate::Listener { creator, joins, .. } = self
            && std::mem::take(joins)
        {
            ToParent::wait_for_go(creator).map_err(Error::step("wait for the cgroup"))?;
        }
        Ok(())
    }

    /// What hooks are told; `None` where no hooks are run.
    fn state(&self, status: &str, pid: i32) -> Option<State> {
        match self {
            Gate::Shim(_) => None,
            Gate::Listener { state, .. } => Some(State { status: status.to_owned(), pid, ..(**state).clone() }),
        }
    }

    /// Hooks between the container's environment and its root: the host's side first, then ours.
    fn create_hooks(&self, hooks: &Hooks) -> Result<(), Error> {
        if hooks.prestart.is_empty() && hooks.create_runtime.is_empty() && hooks.create_container.is_empty() {
            return Ok(());
        }
        let failed = Error::step("wait for hooks");
        ToParent::Hooks.send(self.socket()).map_err(&failed)?;
        let pid = ToParent::wait_for_go(self.socket()).map_err(&failed)?;
        match self.state("creating", pid) {
            Some(state) => {
                let directory = Path::new(&state.bundle);
                hooks::run(&hooks.create_container, &state, Some(directory)).map_err(Error::Hook)
            }
            None => Ok(()),
        }
    }
}

/// The first process of a container. `descriptors` are those of [`Launch::descriptors`], in order. `own_cgroup`:
/// what [`own_cgroup`] gave.
pub fn run(
    context: &Context,
    launch: &Launch,
    descriptors: &[OwnedFd],
    stdio: Option<&Stdio>,
    mut gate: Gate,
    own_cgroup: Result<Option<Vec<OwnedFd>>, Error>,
) -> ! {
    let inner = own_cgroup.and_then(|own| run_inner(context, launch, descriptors, stdio, &mut gate, own));
    let error = match inner {
        Ok(never) => match never {},
        Err(error) => error,
    };
    fail(gate.socket(), &error)
}

fn fail(report: &OwnedFd, error: &Error) -> ! {
    let _ = ToParent::Failed { message: error.message(), exit_code: error.exit_code() }.send(report);
    sys::process::exit(1)
}

fn run_inner(
    context: &Context,
    launch: &Launch,
    descriptors: &[OwnedFd],
    stdio: Option<&Stdio>,
    gate: &mut Gate,
    own_cgroup: Option<Vec<OwnedFd>>,
) -> Result<std::convert::Infallible, Error> {
    let spec = &launch.spec;
    let plan = Plan::of(spec, &launch.descriptors)?;
    if matches!(gate, Gate::Shim(_)) && spec.hooks != Hooks::default() {
        return Err(Error::Unsupported("hooks are run by the command line only".to_owned()));
    }
    if plan.resctrl.is_some() {
        return Err(Error::Unsupported(
            "linux.intelRdt is not supported: this runtime does not write to resctrl".to_owned(),
        ));
    }
    let absent = Process::default();
    let process = spec.process.as_ref().unwrap_or(&absent);
    detach_from_parent(process)?;
    join_keyring(&launch.keyring)?;
    let with_role = |role: Role| {
        launch.descriptors.iter().zip(descriptors).filter(move |(given, _)| **given == role).map(|(_, fd)| fd.as_fd())
    };
    let given = |role: Role| with_role(role).next();
    let own = Namespaces::of(spec, &launch.descriptors);
    let shares_mounts = !own.mount && !own.joins_mount;
    if shares_mounts {
        check_shared_mounts(&own, gate)?;
    }
    let labels = label::prepare(process)?;
    let user = namespaces::user(context, &plan, &own, &given)?;
    // Where the writable layer's mount is: overlayfs takes no directory of another mount namespace.
    let mut mount = match (given(Role::Writable), &user) {
        (Some(writable), Some(user)) if launch.idmap_layers => {
            let layers: Vec<_> = with_role(Role::Layer).collect();
            Some(rootfs::map_layers(context.proof, &layers, writable, user)?.overlay(launch.ephemeral)?)
        }
        (Some(writable), _) => {
            Some(rootfs::overlay(&with_role(Role::Layer).collect::<Vec<_>>(), writable, launch.ephemeral)?)
        }
        (None, _) => None,
    };
    if launch.idmap_layers && user.is_none() {
        return Err(Error::Invalid("id-mapped layers without a user namespace".to_owned()));
    }
    let root_path = || match &spec.root {
        Some(root) => Ok(&root.path),
        None => Err(Error::Invalid("no root".to_owned())),
    };
    let shm = given(Role::Shm).map(|shm| ("/dev/shm", shm));
    let sources = launch.sources.iter().map(String::as_str).zip(with_role(Role::MountSource)).chain(shm);
    let sources: Vec<_> = sources.collect();
    // What only the host's rights and paths give, while this process has them.
    let outside = (user.is_some() || own.joins_mount) && user_namespace::may_mount();
    let mut prepared = None;
    let mut nodes = None;
    if outside {
        prepared = Some(mounts::prepare(context.proof, &plan, &spec.linux.devices, user.as_ref(), None, &sources)?);
        if mount.is_none() {
            mount = Some(rootfs::directory(root_path()?)?);
        }
        if let Some(user) = &user {
            let with_dev = plan.mounts.iter().any(MountPlan::is_dev);
            nodes = Some(devices::outside(&spec.linux.devices, user, with_dev)?);
            give_streams(stdio, user)?;
        }
    }
    let notify = context.notify(launch.seccomp, spec.linux.seccomp.as_ref(), gate.state("created", 0))?;
    // A cgroup namespace begins where its first process is, and so do that process's children.
    let enters_later = own_cgroup.is_some() && !own.in_steps();
    if !enters_later {
        gate.joined()?;
    }
    let mover = match plan.net_devices.as_slice() {
        [] => None,
        devices => Some(net_devices::Mover::start(context.proof, devices)?),
    };
    let now = Namespaces { cgroup: own.cgroup && !enters_later, ..own };
    let separate = namespaces::enter(context, &plan, &now, &given, user.as_ref())?;
    if launch.tell_network && own.network {
        let network = namespaces::open("/proc/self/ns/net")?;
        ToParent::Network.send_with(gate.socket(), &[network.as_fd()]).map_err(Error::step("tell the network"))?;
    }
    if let Some(mover) = mover {
        if !separate.network {
            return Err(Error::Invalid("linux.netDevices needs a network namespace other than the host's".to_owned()));
        }
        mover.finish(&namespaces::open("/proc/self/ns/net")?)?;
    }
    if own.in_steps() {
        namespaces::step(context, gate.socket())?;
    }

    let copies = own_cgroup.map(Vec::into_iter);
    let mut cgroup = mounts::CgroupParts { hierarchies: &context.hierarchies, own: copies, made: Vec::new() };
    let prepared = match prepared {
        Some(prepared) => prepared,
        None => {
            let cgroup = Some(&mut cgroup);
            mounts::prepare(context.proof, &plan, &spec.linux.devices, user.as_ref(), cgroup, &sources)?
        }
    };
    if !shares_mounts {
        sys::mount::make_all_private().map_err(Error::step("make mounts private"))?;
    }
    let mount = match mount {
        Some(mount) => mount,
        // After the change to private, or what is mounted in it would show on the host.
        None => rootfs::directory(root_path()?)?,
    };
    if !shares_mounts {
        sys::mount::attach_over_root(&mount).map_err(Error::step("attach the root"))?;
    }
    if plan.mounts.iter().any(|plan| plan.options.copy_up) {
        // What is copied is the container's, and so is the memory that it takes.
        gate.joined()?;
    }
    let directory = rootfs::directory_of(&mount)?;
    let root = Root::new(directory.as_fd());
    let known = mounts::attach_all(&root, prepared, &mut cgroup, user.is_some())?;
    drop(cgroup);
    // A /dev that was bound from elsewhere is somebody else's, perhaps the host's: its nodes stay as they are.
    if !spec.mounts.iter().any(mounts::binds_dev) {
        let nodes = if user.is_some() { Some(nodes.as_deref().unwrap_or_default()) } else { None };
        devices::add(&root, &spec.linux.devices, nodes)?;
    }

    if separate.uts && !spec.hostname.is_empty() {
        sys::process::set_hostname(&spec.hostname).map_err(Error::step("sethostname"))?;
    }
    if separate.uts && !spec.domainname.is_empty() {
        sys::process::set_domainname(&spec.domainname).map_err(Error::step("setdomainname"))?;
    }
    masks::write_sysctls(known.proc.as_ref(), &spec.linux.sysctl, separate)?;

    // The terminal belongs to the container's devpts, and its console is mounted while /dev can still be written.
    let terminal = if process.terminal {
        let size = process.console_size.as_ref().map(|size| (size.height as u16, size.width as u16));
        let (master, peer) = terminal::open(&root, size)?;
        if let Ok(dev) = devices::directory(&root) {
            terminal::mount_console(&dev, &peer)?;
        }
        ToParent::Terminal
            .send_with(gate.socket(), &[master.as_fd()])
            .map_err(Error::step("hand over the terminal"))?;
        // Nothing of the caller's stays open while this process waits for `start`: containerd reads to the pipes' end.
        terminal::replace_streams(&peer)?;
        Some(peer)
    } else {
        None
    };
    let null = match &known.dev {
        Some(dev) => Some(devices::null(dev)?),
        None => devices::directory(&root).and_then(|dev| devices::null(&dev)).ok(),
    };
    masks::make_readonly(&root, &spec.linux.readonly_paths)?;
    masks::mask(&root, &spec.linux.masked_paths, null.as_ref())?;
    gate.joined()?;
    if own.cgroup && enters_later {
        sys::process::unshare(context.proof, namespace::CGROUP).map_err(Error::step("make namespaces"))?;
    }
    gate.create_hooks(&spec.hooks)?;

    if launch.no_pivot || shares_mounts {
        sys::mount::enter_by_chroot(&mount).map_err(Error::step("chroot"))?;
    } else {
        sys::mount::pivot(&mount).map_err(Error::step("pivot_root"))?;
    }
    if let Some(kind) = plan.propagation {
        sys::mount::set_attributes(&mount, kind.1, 0, 0, kind.0).map_err(Error::step("set rootfsPropagation"))?;
    }
    if spec.root.as_ref().is_some_and(|root| root.readonly) {
        sys::mount::set_attributes(&mount, false, sys::mount::attribute::RDONLY, 0, 0)
            .map_err(Error::step("make the root read-only"))?;
    }
    if let (Gate::Listener { .. }, Some(name)) = (&*gate, process.args.first())
        && (name.starts_with('/') || !name.contains('/'))
    {
        // Callers of `create` tell a program that is not there (127) from one that fails at `start`.
        program::find(&process.args, &process.env)?;
    }
    // Everything that takes long is done; the network may still be on its way.
    let pid = gate.pass()?;
    if spec.process.is_none() {
        return Err(Error::Invalid("process is not set".to_owned()));
    }

    if launch.init && own.pid {
        reaper::split(context.proof)?;
    }
    let mut filter = context.filter(launch.seccomp, spec.linux.seccomp.as_ref(), &launch.seccomp_profile, process)?;
    if let (Some(filter), Some(mut notify)) = (&mut filter, notify) {
        notify.set_pid(pid);
        filter.notify = Some(notify);
    }
    if let Some(policy) = &plan.memory_policy {
        sys::schedule::set_memory_policy(policy.mode, &policy.nodes).map_err(Error::step("set linux.memoryPolicy"))?;
    }
    if let Some(domain) = plan.personality {
        sys::schedule::set_personality(domain).map_err(Error::step("set linux.personality"))?;
    }
    let start_hooks = gate.state("created", pid).map(|state| (&spec.hooks.start_container, state));
    let shim = match gate {
        Gate::Shim(report) => Some(&*report),
        Gate::Listener { .. } => None,
    };
    let last = Last {
        process,
        plan: &plan.process,
        lookup: launch.user.as_ref(),
        streams: Streams { terminal: terminal.as_ref(), stdio, preserve: launch.preserve },
        labels,
        filter,
        start_hooks,
        late: None,
        shim,
    };
    last.become_program()
}

/// Copies of the host's mounts that show the container's cgroup alone, whatever namespace looks at them: where a cgroup
/// namespace does not, or only once a process has been moved. For a process with the host's rights and mounts.
pub fn own_cgroup(spec: &Spec, group: Option<&cgroup::Cgroup>) -> Result<Option<Vec<OwnedFd>>, Error> {
    let shows = spec.mounts.iter().any(|mount| matches!(mount.kind.as_str(), "cgroup" | "cgroup2"));
    match group {
        Some(group) if shows && user_namespace::may_mount() => {
            let own = Namespaces::of(spec, &[]);
            (group.needs_join() || !own.cgroup).then(|| mounts::copies_of(group)).transpose()
        }
        _ => Ok(None),
    }
}

/// Whether a container can be made in the mount namespace of whoever makes it: its mounts are then attached to its own
/// root alone, which is attached nowhere, so that the host never has them.
fn check_shared_mounts(own: &Namespaces, gate: &Gate) -> Result<(), Error> {
    let refused =
        |why: &str| Err(Error::Unsupported(format!("a container without a mount namespace of its own {why}")));
    if matches!(gate, Gate::Shim(_)) {
        return refused("is for the command line only");
    }
    if own.user || own.joins_user {
        return refused("cannot have a user namespace");
    }
    if !sys::mount::overlay_takes_detached() {
        return refused("needs Linux 6.15, which mounts below a root that is attached nowhere");
    }
    Ok(())
}

/// The standard streams become files of the user namespace's root, which could not open them anew otherwise.
fn give_streams(stdio: Option<&Stdio>, user: &UserNamespace) -> Result<(), Error> {
    let (uid, gid) = user.root()?;
    for stream in stdio.into_iter().flatten() {
        if is_own(stream) {
            let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
            let _ = rustix::fs::fchown(stream, Some(uid), Some(gid));
        }
    }
    Ok(())
}

/// A running container that a process joins.
#[derive(Clone, Copy, Debug)]
pub struct Running<'a> {
    /// A pidfd of its first process.
    pub process: &'a OwnedFd,
    /// Its root directory, if it is not the root of its mount namespace.
    pub root: Option<&'a OwnedFd>,
}

/// How a process gets into a running container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// It was cloned into the container's pid namespace and joins the rest.
    Inside,
    /// It joins the rest, gives up its rights, and the process that it then clones enters the pid namespace, just before
    /// the program. Those in there who may look into everybody (`CAP_SYS_PTRACE`) never see more than they have.
    Late,
}

impl Entrance {
    /// For a container whose processes have up to these rights. A user namespace of its own keeps them from looking into
    /// ours, whose memory belongs to the host's.
    pub fn of(spec: &Spec) -> Entrance {
        let looks = |process: &Process| match &process.capabilities {
            None => true,
            Some(sets) => sets.bounding.iter().chain(&sets.permitted).any(|name| {
                let name = name.to_ascii_uppercase();
                name == "CAP_SYS_PTRACE" || name == "SYS_PTRACE" || name == "ALL"
            }),
        };
        let own = Namespaces::of(spec, &[]);
        let user = own.user || own.joins_user;
        // A user without rights has to be in the user namespace before the pid namespace that it owns.
        let rights = user_namespace::may_mount();
        match !rights || !user && spec.process.as_ref().is_some_and(looks) {
            true => Entrance::Late,
            false => Entrance::Inside,
        }
    }
}

/// A process that joins a running container, by the `entrance` that whoever cloned it has prepared.
///
/// `seccomp` counts for [`shim_api::Seccomp::Spec`]. `bound`: it ends with its parent.
pub fn run_exec(
    context: &Context,
    exec: &Exec,
    container: Running<'_>,
    stdio: Option<&Stdio>,
    report: &OwnedFd,
    seccomp: Option<&oci::runtime::Seccomp>,
    (entrance, bound): (Entrance, bool),
) -> ! {
    let error = match run_exec_inner(context, exec, container, stdio, report, seccomp, (entrance, bound)) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    fail(report, &error)
}

fn run_exec_inner(
    context: &Context,
    exec: &Exec,
    container: Running<'_>,
    stdio: Option<&Stdio>,
    report: &OwnedFd,
    seccomp: Option<&oci::runtime::Seccomp>,
    (entrance, bound): (Entrance, bool),
) -> Result<std::convert::Infallible, Error> {
    let late = entrance == Entrance::Late;
    let process = &exec.process;
    let plan = ProcessPlan::of(process, false)?;
    detach_from_parent(process)?;
    if let Some(cpus) = &plan.initial_cpus {
        // Perhaps none of them is the cgroup's, which it is in already.
        let _ = sys::schedule::set_affinity(cpus);
    }
    join_keyring(&exec.keyring)?;
    let mut labels = label::prepare(process)?;
    let mut filter = context.filter(exec.seccomp, seccomp, &exec.seccomp_profile, process)?;
    if let Some(filter) = &mut filter {
        filter.notify = context.notify(exec.seccomp, seccomp, None)?;
    }
    join_container(context, container.process, if late { namespace::PID } else { 0 })?;
    if let Some(root) = container.root {
        sys::mount::enter_by_chroot(root).map_err(Error::step("enter the container's root"))?;
    }
    if let (true, Some(labels)) = (late, &mut labels) {
        labels.leave_host()?;
    }
    let terminal = if process.terminal {
        let slash = open_slash()?;
        let size = process.console_size.as_ref().map(|size| (size.height as u16, size.width as u16));
        let (master, peer) = terminal::open(&Root::new(slash.as_fd()), size)?;
        ToParent::Terminal.send_with(report, &[master.as_fd()]).map_err(Error::step("hand over the terminal"))?;
        Some(peer)
    } else {
        None
    };
    let last = Last {
        process,
        plan: &plan,
        lookup: exec.user.as_ref(),
        streams: Streams { terminal: terminal.as_ref(), stdio, preserve: exec.preserve },
        labels,
        filter,
        start_hooks: None,
        late: late.then_some((context, report)),
        shim: Some(report).filter(|_| bound),
    };
    last.become_program()
}

/// A session keyring of the container's own; on a kernel without keys there is none to keep apart.
fn join_keyring(name: &str) -> Result<(), Error> {
    match name {
        "" => Ok(()),
        name => match sys::keyring::join_session(name) {
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => Ok(()),
            other => other.map_err(Error::step("join the session keyring")),
        },
    }
}

/// Joins every namespace of the container, its user namespace if it has one of its own.
fn join_container(context: &Context, container: &OwnedFd, also: i32) -> Result<(), Error> {
    let failed = Error::step("join the container's namespaces");
    if !user_namespace::may_mount() {
        return join_without_rights(context, container, also);
    }
    let all = also | namespace::MOUNT | namespace::NETWORK | namespace::IPC | namespace::UTS | namespace::CGROUP;
    // The kernel refuses the user namespace in which the process is already, and kinds that it does not have (time).
    for (kinds, with_user) in
        [(namespace::USER | namespace::TIME, true), (namespace::USER, true), (namespace::TIME, false), (0, false)]
    {
        match sys::process::join_namespaces(context.proof, container, all | kinds) {
            Ok(()) if with_user => return user_namespace::become_root(),
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput && kinds != 0 => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

/// The user namespace first, which gives rights on the others. What it does not own nobody without rights has made: such
/// a namespace is the one of the user's own that this process is in already.
fn join_without_rights(context: &Context, container: &OwnedFd, also: i32) -> Result<(), Error> {
    let failed = Error::step("join the container's namespaces");
    sys::process::join_namespaces(context.proof, container, namespace::USER).map_err(&failed)?;
    let rest = [namespace::NETWORK, namespace::IPC, namespace::UTS, namespace::CGROUP, namespace::TIME];
    for kind in rest.into_iter().chain([also, namespace::MOUNT]).filter(|kind| *kind != 0) {
        match sys::process::join_namespaces(context.proof, container, kind) {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied && kind != namespace::MOUNT => {}
            // Kernels without time namespaces.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput && kind == namespace::TIME => {}
            other => other.map_err(&failed)?,
        }
    }
    user_namespace::become_root()
}

/// A session of its own, default signals, and no way for anybody in the container to look into this process before it
/// has become the program.
fn detach_from_parent(process: &Process) -> Result<(), Error> {
    // Handlers went with the clone; what Rust's start-up and the spawner ignore is the rest.
    sys::signal::unblock_all();
    sys::signal::restore(sys::signal::SIGPIPE);
    sys::signal::restore(sys::signal::SIGCHLD);
    // Modes of what is made here are meant as they are; the program's own mask comes last.
    rustix::process::umask(Mode::empty());
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(|errno| Error::Step { what: "set dumpable", source: errno.into() })?;
    let _ = rustix::process::setsid();
    if let Some(adjustment) = process.oom_score_adj {
        // Lowering it takes CAP_SYS_RESOURCE; where the host lacks it, the score stays as it is.
        match procfs::write("self/oom_score_adj", &adjustment.to_string()) {
            Err(error) if error.kind() != std::io::ErrorKind::PermissionDenied => {
                return Err(Error::Step { what: "write oom_score_adj", source: error });
            }
            _ => {}
        }
    }
    Ok(())
}

fn open_slash() -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open("/", flags, Mode::empty())
        .map_err(|errno| Error::Step { what: "open the root directory", source: errno.into() })
}

/// What the program finds open.
struct Streams<'a> {
    terminal: Option<&'a OwnedFd>,
    stdio: Option<&'a Stdio>,
    preserve: u32,
}

/// The last steps, the same for every process: streams, user, directory, rights, exec.
struct Last<'a> {
    process: &'a Process,
    plan: &'a ProcessPlan,
    lookup: Option<&'a UserLookup>,
    streams: Streams<'a>,
    labels: Option<Labels>,
    filter: Option<Filter>,
    start_hooks: Option<(&'a Vec<Hook>, State)>,
    /// The pid namespace is entered in the end, and the parent hears of it here.
    late: Option<(&'a Context, &'a OwnedFd)>,
    shim: Option<&'a OwnedFd>,
}

impl Last<'_> {
    fn become_program(mut self) -> Result<std::convert::Infallible, Error> {
        let process = self.process;
        let slash = open_slash()?;
        let root = Root::new(slash.as_fd());
        let identity = identify(&root, process, self.lookup)?;
        let mut environment = process.env.clone();
        if !environment.iter().any(|variable| variable.starts_with("HOME=")) {
            environment.push(format!("HOME={}", identity.home));
        }
        if let Some(peer) = self.streams.terminal {
            let _ = rustix::fs::fchown(peer, Some(rustix::fs::Uid::from_raw(identity.uid)), None);
            if self.late.is_none() {
                terminal::take(peer)?;
            }
        } else if let Some(stdio) = self.streams.stdio {
            for (number, stream) in (0..).zip(stdio) {
                if identity.uid != 0 && is_own(stream) {
                    // So that opening /dev/stdout again works for the user.
                    let _ = rustix::fs::fchown(stream, Some(rustix::fs::Uid::from_raw(identity.uid)), None);
                }
                sys::process::replace_stdio(stream, number).map_err(Error::step("set standard streams"))?;
            }
        }
        privilege::set_schedule(self.plan)?;
        rustix::process::umask(Mode::from_raw_mode(process.user.umask.unwrap_or(0o022)));
        privilege::set_rlimits(self.plan)?;
        program::enter_directory(if process.cwd.is_empty() { "/" } else { &process.cwd })?;
        drop(slash);
        if let Some((hooks, state)) = &self.start_hooks {
            hooks::run(hooks, state, None).map_err(Error::Hook)?;
        }
        if let Some(labels) = self.labels.as_ref().filter(|_| self.late.is_none()) {
            labels.set()?;
        }
        // Before the filter: one that knows nothing of close_range(2) may still let the program run.
        sys::process::close_on_exec_from(3 + self.streams.preserve).map_err(Error::step("close descriptors"))?;
        privilege::drop_to(&identity, process, self.filter.as_mut())?;
        let program = program::find(&process.args, &environment)?;
        if let Some((context, report)) = self.late {
            namespaces::step(context, report)?;
            // A session and its terminal end with their first process, which was another.
            let _ = rustix::process::setsid();
            if let Some(peer) = self.streams.terminal {
                terminal::take(peer)?;
            }
            if let Some(labels) = &self.labels {
                labels.set()?;
            }
        }
        if let Some(report) = self.shim {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
                .map_err(|errno| Error::Step { what: "set the death signal", source: errno.into() })?;
            if shim_is_gone(report) {
                sys::process::exit(1);
            }
        }
        Err(program.run())
    }
}

/// Whether the shim ended before this process was bound to it.
fn shim_is_gone(report: &OwnedFd) -> bool {
    let mut polled = [rustix::event::PollFd::new(report, rustix::event::PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut polled, Some(&now)).is_ok_and(|ready| ready > 0)
        && polled[0].revents().intersects(rustix::event::PollFlags::HUP)
}

/// Whether a stream was made for this container, and is no node of the host's such as `/dev/null`.
fn is_own(stream: &OwnedFd) -> bool {
    use rustix::fs::FileType;
    rustix::fs::fstat(stream)
        .is_ok_and(|stat| matches!(FileType::from_raw_mode(stat.st_mode), FileType::Fifo | FileType::Socket))
}

/// Who a process is to be, with the container's own names.
pub fn identify(root: &Root<'_>, process: &Process, lookup: Option<&UserLookup>) -> Result<Identity, Error> {
    let file = |path| root.read(path, user::MAX_FILE).unwrap_or_default();
    Ok(match lookup {
        Some(lookup) => user::resolve(&lookup.user, &lookup.groups, &file("/etc/passwd"), &file("/etc/group"))?,
        None => {
            let user = &process.user;
            let mut groups = vec![user.gid];
            groups.extend(user.additional_gids.iter().filter(|gid| **gid != user.gid));
            Identity { uid: user.uid, gid: user.gid, groups, home: user::home_of(user.uid, &file("/etc/passwd")) }
        }
    })
}
