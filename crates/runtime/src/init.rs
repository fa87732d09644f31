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

mod devices;
mod error;
mod masks;
mod mounts;
mod privilege;
mod program;
mod reaper;
mod rootfs;
mod terminal;

pub use error::Error;
pub use privilege::Filter;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oci::runtime::{Process, Spec};
use rustix::fs::{Mode, OFlags};
use shim_api::{Exec, Launch, Role, UserLookup};
use sys::process::namespace;
use sys::root::Root;

use crate::Context;
use crate::report::ToParent;
use crate::user::{self, Identity};

/// The standard streams of a process without a terminal.
pub type Stdio = [OwnedFd; 3];

/// Which namespaces are the container's own and new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    pub pid: bool,
    pub network: bool,
    pub ipc: bool,
    pub uts: bool,
    pub mount: bool,
    pub cgroup: bool,
}

impl Namespaces {
    /// Those that the configuration lists without a path; a descriptor to join counts against.
    pub fn of(spec: &Spec, roles: &[Role]) -> Namespaces {
        let new = |kind: &str, role: Option<Role>| {
            spec.linux.namespaces.iter().any(|namespace| namespace.kind == kind && namespace.path.is_empty())
                && !role.is_some_and(|role| roles.contains(&role))
        };
        Namespaces {
            pid: new("pid", Some(Role::PidNs)),
            network: new("network", None),
            ipc: new("ipc", Some(Role::IpcNs)),
            uts: new("uts", Some(Role::UtsNs)),
            mount: new("mount", None),
            cgroup: new("cgroup", None),
        }
    }
}

/// Refuses by name what the configuration asks for and this runtime cannot do.
pub fn check_supported(spec: &Spec) -> Result<(), Error> {
    let linux = &spec.linux;
    let process = spec.process.as_ref();
    let asked = [
        ("user namespaces", !linux.uid_mappings.is_empty() || linux.namespaces.iter().any(|ns| ns.kind == "user")),
        ("time namespaces", !linux.time_offsets.is_empty() || linux.namespaces.iter().any(|ns| ns.kind == "time")),
        ("hooks", spec.hooks != oci::runtime::Hooks::default()),
        ("linux.netDevices", !linux.net_devices.is_empty()),
        ("linux.personality", linux.personality.is_some()),
        ("linux.intelRdt", linux.intel_rdt.is_some()),
        ("linux.memoryPolicy", linux.memory_policy.is_some()),
        ("linux.mountLabel", !linux.mount_label.is_empty()),
        ("process.apparmorProfile", process.is_some_and(|process| !process.apparmor_profile.is_empty())),
        ("process.selinuxLabel", process.is_some_and(|process| !process.selinux_label.is_empty())),
        ("process.scheduler", process.is_some_and(|process| process.scheduler.is_some())),
        ("process.ioPriority", process.is_some_and(|process| process.io_priority.is_some())),
        ("process.execCPUAffinity", process.is_some_and(|process| process.exec_cpu_affinity.is_some())),
    ];
    match asked.iter().find(|(_, asked)| *asked) {
        Some((name, _)) => Err(Error::Unsupported(format!("{name} is not supported by this runtime yet"))),
        None => Ok(()),
    }
}

/// Where a process on its way to exec listens and speaks.
#[derive(Debug)]
pub enum Gate {
    /// The shim's end says go.
    Shim(OwnedFd),
    /// `create` hears that all is ready; whoever connects to the listener later says go and hears the rest (`start`).
    Listener { creator: OwnedFd, listener: OwnedFd },
}

impl Gate {
    fn socket(&self) -> &OwnedFd {
        match self {
            Gate::Shim(socket) | Gate::Listener { creator: socket, .. } => socket,
        }
    }

    /// Waits for the word to go on.
    fn pass(&mut self) -> Result<(), Error> {
        let failed = Error::step("wait for start");
        if let Gate::Listener { creator, listener } = self {
            ToParent::Ready.send(creator).map_err(&failed)?;
            let starter = sys::socket::accept(listener).map_err(&failed)?;
            *creator = starter.ok_or_else(|| failed(std::io::ErrorKind::WouldBlock.into()))?;
        }
        ToParent::wait_for_go(self.socket()).map_err(&failed)
    }
}

/// The first process of a container. `descriptors` are those of [`Launch::descriptors`], in order.
pub fn run(context: &Context, launch: &Launch, descriptors: &[OwnedFd], stdio: Option<&Stdio>, mut gate: Gate) -> ! {
    let error = match run_inner(context, launch, descriptors, stdio, &mut gate) {
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
) -> Result<std::convert::Infallible, Error> {
    let spec = &launch.spec;
    check_supported(spec)?;
    let process = spec.process.as_ref().ok_or_else(|| Error::Invalid("no process".to_owned()))?;
    detach_from_parent(process)?;
    join_keyring(&launch.keyring)?;
    let with_role = |role: Role| {
        launch.descriptors.iter().zip(descriptors).filter(move |(given, _)| **given == role).map(|(_, fd)| fd.as_fd())
    };
    let own = Namespaces::of(spec, &launch.descriptors);
    if !own.mount {
        return Err(Error::Unsupported("a container without a mount namespace of its own".to_owned()));
    }
    // Where the writable layer's mount is: overlayfs takes no directory of another mount namespace.
    let stacked = match with_role(Role::Writable).next() {
        Some(writable) => {
            Some(rootfs::overlay(&with_role(Role::Layer).collect::<Vec<_>>(), writable, launch.ephemeral)?)
        }
        None => None,
    };
    enter_namespaces(context, spec, &own, &with_role)?;

    let prepared = mounts::prepare(spec)?;
    sys::mount::make_all_private().map_err(Error::step("make mounts private"))?;
    let mount = match stacked {
        Some(stacked) => stacked,
        // After the change to private, or what is mounted in it would show on the host.
        None => rootfs::directory(&spec.root.as_ref().ok_or_else(|| Error::Invalid("no root".to_owned()))?.path)?,
    };
    sys::mount::attach_over_root(&mount).map_err(Error::step("attach the root"))?;
    let directory = rootfs::directory_of(&mount)?;
    let root = Root::new(directory.as_fd());
    let known = mounts::attach_all(&root, prepared, Some(&context.hierarchies))?;
    // A /dev that was bound from elsewhere is somebody else's, perhaps the host's: its nodes stay as they are.
    if !spec.mounts.iter().any(mounts::binds_dev) {
        devices::add(&root, &spec.linux.devices)?;
    }

    if own.uts && !spec.hostname.is_empty() {
        sys::process::set_hostname(&spec.hostname).map_err(Error::step("sethostname"))?;
    }
    if own.uts && !spec.domainname.is_empty() {
        sys::process::set_domainname(&spec.domainname).map_err(Error::step("setdomainname"))?;
    }
    masks::write_sysctls(known.proc.as_ref(), &spec.linux.sysctl, &own)?;

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

    if launch.no_pivot {
        sys::mount::enter_by_chroot(&mount).map_err(Error::step("chroot"))?;
    } else {
        sys::mount::pivot(&mount).map_err(Error::step("pivot_root"))?;
    }
    if let Some(kind) = propagation(&spec.linux.rootfs_propagation)? {
        sys::mount::set_attributes(&mount, kind.1, 0, 0, kind.0).map_err(Error::step("set rootfsPropagation"))?;
    }
    if spec.root.as_ref().is_some_and(|root| root.readonly) {
        sys::mount::set_attributes(&mount, false, sys::mount::attribute::RDONLY, 0, 0)
            .map_err(Error::step("make the root read-only"))?;
    }
    // Everything that takes long is done; the network may still be on its way.
    gate.pass()?;

    if launch.init && own.pid {
        reaper::split(context.proof)?;
    }
    let filter = context.filter(launch.seccomp, spec.linux.seccomp.as_ref(), &launch.seccomp_profile, process)?;
    let shim = match gate {
        Gate::Shim(report) => Some(&*report),
        Gate::Listener { .. } => None,
    };
    let streams = Streams { terminal: terminal.as_ref(), stdio, preserve: launch.preserve };
    become_program(process, launch.user.as_ref(), streams, filter.as_ref(), shim)
}

/// A process that joins a running container. Its pid namespace was joined by whoever cloned it.
///
/// `seccomp` counts for [`shim_api::Seccomp::Spec`]. `bound`: it ends with its parent.
pub fn run_exec(
    context: &Context,
    exec: &Exec,
    container: &OwnedFd,
    stdio: Option<&Stdio>,
    report: &OwnedFd,
    seccomp: Option<&oci::runtime::Seccomp>,
    bound: bool,
) -> ! {
    let error = match run_exec_inner(context, exec, container, stdio, report, seccomp, bound) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    fail(report, &error)
}

fn run_exec_inner(
    context: &Context,
    exec: &Exec,
    container: &OwnedFd,
    stdio: Option<&Stdio>,
    report: &OwnedFd,
    seccomp: Option<&oci::runtime::Seccomp>,
    bound: bool,
) -> Result<std::convert::Infallible, Error> {
    let process = &exec.process;
    detach_from_parent(process)?;
    join_keyring(&exec.keyring)?;
    let filter = context.filter(exec.seccomp, seccomp, &exec.seccomp_profile, process)?;
    let all = namespace::MOUNT | namespace::NETWORK | namespace::IPC | namespace::UTS | namespace::CGROUP;
    sys::process::join_namespaces(context.proof, container, all)
        .map_err(Error::step("join the container's namespaces"))?;
    let terminal = if process.terminal {
        let slash = open_slash()?;
        let size = process.console_size.as_ref().map(|size| (size.height as u16, size.width as u16));
        let (master, peer) = terminal::open(&Root::new(slash.as_fd()), size)?;
        ToParent::Terminal.send_with(report, &[master.as_fd()]).map_err(Error::step("hand over the terminal"))?;
        Some(peer)
    } else {
        None
    };
    let streams = Streams { terminal: terminal.as_ref(), stdio, preserve: exec.preserve };
    become_program(process, exec.user.as_ref(), streams, filter.as_ref(), Some(report).filter(|_| bound))
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
        match std::fs::write("/proc/self/oom_score_adj", adjustment.to_string()) {
            Err(error) if error.kind() != std::io::ErrorKind::PermissionDenied => {
                return Err(Error::Step { what: "write oom_score_adj", source: error });
            }
            _ => {}
        }
    }
    Ok(())
}

fn enter_namespaces<'fd, I: Iterator<Item = BorrowedFd<'fd>>>(
    context: &Context,
    spec: &Spec,
    own: &Namespaces,
    with_role: &dyn Fn(Role) -> I,
) -> Result<(), Error> {
    for role in [Role::NetNs, Role::IpcNs, Role::UtsNs] {
        for descriptor in with_role(role) {
            sys::process::join_namespaces(context.proof, descriptor, 0).map_err(Error::step("join namespace"))?;
        }
    }
    let mut new = 0;
    for listed in &spec.linux.namespaces {
        let bit = match listed.kind.as_str() {
            "network" => namespace::NETWORK,
            "ipc" => namespace::IPC,
            "uts" => namespace::UTS,
            "mount" => namespace::MOUNT,
            "cgroup" => namespace::CGROUP,
            "pid" => continue,
            other => return Err(Error::Invalid(format!("unknown namespace type \"{other}\""))),
        };
        if !listed.path.is_empty() {
            let failed = |source| Error::Source { path: listed.path.clone(), source };
            let file = std::fs::File::open(&listed.path).map_err(failed)?;
            sys::process::join_namespaces(context.proof, &file, bit).map_err(failed)?;
        } else if bit != namespace::NETWORK || with_role(Role::NetNs).next().is_none() {
            let joined = (bit == namespace::IPC && !own.ipc) || (bit == namespace::UTS && !own.uts);
            new |= if joined { 0 } else { bit };
        }
    }
    sys::process::unshare(context.proof, new).map_err(Error::step("make namespaces"))
}

fn propagation(word: &str) -> Result<Option<(u64, bool)>, Error> {
    use sys::mount::propagation::*;
    Ok(match word {
        // Private is what every mount of the new namespace is already.
        "" | "private" | "rprivate" => None,
        "slave" => Some((SLAVE, false)),
        "rslave" => Some((SLAVE, true)),
        "shared" => Some((SHARED, false)),
        "rshared" => Some((SHARED, true)),
        "unbindable" => Some((UNBINDABLE, false)),
        "runbindable" => Some((UNBINDABLE, true)),
        other => return Err(Error::Invalid(format!("rootfsPropagation \"{other}\""))),
    })
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
fn become_program(
    process: &Process,
    lookup: Option<&UserLookup>,
    streams: Streams<'_>,
    filter: Option<&Filter>,
    shim: Option<&OwnedFd>,
) -> Result<std::convert::Infallible, Error> {
    let slash = open_slash()?;
    let root = Root::new(slash.as_fd());
    let identity = identify(&root, process, lookup)?;
    let mut environment = process.env.clone();
    if !environment.iter().any(|variable| variable.starts_with("HOME=")) {
        environment.push(format!("HOME={}", identity.home));
    }
    if let Some(peer) = streams.terminal {
        let _ = rustix::fs::fchown(peer, Some(rustix::fs::Uid::from_raw(identity.uid)), None);
        terminal::take(peer)?;
    } else if let Some(stdio) = streams.stdio {
        for (number, stream) in (0..).zip(stdio) {
            if identity.uid != 0 && is_own(stream) {
                // So that opening /dev/stdout again works for the user.
                let _ = rustix::fs::fchown(stream, Some(rustix::fs::Uid::from_raw(identity.uid)), None);
            }
            sys::process::replace_stdio(stream, number).map_err(Error::step("set standard streams"))?;
        }
    }
    rustix::process::umask(Mode::from_raw_mode(process.user.umask.unwrap_or(0o022)));
    privilege::set_rlimits(process)?;
    program::enter_directory(if process.cwd.is_empty() { "/" } else { &process.cwd })?;
    drop(slash);
    // Before the filter: one that knows nothing of close_range(2) may still let the program run.
    sys::process::close_on_exec_from(3 + streams.preserve).map_err(Error::step("close descriptors"))?;
    privilege::drop_to(&identity, process, filter)?;
    let program = program::find(&process.args, &environment)?;
    if let Some(report) = shim {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .map_err(|errno| Error::Step { what: "set the death signal", source: errno.into() })?;
        if shim_is_gone(report) {
            sys::process::exit(1);
        }
    }
    Err(program.run())
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

fn identify(root: &Root<'_>, process: &Process, lookup: Option<&UserLookup>) -> Result<Identity, Error> {
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
