//! The cgroup of a container, and how processes get into it.

use cgroup::Cgroup;
use oci::runtime::{Resources, Spec};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use sys::process::{Clone, Side};

use super::options::Given;
use super::record::Record;
use super::{Entry, Error, io, log};
use crate::Context;

/// How long processes that are ending may take to leave the cgroup.
const LONGEST_END: Duration = Duration::from_secs(5);

/// Where a container's processes are.
#[derive(Debug)]
pub struct Place {
    /// `None`: the caller has no rights on cgroups and stays where it is.
    pub group: Option<Cgroup>,
    /// Below the root of each hierarchy; empty without a group.
    pub path: String,
    /// The systemd unit that the cgroup belongs to; empty: none.
    pub unit: String,
    /// Keeps the unit alive until the container's first process is in it.
    seat: Option<Seat>,
}

/// A process that only sits there: systemd makes a scope for processes that exist.
#[derive(Debug)]
struct Seat {
    pid: i32,
    /// Its end ends the process.
    socket: Option<OwnedFd>,
}

impl Seat {
    fn take(context: &Context) -> Result<Seat, Error> {
        let (ours, theirs) = sys::socket::seqpacket_pair().map_err(io("socket"))?;
        match sys::process::clone(context.proof, &Clone::default()).map_err(io("clone"))? {
            Side::Parent { pid } => Ok(Seat { pid, socket: Some(ours) }),
            Side::Child => {
                sys::process::close_except(&[theirs.as_fd()]);
                let _ = rustix::thread::set_name(c"hoist-seat");
                let _ = sys::socket::receive(&theirs, &mut [0; 1]);
                sys::process::exit(0)
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.socket = None;
        let _ = sys::process::reap(Some(self.pid), true);
    }
}

impl Place {
    /// Makes the cgroup that the configuration names. What is there already must be empty.
    pub fn make(context: &Context, given: &Given, id: &str, spec: &Spec) -> Result<Place, Error> {
        if given.is_on("systemd-cgroup") {
            return Place::make_unit(context, id, spec);
        }
        let path = match spec.linux.cgroups_path.as_str() {
            "" => format!("/hoist-runtime/{id}"),
            path if path.starts_with('/') => path.to_owned(),
            path => format!("/{path}"),
        };
        let group = match context.hierarchies.create(&path) {
            Err(error) if may_do_without(given, spec)? && is_denied(&error) => {
                log::debug(|| format!("no rights to make cgroup {path}: the container stays in the caller's"));
                return Ok(Place { group: None, path: String::new(), unit: String::new(), seat: None });
            }
            other => other?,
        };
        // Whatever is in it would be killed with the container; the root of all is never empty.
        let processes = group.processes()?.len();
        if processes > 0 {
            return Err(Error::CgroupInUse { path, processes });
        }
        Ok(Place { group: Some(group), path, unit: String::new(), seat: None })
    }

    /// Has systemd make the cgroup: the unit is started around a process that leaves once the container is in it.
    fn make_unit(context: &Context, id: &str, spec: &Spec) -> Result<Place, Error> {
        let user = !rustix::process::geteuid().is_root();
        if context.hierarchies.needs_join() {
            return Err(Error::Unsupported(
                "--systemd-cgroup beside cgroup version 1 (this machine has hierarchies of it; cgroupfs works)"
                    .to_owned(),
            ));
        }
        let location = systemd::Location::parse(&spec.linux.cgroups_path, id, user)?;
        let seat = Seat::take(context)?;
        let resources = spec.linux.resources.clone().unwrap_or_default();
        let mut limits = limits(&resources);
        if !user {
            limits.extend(allowed_devices(&resources)?);
        }
        let mut manager = systemd::Manager::connect(user)?;
        manager.start(&location, &format!("hoist-runtime container {id}"), seat.pid, &limits)?;
        let unit = location.unit;
        let made = manager.control_group(&unit).map_err(Error::from).and_then(|path| {
            log::debug(|| format!("unit {unit} is cgroup {path}"));
            Ok((context.hierarchies.create(&path)?, path))
        });
        match made {
            Ok((group, path)) => Ok(Place { group: Some(group), path, unit, seat: Some(seat) }),
            Err(error) => {
                let _ = manager.stop(&unit);
                Err(error)
            }
        }
    }

    /// The container's first process is in there now.
    pub fn settled(&mut self) {
        self.seat = None;
    }

    /// Takes back what was made.
    pub fn abandon(&mut self) {
        self.seat = None;
        if !self.unit.is_empty() {
            let _ = stop_unit(&self.unit);
        }
        if let Some(group) = &self.group {
            let _ = group.remove_within(LONGEST_END);
        }
    }
}

/// Whether a container may do without a cgroup of its own: for a user without rights, who has asked for no limit.
fn may_do_without(given: &Given, spec: &Spec) -> Result<bool, Error> {
    let rootless = match given.value("rootless").unwrap_or("auto") {
        "auto" => !rustix::process::geteuid().is_root() || in_user_namespace(),
        "true" => true,
        "false" => false,
        other => return Err(Error::Usage(format!("invalid value \"{other}\" for --rootless"))),
    };
    let limits = spec.linux.resources.clone().unwrap_or_default();
    let limits = oci::runtime::Resources { devices: Vec::new(), ..limits };
    Ok(rootless && limits == oci::runtime::Resources::default())
}

/// Whether this process's users are not the host's (user_namespaces(7)).
fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().collect::<Vec<_>>() != ["0", "0", "4294967295"]
}

fn is_denied(error: &cgroup::Error) -> bool {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(error, cgroup::Error::Io { source, .. } if matches!(source.kind(), PermissionDenied | ReadOnlyFilesystem))
}

/// Removes what belongs to a record: processes, cgroup.
pub fn remove(record: &Record, group: Option<Cgroup>) -> Result<(), Error> {
    if record.cgroup.is_empty() {
        return Ok(());
    }
    let group = match group {
        Some(group) => Ok(group),
        None => cgroup::Hierarchies::detect()?.open(&record.cgroup),
    };
    if let Ok(group) = &group {
        // Mostly nobody is left in it, and that is all.
        if record.unit.is_empty() && group.remove().is_ok() {
            return Ok(());
        }
        let _ = group.kill_all();
    }
    if !record.unit.is_empty() {
        stop_unit(&record.unit)?;
    }
    if let Ok(group) = &group {
        group.remove_within(LONGEST_END)?;
    }
    Ok(())
}

fn stop_unit(unit: &str) -> Result<(), Error> {
    Ok(systemd::Manager::connect(!rustix::process::geteuid().is_root())?.stop(unit)?)
}

/// Limits as systemd knows them.
fn limits(resources: &Resources) -> Vec<systemd::Property> {
    systemd::properties(resources, cgroup::weight_of_shares)
}

/// The list of devices as systemd knows it, which has a filter of its own beside ours; nothing where it cannot say the same.
fn allowed_devices(resources: &Resources) -> Result<Vec<systemd::Property>, Error> {
    let mut rules = resources.devices.clone();
    if rules.is_empty() {
        return Ok(Vec::new());
    }
    rules.extend(crate::default_devices::rules());
    let policy = cgroup::devices::Policy::of(&rules)?;
    if policy.allow {
        return Ok(Vec::new());
    }
    let rules: Vec<systemd::Device> = policy
        .exceptions
        .iter()
        .map(|rule| systemd::Device {
            block: rule.kind == cgroup::devices::DeviceType::Block,
            major: rule.major,
            minor: rule.minor,
            access: rule.letters(),
        })
        .collect();
    let drivers = std::fs::read_to_string("/proc/devices").map_err(io("/proc/devices"))?;
    Ok(systemd::device_properties(&rules, &drivers).unwrap_or_default())
}

/// Changes limits: systemd's own record of them first, then the cgroup.
pub fn update(entry: &Entry, changed: &Resources) -> Result<(), Error> {
    if !entry.record.unit.is_empty() {
        let limits = limits(changed);
        systemd::Manager::connect(!rustix::process::geteuid().is_root())?.set(&entry.record.unit, &limits)?;
    }
    Ok(entry.cgroup()?.apply(changed)?)
}

/// Clones with `clone_init` in a cgroup: `unit` is whose it is. On version 2 `clone_init` is born there by itself (`true`).
///
/// On version 1 a child joins and clones a sibling of itself, which is then ours: this process stays where it is. So it is
/// with a unit of a user's systemd, which alone may move processes into it from where the user has logged in.
pub fn clone_in(
    context: &Context,
    group: Option<&Cgroup>,
    unit: &str,
    clone_init: impl FnOnce(bool, bool) -> Result<Side, Error>,
) -> Result<Side, Error> {
    if let Some(group) = group.filter(|group| group.needs_join()) {
        return clone_beside(context, |member| Ok(group.join_v1(member)?), |sibling| clone_init(sibling, true));
    }
    if unit.is_empty() || rustix::process::geteuid().is_root() {
        return clone_init(false, true);
    }
    let attach = |member| Ok(systemd::Manager::connect(true)?.attach(unit, member)?);
    clone_beside(context, attach, |sibling| clone_init(sibling, false))
}

/// Clones a child that `join` puts somewhere, and that clones a sibling of itself then.
fn clone_beside(
    context: &Context,
    join: impl FnOnce(i32) -> Result<(), Error>,
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
    let cloned = join(member).and_then(|()| {
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
