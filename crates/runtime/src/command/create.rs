//! `create` and `run`.

use std::os::fd::OwnedFd;
use std::path::Path;

use shim_api::{Launch, Seccomp};
use sys::process::{Clone, Side, namespace};

use super::{Entry, Error, Options, Record, SOCKET, STATE, check_id, io};
use crate::init::{self, Gate};
use crate::report::ToParent;
use crate::{Context, seed};

/// Makes the container up to the point where `start` runs the program.
pub fn create(options: &Options, id: &str) -> Result<Entry, Error> {
    check_id(id)?;
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
    let own = init::Namespaces::of(&spec, &[]);
    let annotations = spec.annotations.clone();
    let resources = spec.linux.resources.clone().unwrap_or_default();
    let joined = spec.linux.namespaces.iter().find(|listed| listed.kind == "pid" && !listed.path.is_empty()).cloned();
    let launch = Launch { id: id.to_owned(), spec, seccomp: Seccomp::Spec, ..Launch::default() };
    let (ours, theirs) = sys::socket::seqpacket_pair().map_err(io("socket"))?;
    let mut first = None;
    let made = (|| {
        group.apply(&resources)?;
        if group.needs_join() {
            // This process joins, so that its child is born in the cgroup.
            group.join(std::process::id() as i32)?;
        }
        if let Some(joined) = joined {
            let file = std::fs::File::open(&joined.path).map_err(io(joined.path.clone()))?;
            sys::process::join_namespaces(context.proof, &file, namespace::PID).map_err(io(joined.path))?;
        }
        let namespaces = if own.pid { namespace::PID } else { 0 };
        let cloned = sys::process::clone(context.proof, &Clone { namespaces, sibling: false, cgroup: group.v2_dir() });
        let pid = match cloned.map_err(io("clone"))? {
            Side::Parent { pid } => pid,
            Side::Child => {
                let _ = rustix::thread::set_name(c"hoist-init");
                let gate = Gate::Listener { creator: theirs, listener };
                init::run(&context, &launch, &[], None, gate)
            }
        };
        first = Some(pid);
        drop((theirs, listener));
        wait_ready(&ours, options.console_socket.as_deref())?;
        if let Some(pid_file) = &options.pid_file {
            std::fs::write(pid_file, pid.to_string()).map_err(io(pid_file.display().to_string()))?;
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
            let _ = sys::signal::kill(pid, sys::signal::SIGKILL);
            let _ = sys::process::reap(Some(pid), true);
        }
        leave(&context);
        let _ = group.remove();
    }
    made
}

/// Back to the top, so that the container's cgroup can be removed while this process lives.
fn leave(context: &Context) {
    if let Ok(top) = context.hierarchies.open("/") {
        let _ = top.join(std::process::id() as i32);
    }
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

/// `create`, `start`, wait, `delete`; the program's exit status.
pub fn run(options: &Options, id: &str) -> Result<i32, Error> {
    let entry = create(options, id)?;
    let started = super::start::start(&entry);
    if started.is_err() {
        let _ = sys::signal::kill(entry.record.pid, sys::signal::SIGKILL);
    }
    let ended = sys::process::reap(Some(entry.record.pid), true).map_err(io("wait"))?;
    leave(&Context::new()?);
    super::delete::forget(&entry)?;
    started?;
    Ok(ended.map_or(255, |(_, ended)| ended.code()))
}
