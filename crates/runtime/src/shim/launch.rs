//! From a `Launch` to a container whose first process waits for the word to start.

use std::os::fd::{AsFd, OwnedFd};

use shim_api::{Launch, Log, ProcessRef, Role, names};
use sys::signal::{self, SignalFd};

use super::foreign::Foreign;
use super::place::Place;
use super::process::Child;
use super::streams::Streams;
use super::{SEED_STAYS, Shim, Stage};
use crate::seed::{self, Kind, Request};
use crate::{Context, init};

/// Room for messages and for what programs write. More than is ever used: an allocation of this size is mapped by itself, and
/// takes memory only where something was read into it.
const BUFFER: usize = 256 * 1024;
const _: () = assert!(BUFFER >= shim_api::MAX_MESSAGE);

/// A place that is taken back by the error that ends its scope.
struct Prepared(Option<Place>);

impl Drop for Prepared {
    fn drop(&mut self) {
        if let Some(place) = self.0.take() {
            place.abandon(None);
        }
    }
}

/// Joins an error with its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Makes the container up to its gate. On failure nothing of it is left, and the message says why.
pub fn launch<'c>(
    context: &'c Context,
    parent: &str,
    document: &OwnedFd,
    descriptors: Vec<OwnedFd>,
    prepared: Option<Place>,
) -> Result<Shim<'c>, String> {
    let error = |error: std::io::Error| error.to_string();
    let mut prepared = Prepared(prepared);
    let signals = SignalFd::new(&[
        signal::SIGCHLD,
        signal::SIGTERM,
        signal::SIGINT,
        signal::SIGHUP,
        signal::SIGPIPE,
        signal::SIGQUIT,
    ])
    .map_err(error)?;
    let bytes = sys::memfd::read_all(document, seed::MAX_DOCUMENT).map_err(error)?;
    let launch: Launch = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    drop(bytes);
    let path = match launch.cgroup.starts_with('/') {
        true => launch.cgroup.clone(),
        false => format!("{parent}/{}", launch.cgroup),
    };
    if launch.descriptors.len() != descriptors.len() {
        return Err(format!("{} descriptors came with {} roles", descriptors.len(), launch.descriptors.len()));
    }
    let own = init::Namespaces::of(&launch.spec, &launch.descriptors);
    let pid_namespace = if own.in_steps() { None } else { pid_namespace(&launch, &descriptors)? };
    let devices =
        launch.spec.linux.resources.as_ref().map(|resources| resources.devices.as_slice()).unwrap_or_default();
    let exec_dir = launch.descriptors.iter().zip(&descriptors).find(|(role, _)| **role == Role::ExecDir);
    let foreign = Foreign::new(&launch, exec_dir.map(|(_, descriptor)| descriptor))?;
    let place = match prepared.0.take() {
        prepared if foreign.is_some() => {
            drop(Prepared(prepared));
            Place::bare(context, &path).map_err(|error| chain(&error))?
        }
        Some(mut place) => match place.settle(context, parent, &path).and_then(|()| place.limit_devices(devices)) {
            Ok(()) => place,
            Err(error) => {
                place.abandon(None);
                return Err(chain(&error));
            }
        },
        None => Place::make(context, &path, devices).map_err(|error| chain(&error))?,
    };
    let terminal = launch.spec.process.as_ref().is_some_and(|process| process.terminal);
    let begun = (|| {
        let (streams, stdio) = Streams::new(terminal, launch.stdin, launch.stdin_once)?;
        let (report, theirs) = sys::socket::seqpacket_pair()?;
        if let Some(foreign) = &foreign {
            let pid = foreign.create(context, &launch, (&descriptors, stdio.as_ref()), &theirs, &path)?;
            return Ok((pid, report, streams));
        }
        let request = Request {
            kind: Kind::Init { pid_namespace: own.cloned_into_pid() },
            report: theirs.as_fd(),
            document: document.as_fd(),
            stdio: stdio.as_ref(),
            v2: place.group.v2_dir(),
            pid_namespace: pid_namespace.as_ref().map(AsFd::as_fd),
            rest: descriptors.iter().map(AsFd::as_fd).collect(),
        };
        let pid = place.clone_process(context, &request, &descriptors)?;
        Ok::<_, std::io::Error>((pid, report, streams))
    })();
    let (pid, report, streams) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            place.abandon(None);
            return Err(format!("clone the container's first process: {error}"));
        }
    };
    // From here on init works beside us; it waits at the gate before it runs anything of the user's.
    let limits = foreign.is_none();
    match finish(launch, descriptors, &place, limits) {
        Ok(rest) => Ok(Shim {
            context,
            id: rest.launch.id.clone(),
            cgroup: path,
            place,
            foreign,
            strays: Vec::new(),
            seed_until: sys::clock::monotonic_ms() + SEED_STAYS,
            keep_seed: rest.keep_seed,
            stage: Stage::Created { start: false },
            start_time: sys::process::start_time(std::process::id() as i32).unwrap_or(0),
            own_processes: own.pid,
            own_users: own.user || own.joins_user,
            entrance: init::Entrance::of(&rest.launch.spec),
            control: None,
            listener: rest.listener,
            newcomer: None,
            released: false,
            signals,
            exec_dir: rest.exec_dir,
            log: rest.log,
            log_news: super::LogNews::default(),
            children: vec![Child::new(ProcessRef::Init, pid, report, streams)],
            hold: rest.hold,
            mounts: None,
            buffer: vec![0; BUFFER],
        }),
        Err(message) => {
            place.abandon(Some(pid));
            Err(message)
        }
    }
}

/// The existing pid namespace that the container is to be in: given as a descriptor, or by its path.
fn pid_namespace(launch: &Launch, descriptors: &[OwnedFd]) -> Result<Option<OwnedFd>, String> {
    let given = launch.descriptors.iter().zip(descriptors).find(|(role, _)| **role == Role::PidNs);
    if let Some((_, descriptor)) = given {
        return descriptor.try_clone().map(Some).map_err(|error| error.to_string());
    }
    let listed = launch.spec.linux.namespaces.iter().find(|listed| listed.kind == "pid" && !listed.path.is_empty());
    let open = |path: &str| std::fs::File::open(path).map_err(|error| format!("open {path}: {error}"));
    Ok(listed.map(|listed| open(&listed.path)).transpose()?.map(OwnedFd::from))
}

/// What is made beside init.
struct Rest {
    launch: Launch,
    keep_seed: bool,
    listener: Option<OwnedFd>,
    exec_dir: Option<OwnedFd>,
    log: Option<logs::json_file::Writer>,
    hold: Vec<OwnedFd>,
}

/// `limits`: they are ours to set.
fn finish(launch: Launch, descriptors: Vec<OwnedFd>, place: &Place, limits: bool) -> Result<Rest, String> {
    let mut resources = launch.spec.linux.resources.clone().unwrap_or_default();
    // Applied before init was cloned.
    resources.devices.clear();
    if limits {
        place.group.apply(&resources).map_err(|error| chain(&error))?;
    }
    let keep_seed = resources.pids.is_none_or(|pids| pids.limit.unwrap_or(0) <= 0);
    let (mut exec_dir, mut log_dir, mut hold) = (None, None, Vec::new());
    for (role, descriptor) in launch.descriptors.iter().zip(descriptors) {
        match role {
            Role::ExecDir => exec_dir = Some(descriptor),
            Role::LogDir => log_dir = Some(descriptor),
            Role::Hold => hold.push(descriptor),
            // Init has its own copies of the rest.
            _ => {}
        }
    }
    let log = match (&launch.log, log_dir) {
        (Some(Log::JsonFile { max_size, max_files, max_age, attrs, forwarded, blocking }), Some(directory)) => {
            let settings = logs::json_file::Settings {
                max_size: *max_size,
                max_files: *max_files,
                max_age: *max_age,
                attrs: attrs.clone(),
                forwarded: *forwarded,
                blocking: *blocking,
            };
            let writer = logs::json_file::Writer::new(directory, settings);
            Some(writer.map_err(|error| chain(&error))?)
        }
        _ => None,
    };
    // Last, so that a failure leaves no socket behind.
    let listener = exec_dir.as_ref().map(|directory| sys::socket::seqpacket_listen(directory, names::SOCKET));
    let listener = listener.transpose().map_err(|error| format!("listen on {}: {error}", names::SOCKET))?;
    Ok(Rest { launch, keep_seed, listener, exec_dir, log, hold })
}
