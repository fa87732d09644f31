//! `create`: a container up to the point where `start` runs the program.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use oci::capability::CapSet;
use oci::runtime::{Resources, Spec, State};
use shim_api::{Launch, Seccomp};
use sys::process::{Clone, Side, namespace};
use sys::signal;

use super::console::Console;
use super::options::Given;
use super::place::{self, Place};
use super::record::{CONFIG, Record, SOCKET, check_id};
use super::{Entry, Error, Status, io, log, root};
use crate::init::{self, Gate};
use crate::report::ToParent;
use crate::{Context, hooks, seed};

/// A container that waits for `start`.
#[derive(Debug)]
pub struct Made {
    pub entry: Entry,
    /// Its terminal, if this process is to relay it.
    pub master: Option<OwnedFd>,
    /// Its cgroup, if it has one of its own.
    pub group: Option<cgroup::Cgroup>,
    /// Where it waits for the word to start, if nobody else can say it.
    pub report: Option<OwnedFd>,
}

/// Who says when the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starter {
    /// `start`, over a socket in the container's directory.
    Anybody,
    /// This process: no socket, and nothing to look up (`run`).
    Creator,
}

pub fn command(given: &Given) -> Result<i32, Error> {
    create(given, Starter::Anybody, |terminal| Console::choose(given, terminal, false)).map(|_| 0)
}

/// Makes the container. `console` chooses what happens to the program's terminal.
pub fn create(
    given: &Given,
    starter: Starter,
    console: impl FnOnce(bool) -> Result<Console, Error>,
) -> Result<Made, Error> {
    let id = given.id_and(0)?;
    check_id(id)?;
    // Inherited by what is cloned: nobody in a container looks into a process of ours that has just joined it.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let preserved = preserved(given)?;
    let bundle = Path::new(given.value("bundle").unwrap_or("."));
    let bundle = std::fs::canonicalize(bundle).map_err(io(bundle.display().to_string()))?;
    let config = bundle.join("config.json");
    let file = std::fs::File::open(&config).map_err(io(config.display().to_string()))?;
    let bytes = sys::memfd::read_all(&file, seed::MAX_DOCUMENT).map_err(io(config.display().to_string()))?;
    let mut spec: Spec =
        serde_json::from_slice(&bytes).map_err(|error| Error::Usage(format!("{}: {error}", config.display())))?;
    make_absolute(&mut spec, &bundle);
    lift(&mut spec);
    check_process(&spec)?;
    let shares_processes = !spec.linux.namespaces.iter().any(|listed| listed.kind == "pid" && listed.path.is_empty());
    let shares_mounts = !spec.linux.namespaces.iter().any(|listed| listed.kind == "mount");
    if shares_processes || shares_mounts {
        run_sealed()?;
    }
    let console = console(spec.process.as_ref().is_some_and(|process| process.terminal))?;
    let root = root(given);
    std::fs::create_dir_all(&root).map_err(io(root.display().to_string()))?;
    let path = root.join(id);
    match std::fs::create_dir(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Err(Error::Exists(id.to_owned())),
        other => other.map_err(io(path.display().to_string()))?,
    }
    let made = Creation { given, id, path: &path, bundle: &bundle, config: &bytes, console, preserved, starter }
        .carry_out(spec);
    if made.is_err() {
        let _ = std::fs::remove_dir_all(&path);
    }
    made
}

/// Relative paths of the configuration are the bundle's.
fn make_absolute(spec: &mut Spec, bundle: &Path) {
    if let Some(root) = &mut spec.root {
        root.path = bundle.join(&root.path).to_string_lossy().into_owned();
    }
    for mount in &mut spec.mounts {
        if mount.kind == "bind" || mount.options.iter().any(|option| option == "bind" || option == "rbind") {
            mount.source = bundle.join(&mount.source).to_string_lossy().into_owned();
        }
    }
}

/// Before 1.3 of the specification there was no way to say "no limit" but 0, and 0 meant that.
fn lift(spec: &mut Spec) {
    let older =
        spec.oci_version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok()).is_none_or(|minor| minor < 3);
    let pids = spec.linux.resources.as_mut().and_then(|resources| resources.pids.as_mut());
    if let Some(pids) = pids.filter(|pids| older && pids.limit == Some(0)) {
        pids.limit = Some(-1);
    }
}

/// What a process must have, if there is one: without any, `start` is what fails.
fn check_process(spec: &Spec) -> Result<(), Error> {
    let Some(process) = &spec.process else { return Ok(()) };
    match (process.cwd.as_str(), process.args.is_empty()) {
        ("", _) => Err(Error::Usage("process.cwd is not set".to_owned())),
        (_, true) => Err(Error::Usage("process.args is empty".to_owned())),
        _ => Ok(()),
    }
}

/// `--preserve-fds`: how many descriptors from 3 on the program keeps. Each of them must be there, or one of ours would
/// take its number.
pub fn preserved(given: &Given) -> Result<u32, Error> {
    let count: u32 = given.number("preserve-fds")?.unwrap_or(0);
    for number in (3..).take(count as usize) {
        if std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_err() {
            return Err(Error::Usage(format!("--preserve-fds {count}: descriptor {number} is not open")));
        }
    }
    Ok(count)
}

/// Goes on from a sealed copy of this program.
///
/// Where others can see init before it has become the program, one with `CAP_SYS_PTRACE` could reach the host's file
/// through `/proc/<pid>/exe` and overwrite it later (CVE-2019-5736).
pub fn run_sealed() -> Result<(), Error> {
    let failed = |error| io("run from a sealed copy")(error);
    let own = std::fs::read_link("/proc/self/exe").map_err(failed)?;
    if own.to_string_lossy().starts_with("/memfd:") {
        return Ok(());
    }
    let copy = sys::memfd::sealed_copy(Path::new("/proc/self/exe")).map_err(failed)?;
    let text = |strings: Vec<std::ffi::OsString>| -> Vec<String> {
        strings.into_iter().map(|string| string.to_string_lossy().into_owned()).collect()
    };
    let arguments = text(std::env::args_os().collect());
    let environment = std::env::vars_os().map(|(name, value)| [name, value].join("=".as_ref())).collect();
    let environment = sys::process::StringVector::new(&text(environment)).map_err(failed)?;
    let arguments = sys::process::StringVector::new(&arguments).map_err(failed)?;
    let path = std::ffi::CString::new(format!("/proc/self/fd/{}", copy.as_raw_fd())).expect("no NUL in a number");
    Err(failed(sys::process::exec(&path, &arguments, &environment)))
}

/// What a container is made of.
struct Creation<'a> {
    given: &'a Given,
    id: &'a str,
    path: &'a Path,
    bundle: &'a Path,
    config: &'a [u8],
    console: Console,
    preserved: u32,
    starter: Starter,
}

impl Creation<'_> {
    fn carry_out(self, spec: Spec) -> Result<Made, Error> {
        let context = Context::new()?;
        let directory = OwnedFd::from(std::fs::File::open(self.path).map_err(io(self.path.display().to_string()))?);
        let listener = match self.starter {
            Starter::Anybody => Some(sys::socket::seqpacket_listen(&directory, SOCKET).map_err(io(SOCKET))?),
            Starter::Creator => None,
        };
        let mut place = Place::make(&context, self.given, self.id, &spec)?;
        let mut first = None;
        let record = Record {
            id: self.id.to_owned(),
            bundle: self.bundle.to_owned(),
            rootfs: spec.root.as_ref().map(|root| root.path.clone()).unwrap_or_default(),
            created: logs::time::now_ns(),
            owner: rustix::process::geteuid().as_raw(),
            cgroup: place.path.clone(),
            unit: place.unit.clone(),
            annotations: spec.annotations.clone(),
            hooks: spec.hooks.clone(),
            ..Record::default()
        };
        let made = self.make(&context, spec, (directory, listener), &place, &record, &mut first);
        place.settled();
        if made.is_err() {
            if let Some(pid) = first {
                let _ = signal::kill(pid, signal::SIGKILL);
                let _ = sys::process::reap(Some(pid), true);
            }
            place.abandon();
            if first.is_some() {
                record.after_stop();
            }
        }
        made.map(|made| Made { group: place.group.take(), ..made })
    }

    fn make(
        &self,
        context: &Context,
        spec: Spec,
        (directory, listener): (OwnedFd, Option<OwnedFd>),
        place: &Place,
        record: &Record,
        first: &mut Option<i32>,
    ) -> Result<Made, Error> {
        let mut resources = spec.linux.resources.clone().unwrap_or_default();
        note_without_effect(&spec);
        let own = init::Namespaces::of(&spec, &[]);
        let joined = spec.linux.namespaces.iter().find(|listed| listed.kind == "pid" && !listed.path.is_empty());
        // With a user namespace, the container's first process sees to its pid namespace itself.
        let joined = joined.filter(|_| !own.in_steps()).map(|listed| listed.path.clone());
        let launch = Launch {
            id: self.id.to_owned(),
            spec,
            seccomp: Seccomp::Spec,
            preserve: self.preserved,
            no_pivot: self.given.is_on("no-pivot"),
            keyring: if self.given.is_on("no-new-keyring") { String::new() } else { keyring(self.id) },
            ..Launch::default()
        };
        let (ours, theirs) = sys::socket::seqpacket_pair().map_err(io("socket"))?;
        let group = place.group.as_ref();
        let joins = group.is_some_and(cgroup::Cgroup::needs_join);
        // The number of processes comes last: it counts those that make the container, too.
        let pids = resources.pids.take();
        // On version 1 a list of devices begins with "deny all": nobody may be inside when it is written. The rest of the
        // limits is in force before a process is born into the cgroup, or set while it works.
        let (first_limits, later_limits) = match joins {
            true => {
                let devices = Resources { devices: resources.devices.clone(), ..Resources::default() };
                (devices, Resources { devices: Vec::new(), ..resources.clone() })
            }
            false => (resources.clone(), Resources::default()),
        };
        group.map_or(Ok(()), |group| limit(group, &first_limits))?;
        if let (Some(group), Some(uid)) = (group, cgroup_owner(&launch.spec, own.user))
            && let Err(error) = group.give_to(uid)
        {
            log::warning(&crate::shim::chain(&error));
        }
        let clone_init = |sibling: bool, inside: bool| -> Result<Side, Error> {
            if let Some(path) = &joined {
                let file = std::fs::File::open(path).map_err(io(path.clone()))?;
                sys::process::join_namespaces(context.proof, &file, namespace::PID).map_err(io(path.clone()))?;
            }
            let namespaces = if own.cloned_into_pid() { namespace::PID } else { 0 };
            let cgroup = group.filter(|_| inside).and_then(cgroup::Cgroup::v2_dir);
            let options = Clone { namespaces, sibling, cgroup, ..Clone::default() };
            sys::process::clone(context.proof, &options).map_err(io("clone"))
        };
        // The version 1 part is joined beside what it makes.
        let cloned = match joins {
            true => clone_init(false, true),
            false => place::clone_in(context, group, &place.unit, clone_init),
        };
        let pid = match cloned? {
            Side::Parent { pid } => pid,
            Side::Child => {
                let own_cgroup = init::own_cgroup(&launch.spec, group);
                let mut kept = vec![theirs.as_fd()];
                kept.extend(listener.as_ref().map(AsFd::as_fd));
                kept.extend(own_cgroup.iter().flatten().flatten().map(AsFd::as_fd));
                sys::process::close_from_except(3 + self.preserved, &kept);
                let _ = rustix::thread::set_name(c"hoist-init");
                let state = Box::new(record.state(Status::Created));
                let gate = Gate::Listener { creator: theirs, listener, state, joins };
                init::run(context, &launch, &[], None, gate, own_cgroup)
            }
        };
        *first = Some(pid);
        log::debug(|| format!("{}: process {pid} in cgroup {:?}", self.id, place.path));
        drop((theirs, listener));
        if let Some(group) = group.filter(|_| joins) {
            // Beside what it makes meanwhile: the first join after a rest waits for the kernel (5–9 ms).
            let joined = group.join_v1(pid).map_err(Error::from).and_then(|()| limit(group, &later_limits));
            let told = joined.and_then(|()| ToParent::go(&ours, pid).map_err(io("tell of the cgroup")));
            told.map_err(|error| failed_itself(&ours, pid).unwrap_or(error))?;
        }
        std::fs::write(self.path.join(CONFIG), self.config).map_err(io(CONFIG))?;
        let master = wait_ready(&ours, &self.console, record, first)?;
        resources.pids = pids;
        if let (Some(group), Some(_)) = (group, &resources.pids) {
            limit(group, &Resources { pids: resources.pids.clone(), ..Resources::default() })?;
        }
        let pid = first.unwrap_or(pid);
        if let Some(pid_file) = self.given.value("pid-file") {
            write_pid(pid_file, pid)?;
        }
        let pid_start_time = sys::process::start_time(pid).map_err(io("read the start time"))?;
        let record = Record { pid, pid_start_time, resources, ..record.clone() };
        Entry::store(self.path, &record)?;
        let report = (self.starter == Starter::Creator).then_some(ours);
        Ok(Made { entry: Entry { path: self.path.to_owned(), directory, record }, master, group: None, report })
    }
}

/// Whose the cgroup is to be: the user's inside, if that is another one there than here, sees the cgroup as the root of all,
/// and may write (runtime-spec config-linux.md, "Cgroup ownership").
fn cgroup_owner(spec: &Spec, new_user: bool) -> Option<u32> {
    let listed = |kind: &str| spec.linux.namespaces.iter().any(|listed| listed.kind == kind && listed.path.is_empty());
    let writable = |mount: &oci::runtime::Mount| {
        let options = crate::mount_option::parse(&mount.options).unwrap_or_default();
        matches!(mount.kind.as_str(), "cgroup" | "cgroup2")
            && (options.set | options.recursive_set) & sys::mount::attribute::RDONLY == 0
    };
    if !new_user || !listed("cgroup") || !spec.mounts.iter().any(writable) {
        return None;
    }
    let inside = spec.process.as_ref().map_or(0, |process| process.user.uid);
    let ranges = spec.linux.uid_mappings.iter();
    let mut outside = ranges.filter_map(|range| {
        let offset = inside.checked_sub(range.container_id).filter(|offset| *offset < range.size)?;
        range.host_id.checked_add(offset)
    });
    outside.next()
}

/// Limits of a configuration; where it restricts devices, those that every container has are added.
fn limit(group: &cgroup::Cgroup, resources: &Resources) -> Result<(), Error> {
    let mut limits = resources.clone();
    if !limits.devices.is_empty() {
        limits.devices.extend(crate::default_devices::rules());
    }
    Ok(group.apply(&limits)?)
}

/// Why the container's first process has ended by itself, if it has: that explains what failed here.
fn failed_itself(report: &OwnedFd, pid: i32) -> Option<Error> {
    let _ = signal::kill(pid, signal::SIGKILL);
    loop {
        match ToParent::receive(report) {
            Ok(Some((ToParent::Failed { message, .. }, _))) => return Some(Error::Start(message)),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

/// Says what is in a configuration and means nothing on this machine.
fn note_without_effect(spec: &Spec) {
    note_capabilities(spec);
    if !spec.linux.mount_label.is_empty() && !init::has_selinux() {
        log::warning("linux.mountLabel has no effect: SELinux is not enabled in this kernel");
    }
    for mount in &spec.mounts {
        let options = crate::mount_option::parse(&mount.options).unwrap_or_default();
        if let (true, Some((key, _))) = (options.bind.is_some() || mount.kind == "bind", options.data.first()) {
            log::warning(&format!(
                "mount option \"{key}\" has no effect on a bind mount (mount on {})",
                mount.destination
            ));
        }
    }
}

/// "Any value which cannot be mapped to a relevant kernel interface, or cannot be granted otherwise, MUST be logged as a
/// warning" (runtime-spec config.md, "Linux Process").
fn note_capabilities(spec: &Spec) {
    let Some(sets) = spec.process.as_ref().and_then(|process| process.capabilities.as_ref()) else { return };
    let mut names: Vec<&str> = [&sets.bounding, &sets.permitted, &sets.effective, &sets.inheritable, &sets.ambient]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    names.dedup();
    // Root of a user namespace has them all in there.
    let everything = spec.linux.namespaces.iter().any(|listed| listed.kind == "user");
    let held = match rustix::thread::capabilities(None) {
        Ok(sets) if !everything => CapSet(sets.permitted.bits()),
        _ => CapSet(u64::MAX),
    };
    for name in names {
        match CapSet::from_names(&[name]) {
            Err(error) => log::warning(&format!("{error} is not granted")),
            Ok(set) if !held.contains_all(set) => {
                log::warning(&format!("capability {name} cannot be granted: this process does not have it"));
            }
            Ok(_) => {}
        }
    }
}

/// The name of a container's session keyring, so that `exec` finds it; runc's.
pub fn keyring(id: &str) -> String {
    format!("_ses.{id}")
}

/// `--pid-file`: whole or not at all.
pub fn write_pid(path: &str, pid: i32) -> Result<(), Error> {
    let temporary = format!("{path}.new");
    std::fs::write(&temporary, pid.to_string())
        .and_then(|()| std::fs::rename(&temporary, path))
        .map_err(io(path.to_owned()))
}

/// Waits until init stands at its gate; its terminal goes where it is wanted, and the hooks of this side are run.
///
/// `first`: its number, which changes when it goes on as another process.
fn wait_ready(
    report: &OwnedFd,
    console: &Console,
    record: &Record,
    first: &mut Option<i32>,
) -> Result<Option<OwnedFd>, Error> {
    let mut kept = None;
    loop {
        match ToParent::receive(report).map_err(io("hear from the container's first process"))? {
            Some((ToParent::Ready, _)) => return Ok(kept),
            Some((ToParent::Terminal, descriptors)) => {
                if let Some(master) = descriptors.into_iter().next() {
                    kept = console.hand_over(master)?;
                }
            }
            Some((ToParent::Moved { pid }, _)) => {
                if let Some(before) = first.replace(pid) {
                    let _ = sys::process::reap(Some(before), true);
                }
            }
            Some((ToParent::Hooks, _)) => {
                let pid = first.unwrap_or_default();
                let created = State { pid, ..record.state(Status::Created) };
                let state = State { status: "creating".to_owned(), ..created.clone() };
                let (hooks, bundle) = (&record.hooks, Some(record.bundle.as_path()));
                // Those are of runtime-spec 1.0, where they ran between `create` and the program, in the state "created".
                hooks::run(&hooks.prestart, &created, bundle)
                    .and_then(|()| hooks::run(&hooks.create_runtime, &state, bundle))
                    .map_err(|error| Error::Start(crate::shim::chain(&error)))?;
                ToParent::go(report, pid).map_err(io("go on after hooks"))?;
            }
            Some((ToParent::Network, _)) => {}
            Some((ToParent::Failed { message, .. }, _)) => return Err(Error::Start(message)),
            None => return Err(Error::Start("the container's first process ended early".to_owned())),
        }
    }
}
