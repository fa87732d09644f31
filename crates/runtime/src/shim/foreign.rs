//! Containers that another runtime makes (`--runtime crun`), by the command line that runc has and others share.
//!
//! ```text
//!  shim ──fork──▶ driver ──exec──▶ RUNTIME create ──▶ the container's first process, whose parent the shim becomes
//!   (subreaper)     │ waits for the word to start
//!                   └──exec──▶ RUNTIME start          execs in the same way: RUNTIME exec --detach
//! ```
//! The root file system is mounted in the driver's own mount namespace, which the runtime copies: as everywhere here,
//! nothing shows in the host's. Bundle, state and log of the runtime are in the container's exec directory.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use oci::runtime::{Linux, Namespace, Process, Root as SpecRoot, Spec, User};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, Signal, kill_process_group};
use shim_api::{Exec, ForeignRuntime, Launch, Role};
use sys::process::{Clone, Side, namespace};
use sys::root::Root;

use crate::Context;
use crate::init::{self, Stdio as Streams};
use crate::report::ToParent;

/// Directories and files of a container below its exec directory.
const BUNDLE: &str = "bundle";
const ROOT: &str = "bundle/rootfs";
const SHARED_MEMORY: &str = "bundle/shm";
const STATE: &str = "runtime";
const LOG: &str = "runtime.log";
const TERMINAL: &str = "tty";

/// Where version 2 of cgroups is beside version 1.
const UNIFIED: &str = "/sys/fs/cgroup/unified";

/// How often a runtime that is to hand over a terminal is looked after.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// Most of a runtime's log that is read for the reason of a failure.
const MAX_LOG: u64 = 64 * 1024;

/// A container of another runtime.
#[derive(Clone, Debug)]
pub struct Foreign {
    runtime: ForeignRuntime,
    id: String,
    directory: PathBuf,
}

/// What a driver ends with.
struct Failure {
    message: String,
    exit_code: i32,
}

impl From<String> for Failure {
    /// The exit codes are what Docker makes of such texts.
    fn from(message: String) -> Failure {
        let message = in_common_words(message);
        let has = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
        let exit_code = if has(&["executable file not found", "o such file or directory"]) {
            127
        } else if has(&["permission denied", "Permission denied", "is a directory", "not a directory"]) {
            126
        } else {
            128
        };
        Failure { message, exit_code }
    }
}

/// crun's words for a program that is not there become those by which clients know it.
fn in_common_words(message: String) -> String {
    let quoted = || {
        let (before, rest) = message.split_once("executable file `")?;
        let (program, _) = rest.split_once("` not found in $PATH")?;
        Some(format!("{before}exec: \"{program}\": executable file not found in $PATH"))
    };
    quoted().unwrap_or(message)
}

fn text(what: &str) -> impl Fn(io::Error) -> String + '_ {
    move |error| format!("{what}: {error}")
}

impl Foreign {
    /// The exec directory is where the launch's descriptor leads.
    pub fn new(launch: &Launch, exec_dir: Option<&OwnedFd>) -> Result<Option<Foreign>, String> {
        let Some(runtime) = launch.runtime.clone() else { return Ok(None) };
        let exec_dir = exec_dir.ok_or("a container of another runtime needs an exec directory")?;
        let link = format!("/proc/self/fd/{}", exec_dir.as_fd().as_raw_fd());
        let directory = fs::read_link(link).map_err(text("find the exec directory"))?;
        // What the runtime leaves when it ends is ours to reap.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(|errno| format!("become a subreaper: {errno}"))?;
        Ok(Some(Foreign { runtime, id: launch.id.clone(), directory }))
    }

    /// Forks the driver that makes the container, up to the shim's word and beyond; its number.
    pub fn create(
        &self,
        context: &Context,
        launch: &Launch,
        (descriptors, stdio): (&[OwnedFd], Option<&Streams>),
        report: &OwnedFd,
        cgroup: &str,
    ) -> io::Result<i32> {
        self.fork(context, report, || self.drive(context, launch, descriptors, stdio, report, cgroup))
    }

    /// Forks the driver of another process in the container whose first process is `first`; its number.
    pub fn exec(
        &self,
        context: &Context,
        exec: &Exec,
        first: i32,
        stdio: Option<&Streams>,
        report: &OwnedFd,
    ) -> io::Result<i32> {
        self.fork(context, report, || self.drive_exec(context, exec, first, stdio, report))
    }

    fn fork(&self, context: &Context, report: &OwnedFd, work: impl FnOnce() -> Result<(), Failure>) -> io::Result<i32> {
        match sys::process::clone(context.proof, &Clone::default())? {
            Side::Parent { pid } => Ok(pid),
            Side::Child => {
                let _ = rustix::thread::set_name(c"hoist-driver");
                let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
                sys::signal::unblock_all();
                sys::signal::restore(sys::signal::SIGPIPE);
                sys::signal::restore(sys::signal::SIGCHLD);
                if let Err(Failure { message, exit_code }) = work() {
                    let _ = ToParent::Failed { message, exit_code }.send(report);
                }
                sys::process::exit(0)
            }
        }
    }

    fn drive(
        &self,
        context: &Context,
        launch: &Launch,
        descriptors: &[OwnedFd],
        stdio: Option<&Streams>,
        report: &OwnedFd,
        cgroup: &str,
    ) -> Result<(), Failure> {
        let given = |role: Role| {
            let pairs = launch.descriptors.iter().zip(descriptors);
            pairs.filter(move |(listed, _)| **listed == role).map(|(_, descriptor)| descriptor.as_fd())
        };
        let root = self.mount_root(context, launch, given(Role::Layer).collect(), given(Role::Writable).next())?;
        let shm = given(Role::Shm).next();
        if let Some(shm) = shm {
            let target = self.make_directory(SHARED_MEMORY)?;
            sys::mount::attach(shm, open(&target)?).map_err(text("attach the shared memory"))?;
        }
        let mut spec = self.adapt(context, launch, &root, cgroup)?;
        for mount in spec.mounts.iter_mut().filter(|mount| shm.is_some() && mount.destination == "/dev/shm") {
            mount.source = self.path(SHARED_MEMORY);
        }
        for (role, kind) in [(Role::NetNs, "network"), (Role::IpcNs, "ipc"), (Role::PidNs, "pid"), (Role::UtsNs, "uts")]
        {
            if let Some(descriptor) = given(role).next() {
                let path = format!("/proc/{}/fd/{}", std::process::id(), descriptor.as_raw_fd());
                spec.linux.namespaces.retain(|listed| listed.kind != kind);
                spec.linux.namespaces.push(Namespace { kind: kind.to_owned(), path });
            }
        }
        self.write(&format!("{BUNDLE}/config.json"), &spec)?;
        let terminal = spec.process.as_ref().is_some_and(|process| process.terminal);
        let (bundle, pid_file) = (self.path(BUNDLE), self.path("pid"));
        let made = self.run(&["create", "--bundle", &bundle, "--pid-file", &pid_file], terminal, stdio, report);
        let pid = made.and_then(|()| self.pid(&pid_file)).inspect_err(|_| self.delete())?;
        ToParent::Moved { pid }.send(report).map_err(text("tell of the container's process"))?;
        self.await_start(pid, report).inspect_err(|_| self.delete())?;
        Ok(self.run(&["start"], false, None, report).inspect_err(|_| self.delete())?)
    }

    /// The word to start, or the end of the process that it is for, whichever comes first.
    fn await_start(&self, pid: i32, report: &OwnedFd) -> Result<(), String> {
        let process = sys::process::pidfd(pid).map_err(text("watch the container's process"))?;
        loop {
            let mut ready = [PollFd::new(report, PollFlags::IN), PollFd::new(&process, PollFlags::IN)];
            match rustix::event::poll(&mut ready, None) {
                Ok(_) if !ready[0].revents().is_empty() => break,
                Ok(_) => return Err("the container's first process ended before it was started".to_owned()),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(format!("wait for start: {errno}")),
            }
        }
        // Ends this process when nobody wants it any more.
        ToParent::wait_for_go(report).map(drop).map_err(text("wait for start"))
    }

    fn drive_exec(
        &self,
        context: &Context,
        exec: &Exec,
        first: i32,
        stdio: Option<&Streams>,
        report: &OwnedFd,
    ) -> Result<(), Failure> {
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        let root = rustix::fs::open(format!("/proc/{first}/root"), flags, rustix::fs::Mode::empty())
            .map_err(|errno| format!("open the container's root: {errno}"))?;
        let process = identified(&exec.process, exec.user.as_ref(), &root)?;
        let (document, pid_file) = (format!("exec-{}.json", exec.id), self.path(&format!("exec-{}.pid", exec.id)));
        self.write(&document, &process)?;
        let path = self.path(&document);
        leave_mounts(context)?;
        let verb = ["exec", "--detach", "--process", &path, "--pid-file", &pid_file];
        let pid = self.run(&verb, process.terminal, stdio, report).and_then(|()| self.pid(&pid_file));
        for used in [&path, &pid_file] {
            let _ = fs::remove_file(used);
        }
        ToParent::Moved { pid: pid? }.send(report).map_err(text("tell of the process"))?;
        Ok(())
    }

    /// The overlay, attached in a mount namespace of this process's own.
    fn mount_root(
        &self,
        context: &Context,
        launch: &Launch,
        layers: Vec<BorrowedFd<'_>>,
        writable: Option<BorrowedFd<'_>>,
    ) -> Result<OwnedFd, String> {
        if launch.idmap_layers {
            return Err(format!("{} cannot run containers with user namespaces here", self.runtime.path));
        }
        let shared =
            |mount: &&oci::runtime::Mount| mount.options.iter().any(|word| word == "shared" || word == "rshared");
        if let Some(mount) = launch.spec.mounts.iter().find(shared) {
            let runtime = &self.runtime.path;
            return Err(format!("with {runtime}, what is mounted on {} cannot show on the host", mount.destination));
        }
        let writable = writable.ok_or("no writable layer")?;
        // Before the namespace changes: overlayfs takes no directory of another one.
        let overlay = init::overlay(&layers, writable, launch.ephemeral).map_err(|error| error.message())?;
        let target = self.make_directory(ROOT)?;
        leave_mounts(context)?;
        let target = Path::new(&target);
        sys::mount::attach(&overlay, open(target)?).map_err(text("attach the root"))?;
        open(target)
    }

    /// Our specification as others read it: what we tell beside it goes into it.
    fn adapt(&self, context: &Context, launch: &Launch, root: &OwnedFd, cgroup: &str) -> Result<Spec, String> {
        let spec = launch.spec.clone();
        let process = identified(&spec.process.unwrap_or_default(), launch.user.as_ref(), root)?;
        let seccomp = context
            .profile(launch.seccomp, spec.linux.seccomp.as_ref(), &launch.seccomp_profile, &process)
            .map_err(|error| error.message())?;
        let readonly = spec.root.as_ref().is_some_and(|root| root.readonly);
        Ok(Spec {
            // What every release of the others takes; nothing in here is newer.
            oci_version: "1.0.2".to_owned(),
            root: Some(SpecRoot { path: self.path(ROOT), readonly }),
            process: Some(process),
            linux: Linux { cgroups_path: cgroup.to_owned(), seccomp, ..spec.linux },
            ..spec
        })
    }

    /// Runs one of the runtime's commands on this container, and takes over the terminal that it makes.
    fn run(&self, verb: &[&str], terminal: bool, stdio: Option<&Streams>, report: &OwnedFd) -> Result<(), String> {
        let name = verb.first().copied().unwrap_or_default();
        let failed = |error: io::Error| format!("run {} {name}: {error}", self.runtime.path);
        let mut command = self.command(verb);
        let mut console = None;
        if terminal {
            // Names of sockets are short, directories' are not.
            rustix::process::chdir(&self.directory).map_err(|errno| failed(errno.into()))?;
            let _ = fs::remove_file(TERMINAL);
            console = Some(UnixListener::bind(TERMINAL).map_err(failed)?);
            command.arg("--console-socket").arg(format!("/proc/{}/cwd/{TERMINAL}", std::process::id()));
        }
        command.arg(&self.id);
        let null = || fs::File::open("/dev/null").map(OwnedFd::from);
        match stdio {
            Some([input, output, error]) => {
                command.stdin(input.try_clone().map_err(failed)?);
                command.stdout(output.try_clone().map_err(failed)?).stderr(error.try_clone().map_err(failed)?);
            }
            None => {
                command.stdin(Stdio::from(null().map_err(failed)?)).stdout(Stdio::null()).stderr(Stdio::null());
            }
        }
        let _ = fs::remove_file(self.directory.join(LOG));
        let mut child = command.spawn().map_err(failed)?;
        drop(command);
        let status = loop {
            if let Some(listener) = &console
                && let Some(master) = accept_terminal(listener).map_err(failed)?
            {
                ToParent::Terminal.send_with(report, &[master.as_fd()]).map_err(failed)?;
                console = None;
            }
            match (child.try_wait().map_err(failed)?, &console) {
                (Some(status), _) => break status,
                (None, None) => break child.wait().map_err(failed)?,
                (None, Some(_)) => {}
            }
        };
        if status.success() {
            return Ok(());
        }
        let reason = self.reason().unwrap_or_else(|| status.to_string());
        Err(format!("{} {name}: {reason}", self.runtime.path))
    }

    fn command(&self, verb: &[&str]) -> Command {
        let mut command = Command::new(&self.runtime.path);
        command.args(&self.runtime.arguments).arg("--root").arg(self.directory.join(STATE));
        command.arg("--log").arg(self.directory.join(LOG)).args(["--log-format", "json"]).args(verb);
        command.current_dir(&self.directory).env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        // One that hangs does not outlive who waits for it.
        sys::session::die_with_parent(&mut command);
        command
    }

    /// The last error in the runtime's log.
    fn reason(&self) -> Option<String> {
        let file = fs::File::open(self.directory.join(LOG)).ok()?;
        let bytes = sys::memfd::read_all(&file, MAX_LOG).ok()?;
        let log = String::from_utf8_lossy(&bytes).into_owned();
        let messages = log.lines().rev().filter_map(|line| {
            let entry: serde_json::Value = serde_json::from_str(line).ok()?;
            let error = matches!(entry.get("level")?.as_str()?, "error" | "fatal");
            error.then(|| entry.get("msg")?.as_str().map(str::to_owned)).flatten()
        });
        messages.into_iter().next()
    }

    /// The runtime forgets the container, and kills what is left of it. What stays when it fails, hoistd finds by the
    /// cgroup and removes with the directory.
    fn delete(&self) {
        let mut command = self.command(&["delete", "--force"]);
        command.arg(&self.id).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // A group of its own, so that the end of it reaches what it has started.
        command.process_group(0);
        let Ok(mut child) = command.spawn() else { return };
        let begun = Instant::now();
        while let Ok(None) = child.try_wait() {
            if begun.elapsed() > super::LONGEST_END {
                if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                let _ = child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// [`Foreign::delete`] by the shim, which stays in the host's mount namespace.
    pub fn forget(&self, context: &Context) {
        if let Ok(Side::Child) = sys::process::clone(context.proof, &Clone::default()).inspect(|side| {
            if let Side::Parent { pid } = side {
                let _ = sys::process::reap(Some(*pid), true);
            }
        }) {
            sys::signal::unblock_all();
            sys::signal::restore(sys::signal::SIGCHLD);
            if leave_mounts(context).is_ok() {
                self.delete();
            }
            sys::process::exit(0);
        }
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).to_string_lossy().into_owned()
    }

    fn make_directory(&self, name: &str) -> Result<PathBuf, String> {
        let path = self.directory.join(name);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(text("make the bundle"))?;
        Ok(path)
    }

    fn write(&self, name: &str, document: &impl serde::Serialize) -> Result<(), String> {
        let json = serde_json::to_vec(document).map_err(|error| error.to_string())?;
        fs::write(self.directory.join(name), json).map_err(text("write the bundle"))
    }

    fn pid(&self, file: &str) -> Result<i32, String> {
        let read = fs::read_to_string(file).map_err(text("read the runtime's pid file"))?;
        read.trim().parse().map_err(|_| format!("{} wrote the pid {read:?}", self.runtime.path))
    }
}

/// Goes to a mount namespace of this process's own. What the host mounts below shared directories still arrives.
fn leave_mounts(context: &Context) -> Result<(), String> {
    sys::process::unshare(context.proof, namespace::MOUNT).map_err(text("make a mount namespace"))?;
    sys::mount::set_attributes(open(Path::new("/"))?, true, 0, 0, sys::mount::propagation::SLAVE)
        .map_err(text("leave the host's mounts"))?;
    if context.hierarchies.needs_join() {
        // crun refuses hosts that have both versions of cgroups; limits are set in the first one there.
        let _ = sys::mount::detach_path(UNIFIED);
    }
    Ok(())
}

fn open(path: &Path) -> Result<OwnedFd, String> {
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(path, flags, rustix::fs::Mode::empty())
        .map_err(|errno| format!("open {}: {errno}", path.display()))
}

/// The terminal that the runtime hands over, once it does.
fn accept_terminal(listener: &UnixListener) -> io::Result<Option<OwnedFd>> {
    match rustix::event::poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&LOOK)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(None),
        other => other?,
    };
    let (stream, _) = listener.accept()?;
    let (_, descriptors) = sys::socket::receive(&stream, &mut [0; 256])?;
    descriptors.into_iter().next().map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A process with its user as numbers, and the home that goes with it.
fn identified(process: &Process, lookup: Option<&shim_api::UserLookup>, root: &OwnedFd) -> Result<Process, String> {
    let identity = init::identify(&Root::new(root.as_fd()), process, lookup).map_err(|error| error.message())?;
    let mut process = process.clone();
    if !process.env.iter().any(|variable| variable.starts_with("HOME=")) {
        process.env.push(format!("HOME={}", identity.home));
    }
    let additional_gids = identity.groups.iter().copied().filter(|gid| *gid != identity.gid).collect();
    process.user = User { uid: identity.uid, gid: identity.gid, additional_gids, ..process.user };
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_docker_s_codes() {
        for (message, expected, code) in [
            (
                "crun create: executable file `x` not found in $PATH: No such file or directory",
                "crun create: exec: \"x\": executable file not found in $PATH",
                127,
            ),
            ("runc create: exec: \"/x\": stat /x: no such file or directory", "", 127),
            ("runc create: exec: \"/etc\": permission denied", "", 126),
            ("crun create: cgroups", "", 128),
        ] {
            let failure = Failure::from(message.to_owned());
            let expected = if expected.is_empty() { message } else { expected };
            assert_eq!((failure.message.as_str(), failure.exit_code), (expected, code));
        }
    }
}
