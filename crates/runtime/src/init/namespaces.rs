//! Which namespaces a container has, and how its first process gets into them.
//!
//! ```text
//!  a process of the host ─▶ user namespace ─▶ joined ones ─▶ new ones ─▶ clone ─▶ the container's first process
//!      opens what only it may open                                        with a user or time namespace only
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oci::runtime::Spec;
use shim_api::Role;
use sys::process::{Side, namespace};

use super::error::Error;
use super::user_namespace::UserNamespace;
use crate::Context;
use crate::plan::{Kind, Plan};
use crate::report::ToParent;

/// Which namespaces are the container's own and new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    pub pid: bool,
    pub network: bool,
    pub ipc: bool,
    pub uts: bool,
    pub mount: bool,
    pub cgroup: bool,
    pub user: bool,
    pub time: bool,
    /// An existing one of these is joined.
    pub joins_user: bool,
    pub joins_pid: bool,
    pub joins_mount: bool,
}

impl Namespaces {
    /// Those that the configuration lists without a path; a descriptor to join counts against.
    pub fn of(spec: &Spec, roles: &[Role]) -> Namespaces {
        let listed = |kind: &str| spec.linux.namespaces.iter().find(|namespace| namespace.kind == kind);
        let given = |role: Option<Role>| role.is_some_and(|role| roles.contains(&role));
        let new = |kind: &str, role: Option<Role>| {
            listed(kind).is_some_and(|namespace| namespace.path.is_empty()) && !given(role)
        };
        let joins = |kind: &str, role: Option<Role>| {
            given(role) || listed(kind).is_some_and(|namespace| !namespace.path.is_empty())
        };
        Namespaces {
            pid: new("pid", Some(Role::PidNs)),
            network: new("network", None),
            ipc: new("ipc", Some(Role::IpcNs)),
            uts: new("uts", Some(Role::UtsNs)),
            mount: new("mount", None),
            cgroup: new("cgroup", None),
            user: new("user", Some(Role::UserNs)),
            time: new("time", None),
            joins_user: joins("user", Some(Role::UserNs)),
            joins_pid: joins("pid", Some(Role::PidNs)),
            joins_mount: joins("mount", None),
        }
    }

    /// Whether the process that was cloned for the container clones its first process in turn.
    ///
    /// A pid namespace has to be made inside the user namespace that is to own it, and only children are born into a new
    /// time namespace. Whoever clones for the container then leaves the pid namespace to that process.
    pub fn in_steps(&self) -> bool {
        self.user || self.joins_user || self.time
    }

    /// Whether whoever clones for the container makes the pid namespace.
    pub fn cloned_into_pid(&self) -> bool {
        self.pid && !self.in_steps()
    }
}

/// Which namespaces differ from those of whoever made the container.
#[derive(Clone, Copy, Debug, Default)]
pub struct Separate {
    pub network: bool,
    pub ipc: bool,
    pub uts: bool,
}

/// Descriptors of existing namespaces that came with the launch.
pub type Given<'a, 'fd> = &'a dyn Fn(Role) -> Option<BorrowedFd<'fd>>;

/// The container's user namespace, made or opened.
pub fn user(
    context: &Context,
    plan: &Plan<'_>,
    own: &Namespaces,
    given: Given<'_, '_>,
) -> Result<Option<UserNamespace>, Error> {
    if own.user {
        return UserNamespace::make(context.proof, plan.uid_mappings, plan.gid_mappings).map(Some);
    }
    if !own.joins_user {
        return Ok(None);
    }
    let descriptor = match given(Role::UserNs) {
        Some(descriptor) => descriptor.try_clone_to_owned().map_err(Error::step("take the user namespace"))?,
        None => open(plan.path_of(Kind::User).unwrap_or_default())?,
    };
    let user = UserNamespace::join(context.proof, descriptor)?;
    let same = |asked: &[_], has: &[_]| asked.is_empty() || asked == has;
    if !same(plan.uid_mappings, &user.uids) || !same(plan.gid_mappings, &user.gids) {
        return Err(Error::Invalid("linux.uidMappings and gidMappings differ from those of the user namespace".into()));
    }
    Ok(Some(user))
}

/// Opens a namespace by its path; what is no namespace is refused when it is joined.
pub fn open(path: &str) -> Result<OwnedFd, Error> {
    let failed = |source| Error::Source { path: path.to_owned(), source };
    // A FIFO would wait for its other end.
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map_err(|errno| failed(errno.into()))
}

/// Joins and makes everything; in the end this process is where the container's first process, or its parent, is.
pub fn enter(
    context: &Context,
    plan: &Plan<'_>,
    own: &Namespaces,
    given: Given<'_, '_>,
    user: Option<&UserNamespace>,
) -> Result<Separate, Error> {
    let proof = context.proof;
    // Opened while this process still has the host's rights and mounts.
    let mut joined = Vec::new();
    for (kind, path) in &plan.joined {
        let by_cloner = *kind == Kind::Pid && !own.in_steps();
        if *kind != Kind::User && !by_cloner {
            joined.push((*kind, open(path)?, path.as_str()));
        }
    }
    let differs = |kind: Kind| {
        let now =
            rustix::fs::stat(format!("/proc/self/ns/{}", kind.file())).map(|stat| (stat.st_dev, stat.st_ino)).ok();
        let other = joined.iter().find(|(listed, ..)| *listed == kind).and_then(|(_, fd, _)| identity_of(fd));
        now.is_some() && other.is_some() && now != other
    };
    let separate = Separate {
        network: own.network || differs(Kind::Network),
        ipc: own.ipc || differs(Kind::Ipc),
        uts: own.uts || differs(Kind::Uts),
    };
    if let Some((_, _, path)) = joined.iter().find(|(kind, ..)| *kind == Kind::Mount)
        && !differs(Kind::Mount)
    {
        return Err(Error::Invalid(format!("{path} is the runtime's own mount namespace")));
    }
    // The mount namespace last: paths and /proc are others in it.
    joined.sort_by_key(|(kind, ..)| *kind == Kind::Mount);
    let join_all = || -> Result<(), Error> {
        for role in [Role::NetNs, Role::IpcNs, Role::UtsNs] {
            if let Some(descriptor) = given(role) {
                sys::process::join_namespaces(proof, descriptor, 0).map_err(Error::step("join namespace"))?;
            }
        }
        if let Some(descriptor) = given(Role::PidNs).filter(|_| own.in_steps()) {
            sys::process::join_namespaces(proof, descriptor, namespace::PID).map_err(Error::step("join namespace"))?;
        }
        for (kind, descriptor, path) in &joined {
            sys::process::join_namespaces(proof, descriptor, kind.bit())
                .map_err(|source| Error::Source { path: format!("{} namespace {path}", kind.word()), source })?;
        }
        Ok(())
    };
    // Namespaces of the host's can be joined with the host's rights only; without those, what the user namespace owns.
    let privileged = super::user_namespace::may_mount();
    if privileged {
        join_all()?;
    }
    if let Some(user) = user {
        user.enter(proof)?;
    }
    if !privileged {
        join_all()?;
    }
    let mut new = 0;
    for (wanted, bit) in [
        (own.pid && own.in_steps(), namespace::PID),
        (own.network && given(Role::NetNs).is_none(), namespace::NETWORK),
        (own.ipc, namespace::IPC),
        (own.uts, namespace::UTS),
        (own.mount, namespace::MOUNT),
        (own.cgroup, namespace::CGROUP),
        (own.time, namespace::TIME),
    ] {
        new |= if wanted { bit } else { 0 };
    }
    sys::process::unshare(proof, new).map_err(Error::step("make namespaces"))?;
    if !plan.time_offsets.is_empty() {
        write_own("self/timens_offsets", &plan.time_offsets).map_err(Error::step("set linux.timeOffsets"))?;
    }
    Ok(separate)
}

/// Goes on as a child, a sister of this process, which ends: in the pid and time namespaces that only children enter.
///
/// The parent hears the new number before the child goes on.
pub fn step(context: &Context, report: &OwnedFd) -> Result<(), Error> {
    let failed = Error::step("clone the container's process");
    let (ours, theirs) = sys::socket::seqpacket_pair().map_err(&failed)?;
    match sys::process::clone_sister(context.proof).map_err(&failed)? {
        Side::Child => {
            drop(ours);
            match sys::socket::receive(&theirs, &mut [0; 1]) {
                Ok((1, _)) => Ok(()),
                _ => sys::process::exit(1),
            }
        }
        Side::Parent { pid } => {
            drop(theirs);
            ToParent::Moved { pid }.send(report).map_err(&failed)?;
            let _ = sys::socket::send(&ours, b"G", &[]);
            sys::process::exit(0)
        }
    }
}

/// Writes to a file of this process in `/proc`, which belongs to root as long as the process is not dumpable.
///
/// Only before anybody who might look can see this process.
fn write_own(name: &str, text: &str) -> std::io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    match super::procfs::write(name, text) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            set_dumpable_behavior(DumpableBehavior::Dumpable)?;
            let written = super::procfs::write(name, text);
            set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
            written
        }
        other => other,
    }
}

fn identity_of(descriptor: impl AsFd) -> Option<(u64, u64)> {
    rustix::fs::fstat(descriptor).ok().map(|stat| (stat.st_dev, stat.st_ino))
}
