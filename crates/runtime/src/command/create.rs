//! `create` and `run`.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use shim_api::{Launch, Seccomp};
use sys::process::{Clone, Ended, Side, namespace};
use sys::signal::{self, SignalFd};

use super::{Entry, Error, Options, Record, SOCKET, STATE, check_id, io};
use crate::init::{self, Gate};
use crate::report::ToParent;
use crate::{Context, seed};

/// Signals that mean a fault of the process that gets them: ILL, TRAP, ABRT, BUS, FPE, SEGV.
const FAULTS: [i32; 6] = [4, 5, 6, 7, 8, 11];

/// Makes the container up to the point where `start` runs the program.
pub fn create(options: &Options, id: &str) -> Result<Entry, Error> {
    check_id(id)?;
    // Inherited by what is cloned: nobody in a container looks into a process of ours that has just joined it.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let bundle = std::fs::canonicalize(&options.bundle).map_err(io(options.bundle.display().to_string()))?;
    let config = bundle.join("config.json");
    let file = std::fs::File::open(&config).map_err(io(config.display().to_string()))?;
    let bytes = sys::memfd::read_all(&file, seed::MAX_DOCUMENT).map_err(io(config.display().to_string()))?;
    let mut spec: oci::runtime::Spec =
        serde_json::from_slice(&bytes).map_err(|error| Error::Usage(format!("{}: {error}", config.display())))?;
    if let Some(root) = &mut spec.root {
        root.path = bundle.join(&root.path).to_string_lossy().into_owned();
    }
    for mount in &mut spec.mounts {
        if mount.kind == "bind" || mount.options.iter().any(|option| option == "bind" || option == "rbind") {
            mount.source = bundle.join(&mount.source).to_string_lossy().into_owned();
        }
    }
    let shares_processes = !spec.linux.namespaces.iter().any(|listed| listed.kind == "pid" && listed.path.is_empty());
    if shares_processes {
        run_sealed()?;
    }
    let terminal = spec.process.as_ref().is_some_and(|process| process.terminal);
    if terminal != options.console_socket.is_some() {
        return Err(Error::Usage("process.terminal and --console-socket go together".to_owned()));
    }
    std::fs::create_dir_all(&options.root).map_err(io(options.root.display().to_string()))?;
    let path = options.root.join(id);
    match std::fs::create_dir(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Err(Error::Exists(id.to_owned())),
        other => other.map_err(io(path.display().to_string()))?,
    }
    let made = create_in(&path, options, id, &bundle, spec);
    if made.is_err() {
        let _ = std::fs::remove_dir_all(&path);
    }
    made
}

/// Goes on from a sealed copy of this program.
///
/// Where others can see init before it has become the program, one with `CAP_SYS_PTRACE` could reach the host's file
/// through `/proc/<pid>/exe` and overwrite it later (CVE-2019-5736).
fn run_sealed() -> Result<(), Error> {
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

fn create_in(
    path: &Path,
    options: &Options,
    id: &str,
    bundle: &Path,
    spec: oci::runtime::Spec,
) -> Result<Entry, Error> {
    let context = Context::new()?;
    let directory = OwnedFd::from(std::fs::File::open(path).map_err(io(path.display().to_string()))?);
    let listener = sys::socket::seqpacket_listen(&directory, SOCKET).map_err(io(SOCKET))?;
    let cgroup = match spec.linux.cgroups_path.as_str() {
        "" => format!("/hoist-runtime/{id}"),
        given if given.starts_with('/') => given.to_owned(),
        given => format!("/{given}"),
    };
    let group = context.hierarchies.create(&cgroup)?;
    // Whatever is in it would be killed with the container; the root of all is never empty.
    let processes = group.processes()?.len();
    if processes > 0 {
        return Err(Error::CgroupInUse { path: cgroup, processes });
    }
    let own = init::Namespaces::of(&spec, &[]);
    let annotations = spec.annotations.clone();
    let resources = spec.linux.resources.clone().unwrap_or_default();
    let joined = spec.linux.namespaces.iter().find(|listed| listed.kind == "pid" && !listed.path.is_empty()).cloned();
    let launch = Launch { id: id.to_owned(), spec, seccomp: Seccomp::Spec, ..Launch::default() };
    let (ours, theirs) = sys::socket::seqpacket_pair().map_err(io("socket"))?;
    let mut first = None;
    let made = (|| {
        group.apply(&resources)?;
        let become_init = |creator, listener: OwnedFd| -> ! {
            sys::process::close_except(&[OwnedFd::as_fd(&creator), listener.as_fd()]);
            let _ = rustix::thread::set_name(c"hoist-init");
            init::run(&context, &launch, &[], None, Gate::Listener { creator, listener })
        };
        let clone_init = |sibling: bool| -> Result<Side, Error> {
            if let Some(joined) = &joined {
                let file = std::fs::File::open(&joined.path).map_err(io(joined.path.clone()))?;
                sys::process::join_namespaces(context.proof, &file, namespace::PID).map_err(io(joined.path.clone()))?;
            }
            let namespaces = if own.pid { namespace::PID } else { 0 };
            let options = Clone { namespaces, sibling, cgroup: group.v2_dir() };
            sys::process::clone(context.proof, &options).map_err(io("clone"))
        };
        let pid = if group.needs_join() {
            match clone_through_member(&context, &group, clone_init)? {
                Side::Parent { pid } => pid,
                Side::Child => become_init(theirs, listener),
            }
        } else {
            match clone_init(false)? {
                Side::Parent { pid } => pid,
                Side::Child => become_init(theirs, listener),
            }
        };
        first = Some(pid);
        drop((theirs, listener));
        wait_ready(&ours, options.console_socket.as_deref())?;
        if let Some(pid_file) = &options.pid_file {
            let mut temporary = pid_file.clone().into_os_string();
            temporary.push(".new");
            std::fs::write(&temporary, pid.to_string())
                .and_then(|()| std::fs::rename(&temporary, pid_file))
                .map_err(io(pid_file.display().to_string()))?;
        }
        let pid_start_time = sys::process::start_time(pid).map_err(io("read the start time"))?;
        let record = Record { id: id.to_owned(), bundle: bundle.to_owned(), pid, pid_start_time, cgroup, annotations };
        let bytes = serde_json::to_vec(&record).map_err(|error| io(STATE)(error.into()))?;
        let temporary = path.join(".state.json");
        std::fs::write(&temporary, bytes).map_err(io(STATE))?;
        std::fs::rename(&temporary, path.join(STATE)).map_err(io(STATE))?;
        Ok(Entry { path: path.to_owned(), directory, record })
    })();
    if made.is_err() {
        if let Some(pid) = first {
            let _ = signal::kill(pid, signal::SIGKILL);
            let _ = sys::process::reap(Some(pid), true);
        }
        let _ = group.remove_within(std::time::Duration::from_secs(5));
    }
    made
}

/// On cgroup v1: a child joins the cgroup and clones init, which is then ours. This process stays where it is.
fn clone_through_member(
    context: &Context,
    group: &cgroup::Cgroup,
    clone_init: impl FnOnce(bool) -> Result<Side, Error>,
) -> Result<Side, Error> {
    let (ours, theirs) = sys::socket::seqpacket_pair().map_err(io("socket"))?;
    let member = match sys::process::clone(context.proof, &Clone::default()).map_err(io("clone"))? {
        Side::Parent { pid } => pid,
        Side::Child => {
            drop(ours);
            let mut word = [0; 1];
            if !matches!(sys::socket::receive(&theirs, &mut word), Ok((1, _))) {
                sys::process::exit(1);
            }
            let answer = match clone_init(true) {
                Ok(Side::Child) => return Ok(Side::Child),
                Ok(Side::Parent { pid }) => pid.to_le_bytes().to_vec(),
                Err(error) => crate::shim::chain(&error).into_bytes(),
            };
            let _ = sys::socket::send(&theirs, &answer, &[]);
            sys::process::exit(0)
        }
    };
    drop(theirs);
    let cloned = group.join_v1(member).map_err(Error::from).and_then(|()| {
        sys::socket::send(&ours, b"J", &[]).map_err(io("clone"))?;
        let mut answer = [0; 4096];
        let (length, _) = sys::socket::receive(&ours, &mut answer).map_err(io("clone"))?;
        match <[u8; 4]>::try_from(&answer[..length]) {
            Ok(pid) => Ok(Side::Parent { pid: i32::from_le_bytes(pid) }),
            Err(_) => Err(Error::Start(String::from_utf8_lossy(&answer[..length]).into_owned())),
        }
    });
    drop(ours);
    let _ = sys::process::reap(Some(member), true);
    cloned
}

/// Waits until init stands at its gate; its terminal goes to the console socket.
fn wait_ready(report: &OwnedFd, console: Option<&Path>) -> Result<(), Error> {
    loop {
        match ToParent::receive(report).map_err(io("hear from the container's first process"))? {
            Some((ToParent::Ready, _)) => return Ok(()),
            Some((ToParent::Terminal, descriptors)) => {
                if let (Some(master), Some(console)) = (descriptors.first(), console) {
                    sys::socket::send_to_stream(console, b"/dev/ptmx", master)
                        .map_err(io(console.display().to_string()))?;
                }
            }
            Some((ToParent::Failed { message, .. }, _)) => return Err(Error::Start(message)),
            None => return Err(Error::Start("the container's first process ended early".to_owned())),
        }
    }
}

/// `create`, `start`, wait, `delete`; the program's exit status. Detached: `create` and `start`.
pub fn run(options: &Options, id: &str) -> Result<i32, Error> {
    let passed_on: Vec<i32> = (1..=signal::MAX)
        .filter(|number| !matches!(*number, signal::SIGKILL | signal::SIGSTOP | signal::SIGTSTP))
        .filter(|number| !FAULTS.contains(number))
        .collect();
    let signals = SignalFd::new(&passed_on).map_err(io("signals"))?;
    let entry = create(options, id)?;
    let started = super::start::start(&entry);
    if started.is_err() {
        let _ = signal::kill(entry.record.pid, signal::SIGKILL);
    }
    if options.detach && started.is_ok() {
        return Ok(0);
    }
    let ended = wait(entry.record.pid, &signals).map_err(io("wait"));
    super::delete::forget(&entry)?;
    started?;
    Ok(ended?.code())
}

/// Waits for the program, and passes signals on to it.
fn wait(pid: i32, signals: &SignalFd) -> std::io::Result<Ended> {
    let mut ready = [rustix::event::PollFd::new(signals, rustix::event::PollFlags::IN)];
    loop {
        while let Some(number) = signals.next()? {
            if number != signal::SIGCHLD {
                // A child that is not reaped yet.
                let _ = signal::kill(pid, number);
            }
        }
        match sys::process::reap(Some(pid), false)? {
            Some((_, ended)) => return Ok(ended),
            None => match rustix::event::poll(&mut ready, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            },
        }
    }
}
