//! A process that sits in a container's cgroup and is cloned from.
//!
//! On cgroup v1 the first move of a process after a rest waits for an RCU grace period (5 to 9 ms). A seed pays it in
//! advance: it joins when nobody waits, and what it clones is born in the cgroup, as a child of the seed's parent.
//!
//! ```text
//!  shim ──[kind, parts] + descriptors──▶ seed ──clone3(CLONE_PARENT)──▶ child of the shim, in the cgroup
//!       ◀──pid or -errno────────────────
//! ```

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::Signal;
use sys::process::{Clone, Side, namespace};

use crate::init::Entrance;
use crate::{Context, init};

/// Largest document (`Launch`, `Exec`) in bytes.
pub const MAX_DOCUMENT: u64 = 16 << 20;

/// The shim's end.
#[derive(Debug)]
pub struct Seed {
    socket: OwnedFd,
    pub pid: i32,
}

/// What to clone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Descriptors: report socket, launch memfd, [standard streams], the launch's descriptors.
    Init { pid_namespace: bool },
    /// Descriptors: report socket, exec memfd, [standard streams], pidfd of the container.
    Exec(Entrance),
}

/// Bits of a request's second byte: which optional descriptors come along, in this order.
const WITH_STDIO: u8 = 1;
const WITH_V2: u8 = 2;
const WITH_PID: u8 = 4;

/// A request with its descriptors, in order.
#[derive(Debug)]
pub struct Request<'fd> {
    pub kind: Kind,
    pub report: BorrowedFd<'fd>,
    pub document: BorrowedFd<'fd>,
    pub stdio: Option<&'fd init::Stdio>,
    /// The cgroup's directory in a v2 hierarchy, in which the process is born beside the v1 ones that the seed is in.
    pub v2: Option<BorrowedFd<'fd>>,
    /// An existing pid namespace for a container's first process.
    pub pid_namespace: Option<BorrowedFd<'fd>>,
    pub rest: Vec<BorrowedFd<'fd>>,
}

impl Seed {
    /// Forks a seed; it still has to be moved into the cgroup.
    pub fn fork(context: &Context) -> io::Result<Seed> {
        let (ours, theirs) = sys::socket::seqpacket_pair()?;
        match sys::process::clone(context.proof, &Clone::default())? {
            Side::Parent { pid } => Ok(Seed { socket: ours, pid }),
            Side::Child => {
                // Not even copies: whoever waits for the end of a client's or of hoistd's socket would wait for the seed's.
                sys::process::close_except(&[theirs.as_fd()]);
                let _ = rustix::thread::set_name(c"hoist-seed");
                let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
                serve(context, &theirs)
            }
        }
    }

    /// Has a process cloned; its number.
    pub fn clone_process(&self, request: &Request<'_>) -> io::Result<i32> {
        let kind = match request.kind {
            Kind::Init { pid_namespace: false } => b'i',
            Kind::Init { pid_namespace: true } => b'I',
            Kind::Exec(Entrance::Inside) => b'E',
            Kind::Exec(Entrance::Late) => b'L',
        };
        let mut descriptors = vec![request.report, request.document];
        if let Some(stdio) = request.stdio {
            descriptors.extend(stdio.iter().map(AsFd::as_fd));
        }
        descriptors.extend(request.v2);
        descriptors.extend(request.pid_namespace);
        descriptors.extend(&request.rest);
        let part = |present: bool, bit| if present { bit } else { 0 };
        let parts = part(request.stdio.is_some(), WITH_STDIO)
            | part(request.v2.is_some(), WITH_V2)
            | part(request.pid_namespace.is_some(), WITH_PID);
        sys::socket::send(&self.socket, &[kind, parts], &descriptors)?;
        let mut answer = [0; 4];
        match sys::socket::receive(&self.socket, &mut answer)?.0 {
            4 => match i32::from_le_bytes(answer) {
                errno if errno < 0 => Err(io::Error::from_raw_os_error(-errno)),
                pid => Ok(pid),
            },
            _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        }
    }
}

fn serve(context: &Context, socket: &OwnedFd) -> ! {
    let mut header = [0; 2];
    loop {
        let (length, descriptors) = match sys::socket::receive(socket, &mut header) {
            Ok(received) => received,
            Err(_) => sys::process::exit(1),
        };
        if length == 0 {
            sys::process::exit(0);
        }
        let answer = match clone_from(context, header, descriptors) {
            Ok(pid) => pid,
            Err(error) => -error.raw_os_error().unwrap_or(rustix::io::Errno::INVAL.raw_os_error()),
        };
        if sys::socket::send(socket, &answer.to_le_bytes(), &[]).is_err() {
            sys::process::exit(1);
        }
    }
}

fn clone_from(context: &Context, header: [u8; 2], descriptors: Vec<OwnedFd>) -> io::Result<i32> {
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData));
    let (report, document) = (next()?, next()?);
    let stdio = if header[1] & WITH_STDIO != 0 { Some([next()?, next()?, next()?]) } else { None };
    let v2 = if header[1] & WITH_V2 != 0 { Some(next()?) } else { None };
    let joined = if header[1] & WITH_PID != 0 { Some(next()?) } else { None };
    let rest: Vec<OwnedFd> = descriptors.collect();
    let mut options = Clone { sibling: true, cgroup: v2.as_ref().map(AsFd::as_fd), ..Clone::default() };
    match header[0] {
        b'I' => options.namespaces = namespace::PID,
        b'i' => {
            if let Some(joined) = &joined {
                sys::process::join_namespaces(context.proof, joined, namespace::PID)?;
            }
        }
        b'L' => {}
        _ => {
            let container = rest.first().ok_or(io::ErrorKind::InvalidData)?;
            sys::process::join_namespaces(context.proof, container, namespace::PID)?;
        }
    }
    match sys::process::clone(context.proof, &options)? {
        Side::Parent { pid } => Ok(pid),
        Side::Child => {
            let entrance = match header[0] {
                b'E' => Some(Entrance::Inside),
                b'L' => Some(Entrance::Late),
                _ => None,
            };
            child(context, entrance, report, &document, stdio.as_ref(), &rest)
        }
    }
}

/// The cloned process: reads its document and becomes what it says; a container's first process without an `entrance`.
pub fn child(
    context: &Context,
    entrance: Option<Entrance>,
    report: OwnedFd,
    document: &OwnedFd,
    stdio: Option<&init::Stdio>,
    rest: &[OwnedFd],
) -> ! {
    // Whoever cloned this process has sockets whose end others wait for, and the host's files.
    let mut kept = vec![report.as_fd(), document.as_fd()];
    kept.extend(stdio.into_iter().flatten().chain(rest).map(AsFd::as_fd));
    sys::process::close_except(&kept);
    let _ = rustix::thread::set_name(if entrance.is_none() { c"hoist-init" } else { c"hoist-exec" });
    let bytes = sys::memfd::read_all(document, MAX_DOCUMENT).unwrap_or_default();
    let Some(entrance) = entrance else {
        match serde_json::from_slice(&bytes) {
            Ok(launch) => init::run(context, &launch, rest, stdio, init::Gate::Shim(report), Ok(None)),
            Err(error) => refuse(&report, &error),
        }
    };
    match (serde_json::from_slice(&bytes), rest.first()) {
        (Ok(exec), Some(container)) => {
            let container = init::Running { process: container, root: None };
            init::run_exec(context, &exec, container, stdio, &report, None, (entrance, true))
        }
        (Err(error), _) => refuse(&report, &error),
        (_, None) => sys::process::exit(1),
    }
}

fn refuse(report: &OwnedFd, error: &serde_json::Error) -> ! {
    let message = format!("invalid document: {error}");
    let _ = crate::report::ToParent::Failed { message, exit_code: 128 }.send(report);
    sys::process::exit(1)
}
